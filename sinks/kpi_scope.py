"""What a KPI is asked about: which time, whose usage, and by what it is split. Every KPI is a query over the views of
migration 0008; docs/kpis.md defines them."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from infra.clickhouse import store_errors
from infra.errors import StoreError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Bucket = Literal["hour", "day", "month"]
Dimension = Literal["tenant", "model", "endpoint"]

_BUCKETS: Final = {
    "hour": "formatDateTime(hour, '%Y-%m-%dT%H:00Z', 'UTC')",
    "day": "formatDateTime(hour, '%Y-%m-%d', 'UTC')",
    "month": "formatDateTime(hour, '%Y-%m', 'UTC')",
}
_COLUMNS: Final = {"tenant": "tenant_id", "model": "model", "endpoint": "endpoint"}
_HOUR_S: Final = 3600
_UNKNOWN_TABLE: Final = 60


@dataclass(frozen=True, slots=True)
class Scope:
    """A question: usage of one tenant or model (default: all), with its hour in [start, end), split by time and by who.

    `start` and `end` are full hours in UTC: money is known per hour. `by` splits by time, `per` by tenant, model, endpoint.
    """

    tenant: str | None = None
    model: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    by: Bucket | None = None
    per: tuple[Dimension, ...] = ()

    @property
    def whole(self) -> Scope:
        """The same question in one answer, not split."""
        return replace(self, by=None, per=())

    @property
    def bucket(self) -> str:
        """The column `bucket` of a view with an hour: a text such as 2026-01-31, '' where time is not split."""
        return f"{_BUCKETS[self.by]} AS bucket" if self.by else "'' AS bucket"

    @property
    def keys(self) -> str:
        """The four columns that every row begins with: bucket, tenant, model, endpoint; '' where not split."""
        return ", ".join([self.bucket, *self._dimensions()])

    def _dimensions(self) -> list[str]:
        names: tuple[Dimension, ...] = ("tenant", "model", "endpoint")
        return [f"{_COLUMNS[name] if name in self.per else chr(39) * 2} AS key_{name}" for name in names]

    def where(self, *, tenant: str = "tenant_id", model: str = "model", time: str = "hour") -> str:
        """The condition on a view's rows; its values are in `parameters`."""
        parts = ["1"]
        if self.tenant is not None:
            parts.append(f"{tenant} = {{tenant:String}}")
        if self.model is not None:
            parts.append(f"{model} = {{model:String}}")
        if self.start is not None:
            parts.append(f"{time} >= parseDateTimeBestEffort({{start:String}}, 'UTC')")
        if self.end is not None:
            parts.append(f"{time} < parseDateTimeBestEffort({{end:String}}, 'UTC')")
        return " AND ".join(parts)

    @property
    def parameters(self) -> dict[str, object]:
        """The values of `where`, to be given with the query."""
        found: dict[str, object] = {"tenant": self.tenant, "model": self.model}
        for name, instant in (("start", self.start), ("end", self.end)):
            found[name] = None if instant is None else instant.strftime("%Y-%m-%dT%H:%M:%SZ")
        # Only those that `where` uses: a client that finds no place for a value reads the % of a format as its own.
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Place:
    """What one row is about; "" where it is about all."""

    bucket: str = ""
    tenant: str = ""
    model: str = ""
    endpoint: str = ""


GROUPED: Final = (
    "GROUP BY bucket, key_tenant, key_model, key_endpoint ORDER BY bucket, key_tenant, key_model, key_endpoint"
)
"""The end of a query whose columns begin with `Scope.keys`."""


def ask(client: Client, scope: Scope, sql: str, **more: object) -> list[tuple[Any, ...]]:
    """The rows of a query with the scope's parameters.

    Raises StoreError; `store_no_views` where the KPI views are not there yet.
    """
    try:
        with store_errors("asking ClickHouse for KPIs"):
            rows = client.query(sql, parameters={**scope.parameters, **more} or None).result_rows
    except StoreError as error:
        if error.data.get("clickhouse_code") == _UNKNOWN_TABLE:
            raise StoreError(
                "the database has no KPI views yet: run `tokenmill migrate`, or `tokenmill demo` again for a demo's store",
                code="store_no_views",
            ) from error
        raise
    return [tuple(row) for row in rows]


def placed(row: tuple[Any, ...]) -> tuple[Place, tuple[Any, ...]]:
    """A row of a query that begins with `Scope.keys`, taken apart."""
    return Place(*row[:4]), row[4:]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in Unix seconds."""

    begin: int
    end: int

    def seconds_of(self, bucket: str, by: Bucket | None) -> int:
        """How much of the span lies in a bucket; without buckets its whole length."""
        if by is None:
            return self.end - self.begin
        begin = datetime.fromisoformat(bucket if by != "month" else f"{bucket}-01").replace(tzinfo=UTC)
        days = monthrange(begin.year, begin.month)[1] if by == "month" else 1
        length = _HOUR_S if by == "hour" else days * 24 * _HOUR_S
        first = int(begin.timestamp())
        return max(min(self.end, first + length) - max(self.begin, first), 0)


def observed(client: Client, scope: Scope) -> Span:
    """The span that a scope covers: from `start` to `end`; where open, from the first or to the last hour with usage, of
    whoever. Empty without usage."""
    anyone = replace(scope, tenant=None, model=None)
    count, first, last = ask(
        client,
        anyone,
        f"SELECT count(), toUnixTimestamp(min(hour)), toUnixTimestamp(max(hour)) FROM usage_counted WHERE {anyone.where()}",
    )[0]
    if not count:
        return Span(0, 0)
    begin = int(first) if scope.start is None else int(scope.start.timestamp())
    end = int(last) + _HOUR_S if scope.end is None else int(scope.end.timestamp())
    return Span(begin, max(begin, end))
