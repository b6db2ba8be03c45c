"""Stored usage as the rating engine takes it: raw rows that count, summed by usage key and window.

Sums are made in ClickHouse as 128-bit integers and decimals; everything is priced in Python. Custom meters are read row by
row, since prices may go by their count, maximum, latest value or single events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from infra.clickhouse import store_errors
from infra.config import Settings
from rating.aggregations.demands import Demand
from rating.aggregations.gathered import Gathered, MeteredEvent, Quantity
from rating.levels import LevelId
from rating.meters import CUSTOM_DECIMALS, CUSTOM_PREFIX
from rating.money import to_scaled
from rating.rated import RatedLine
from rating.usage import UsageKey, UsageTotals
from rating.windows import WindowSize, period_end, period_start
from schemas.kinds import Kind
from sinks.compare_usage import counted_sql
from sinks.invoices import RATED_COLUMNS, rated_line

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

GPU_OPERATION: Final = "gpu"
"""The operation of usage keys that hold GPU time, as the rating stage has it."""
_SECOND_DECIMALS: Final = 6
_KEY: Final = (
    "tenant_id, operation, response_model, endpoint, region, service_tier, gpu_type, "
    "toInt32(arrayCount(edge -> edge < input_tokens, {edges:Array(Int64)})) AS bracket, status"
)
_TOKENS: Final = (
    *("input_tokens", "cache_read_input_tokens", "cache_write_input_tokens", "output_tokens"),
    *("reasoning_output_tokens", "training_tokens", "images"),
)
_IDS: Final[Mapping[str, str]] = {"api_keys": "api_key_id", "workflows": "workflow_id"}


@dataclass(slots=True)
class StoredUsage:
    """What a tenant used in a period: quantities by usage key and window, each meter in its smallest unit.

    `levels` are what earlier periods left of the custom meters that were asked for, in 10^-9.
    """

    tenant_id: str
    cells: dict[tuple[UsageKey, int], dict[str, Quantity]] = field(default_factory=dict)
    levels: dict[LevelId, int] = field(default_factory=dict)


def tenants_with_usage(client: Client, period: str) -> list[str]:
    """Who has raw rows or rated records in a service period, in alphabetical order; reserved tenants (_pool) are left out."""
    span = {"start": period_start(period), "end": period_end(period), "period": period}
    with store_errors("looking for usage"):
        rows = client.query(
            "SELECT DISTINCT tenant_id FROM ("
            "SELECT tenant_id FROM usage_raw WHERE ended_at >= {start:DateTime64(6, 'UTC')} "
            "AND ended_at < {end:DateTime64(6, 'UTC')} "
            "UNION ALL SELECT tenant_id FROM gpu_usage_raw WHERE start >= {start:DateTime64(6, 'UTC')} "
            "AND start < {end:DateTime64(6, 'UTC')} "
            "UNION ALL SELECT tenant_id FROM rated WHERE service_period = {period:String}) "
            "WHERE NOT startsWith(tenant_id, '_') ORDER BY tenant_id",
            parameters=span,
        ).result_rows
    return [str(row[0]) for row in rows]


def load_usage(
    client: Client,
    settings: Settings,
    tenants: Sequence[str],
    period: str,
    demands: Collection[Demand] = (),
    level_meters: Collection[str] = (),
) -> list[StoredUsage]:
    """The usage of some tenants in a service period, late usage included, in the order of `tenants`.

    `demands`: what prices need beyond what is always gathered. `level_meters`: custom meters (`units.<name>`) whose levels
    go on over periods. Raises StoreError.
    """
    found = {tenant: StoredUsage(tenant) for tenant in tenants}
    reader = _Reader(client, settings, tenants, period_start(period), period_end(period))
    with store_errors("reading stored usage"):
        for key, hour, totals in (*reader.requests(), *reader.gpu_time()):
            cell = found[key.tenant_id].cells.setdefault((key, hour), {})
            cell.update(totals.scaled_leaves())
        events = frozenset(demand.meter for demand in demands if demand.what == "events")
        for key, hour, meter, quantity in reader.custom_units(events):
            cell = found[key.tenant_id].cells.setdefault((key, hour), {})
            known = cell.setdefault(meter, Gathered())
            if isinstance(known, Gathered):
                known.merge(quantity)
        for key, hour, meter, what, ids in reader.ids(demands):
            _note_ids(found[key.tenant_id].cells.setdefault((key, hour), {}), meter, what, ids)
        if level_meters:
            for level, left in reader.levels(level_meters):
                found[level.key.tenant_id].levels[level] = left
    return [found[tenant] for tenant in tenants]


def _note_ids(cell: dict[str, Quantity], meter: str, what: str, ids: Iterable[int]) -> None:
    """Puts the ids of a window beside the sum of the meter that they were seen on."""
    known = cell.get(meter, 0)
    gathered = known if isinstance(known, Gathered) else Gathered(total=known)
    (gathered.api_keys if what == "api_keys" else gathered.workflows).update(dict.fromkeys(ids))
    cell[meter] = gathered


class _Reader:
    """Reads the rows of some tenants between two instants."""

    def __init__(
        self, client: Client, settings: Settings, tenants: Sequence[str], start: datetime, end: datetime
    ) -> None:
        self._client = client
        self._window = WindowSize(settings.window_minutes)
        self._parameters: dict[str, Any] = {
            "topic": settings.topics.usage_events,
            "tenants": list(tenants),
            "edges": list(settings.context_edges),
            "start": start,
            "end": end,
        }

    def requests(self) -> Iterator[tuple[UsageKey, int, UsageTotals]]:
        """Requests: counts, tokens, images, and seconds of audio and video."""
        sums = ", ".join(f"sum(toInt128({name}))" for name in _TOKENS)
        sql = (
            f"SELECT {_KEY}, {self._hour('ended_at')} AS hour, count(), {sums}, sum(audio_seconds), sum(video_seconds) "
            f"FROM usage_raw WHERE {self._where('ended_at', Kind.TOKEN_USAGE)} GROUP BY ALL"
        )
        for *key, hour, requests, read, cached, written, out, reasoned, trained, images, audio, video in self._rows(
            sql
        ):
            yield (
                UsageKey(*key),
                int(hour),
                UsageTotals(
                    requests=int(requests),
                    input_tokens=int(read),
                    cache_read_input_tokens=int(cached),
                    cache_write_input_tokens=int(written),
                    output_tokens=int(out),
                    reasoning_output_tokens=int(reasoned),
                    training_tokens=int(trained),
                    images=int(images),
                    audio_microseconds=to_scaled(audio, _SECOND_DECIMALS),
                    video_microseconds=to_scaled(video, _SECOND_DECIMALS),
                ),
            )

    def gpu_time(self) -> Iterator[tuple[UsageKey, int, UsageTotals]]:
        """GPU time."""
        sql = (
            f"SELECT tenant_id, region, gpu_type, {self._hour('start')} AS hour, sum(gpu_seconds), sum(gpu_busy_seconds), "
            f"sum(gpu_energy_joules) FROM gpu_usage_raw WHERE {self._where('start', Kind.GPU_USAGE)} GROUP BY ALL"
        )
        for tenant_id, region, gpu_type, hour, *amounts in self._rows(sql):
            allocated, busy, joules = (to_scaled(amount, _SECOND_DECIMALS) for amount in amounts)
            totals = UsageTotals(gpu_microseconds=allocated, gpu_busy_microseconds=busy, gpu_energy_microjoules=joules)
            yield UsageKey(tenant_id, GPU_OPERATION, region=region, gpu_type=gpu_type), int(hour), totals

    def custom_units(self, keep_events: Collection[str]) -> Iterator[tuple[UsageKey, int, str, Gathered]]:
        """Custom meters, one event at a time; `keep_events`: the meters whose single events are priced."""
        sql = (
            f"SELECT {_KEY}, toUnixTimestamp64Micro(ended_at), cityHash64(source, id), unit.1, unit.2 FROM usage_raw "
            "ARRAY JOIN CAST(units, 'Array(Tuple(String, String))') AS unit "
            f"WHERE {self._where('ended_at', Kind.TOKEN_USAGE)}"
        )
        size_us = self._window.microseconds
        for *key, time_us, identity, name, text in self._rows(sql):
            meter, hour = CUSTOM_PREFIX + name, int(time_us) // size_us
            event = MeteredEvent(int(time_us), int(identity), to_scaled(Decimal(text), CUSTOM_DECIMALS))
            gathered = Gathered()
            gathered.take(*event, (hour + 1) * size_us - event.time_us)
            if meter in keep_events:
                gathered.events.append(event)
            yield UsageKey(*key), hour, meter, gathered

    def ids(self, demands: Collection[Demand]) -> Iterator[tuple[UsageKey, int, str, str, list[int]]]:
        """The hashes of the ids that used a meter, by window, for the meters that a card counts ids of."""
        for what, column in _IDS.items():
            meters = sorted(demand.meter for demand in demands if demand.what == what)
            for meter in meters:
                sql = (
                    f"SELECT {_KEY}, {self._hour('ended_at')} AS hour, groupUniqArray(cityHash64({column})) FROM usage_raw "
                    f"WHERE {column} != '' AND {_used(meter)} AND {self._where('ended_at', Kind.TOKEN_USAGE)} GROUP BY ALL"
                )
                parameters = {"unit": meter.removeprefix(CUSTOM_PREFIX)}
                for *key, hour, ids in self._rows(sql, parameters):
                    yield UsageKey(*key), int(hour), meter, what, list(map(int, ids))

    def levels(self, meters: Collection[str]) -> Iterator[tuple[LevelId, int]]:
        """What the changes before the start sum to, by usage key."""
        names = [meter.removeprefix(CUSTOM_PREFIX) for meter in meters]
        where = self._where(
            "ended_at", Kind.TOKEN_USAGE, "{before:DateTime64(6, 'UTC')}", "{start:DateTime64(6, 'UTC')}"
        )
        sql = (
            f"SELECT {_KEY}, unit.1 AS name, sum(toDecimal128OrZero(unit.2, {CUSTOM_DECIMALS})) FROM usage_raw "
            "ARRAY JOIN CAST(units, 'Array(Tuple(String, String))') AS unit "
            f"WHERE name IN {{names:Array(String)}} AND {where} GROUP BY ALL"
        )
        for *key, name, total in self._rows(sql, {"names": names, "before": datetime(1970, 1, 1, tzinfo=UTC)}):
            if total:
                yield LevelId(UsageKey(*key), CUSTOM_PREFIX + name, None), to_scaled(total, CUSTOM_DECIMALS)

    def _hour(self, time: str) -> str:
        return f"intDiv(toUnixTimestamp64Micro({time}), {self._window.microseconds})"

    def _where(
        self,
        time: str,
        kind: Kind,
        start: str = "{start:DateTime64(6, 'UTC')}",
        end: str = "{end:DateTime64(6, 'UTC')}",
    ) -> str:
        return (
            f"tenant_id IN {{tenants:Array(String)}} AND {time} >= {start} AND {time} < {end} AND {counted_sql(kind)}"
        )

    def _rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[Sequence[Any]]:
        with self._client.query_row_block_stream(sql, parameters={**self._parameters, **(parameters or {})}) as stream:
            for block in stream:
                yield from block


def _used(meter: str) -> str:
    """The condition that a row used a meter. Parameter: unit."""
    if meter.startswith(CUSTOM_PREFIX):
        return "mapContains(units, {unit:String})"
    return "1" if meter == "requests" else f"{meter} != 0"


def load_service_period(client: Client, tenants: Sequence[str], period: str) -> dict[str, list[RatedLine]]:
    """All that is on record about a service period, by tenant: also what was booked in later billing periods.

    A fee that is paid in advance belongs to the month that charges it, whichever it is for.
    """
    with store_errors("reading rated records"):
        rows = client.query(
            f"SELECT {RATED_COLUMNS} FROM rated WHERE tenant_id IN {{tenants:Array(String)}} AND "
            "((service_period = {period:String} AND billing_period >= {period:String}) "
            "OR (service_period > {period:String} AND billing_period = {period:String})) "
            "ORDER BY tenant_id, sku, kind, window_kind, window_start",
            parameters={"period": period, "tenants": list(tenants)},
            tz_mode="aware",
        ).named_results()
        found: dict[str, list[RatedLine]] = {tenant: [] for tenant in tenants}
        for row in rows:
            found[row["tenant_id"]].append(rated_line(row))
    return found
