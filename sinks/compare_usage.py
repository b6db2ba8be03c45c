"""Is all usage rated? Raw rows in ClickHouse, less what was not counted, against the rated records in Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from infra.clickhouse import store_errors
from infra.config import Settings
from rating.meters import GROUP_METERS
from rating.money import exact_sum
from rating.skus import AGGREGATION
from rating.windows import WindowSize
from schemas.decimals import format_decimal
from schemas.instants import format_instant
from schemas.kinds import Kind
from schemas.rated import RatedUsage
from sinks.findings import Findings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

USAGE_KINDS: Final = frozenset({"usage", "unrated", "adjustment"})
"""Kinds of rated records whose quantity is usage; the others (fees, minimum, credits) have no raw rows."""

_TOKEN_METERS: Final[Mapping[str, str]] = {
    "input_uncached": "toDecimal128(sum(toInt128(input_uncached)), 9)",
    "input_cache_read": "toDecimal128(sum(toInt128(input_cache_read)), 9)",
    "input_cache_write": "toDecimal128(sum(toInt128(input_cache_write)), 9)",
    "output_text": "toDecimal128(sum(toInt128(output_text)), 9)",
    "output_reasoning": "toDecimal128(sum(toInt128(output_reasoning)), 9)",
    "requests": "toDecimal128(count(), 9)",
    "training_tokens": "toDecimal128(sum(toInt128(training_tokens)), 9)",
    "images": "toDecimal128(sum(toInt128(images)), 9)",
    "audio_seconds": "toDecimal128(sum(audio_seconds), 9)",
    "video_seconds": "toDecimal128(sum(video_seconds), 9)",
}
_GPU_METERS: Final[Mapping[str, str]] = {
    "gpu_seconds": "toDecimal128(sum(gpu_seconds), 9)",
    "gpu_busy_seconds": "toDecimal128(sum(gpu_busy_seconds), 9)",
    "gpu_energy_joules": "toDecimal128(sum(gpu_energy_joules), 9)",
}
_GROUP_OF: Final = {leaf: group for group, leaves in GROUP_METERS.items() for leaf in leaves}
_ZERO: Final = Decimal(0)


class UsageCell(NamedTuple):
    """Where usage is summed: a tenant's leaf, group or custom meter in one window."""

    tenant_id: str
    hour: int
    meter: str


class PeriodCell(NamedTuple):
    """A tenant's meter over one service period."""

    tenant_id: str
    period: str
    meter: str


Cell = TypeVar("Cell", UsageCell, PeriodCell)


def counted_sql(kind: str) -> str:
    """The condition on raw rows of a kind: neither excluded nor rejected. Parameters: topic."""
    return (
        "(log_epoch, kafka_partition, kafka_offset, kafka_row) NOT IN ("
        "SELECT source_log_epoch, source_partition, source_offset, source_row FROM exclusions "
        f"WHERE type = '{kind}') "
        "AND (kafka_partition, kafka_offset, toInt64(kafka_row)) NOT IN ("
        "SELECT source_partition, source_offset, toInt64(source_row) FROM dead_letters "
        "WHERE source_topic = {topic:String} AND source_row >= 0) "
        "AND (kafka_partition, kafka_offset) NOT IN ("
        "SELECT source_partition, source_offset FROM dead_letters "
        "WHERE source_topic = {topic:String} AND source_row < 0)"
    )


def compare_usage(settings: Settings, client: Client, rated: Iterable[RatedUsage], findings: Findings) -> None:
    """Compare per tenant and meter, for each period, and for each hour of periods without late adjustments."""
    window = WindowSize(settings.window_minutes)
    raw = dict(_raw_cells(settings, client, window))
    # What counts something else than the sum stands beside a record of the sum.
    records = [record for record in rated if record.kind in USAGE_KINDS and AGGREGATION not in record.dimensions]
    grouped = {
        (record.tenant_id, record.service_period, record.meter) for record in records if record.meter in GROUP_METERS
    }

    def named(tenant_id: str, period: str, meter: str) -> str:
        """A leaf by the name of its group where any record of the period is about the group."""
        group = _GROUP_OF.get(meter, meter)
        return group if (tenant_id, period, group) in grouped else meter

    late = {(record.tenant_id, record.service_period) for record in records if record.window_kind == "period"}
    hours: _Sums[UsageCell] = _Sums()
    periods: _Sums[PeriodCell] = _Sums()
    for cell, quantity in raw.items():
        period = _period(window, cell.hour)
        meter = named(cell.tenant_id, period, cell.meter)
        periods.add(PeriodCell(cell.tenant_id, period, meter), quantity, 0)
        if (cell.tenant_id, period) not in late:
            hours.add(UsageCell(cell.tenant_id, cell.hour, meter), quantity, 0)
    for record in records:
        meter = named(record.tenant_id, record.service_period, record.meter)
        periods.add(PeriodCell(record.tenant_id, record.service_period, meter), record.quantity, 1)
        if (record.tenant_id, record.service_period) not in late:
            hours.add(UsageCell(record.tenant_id, window.index_of(record.window_start), meter), record.quantity, 1)
    findings.count("usage_cells", len(hours) + len(periods))
    for cell, counted, rated_quantity in sorted(hours.differences()):
        when = "no date" if _period(window, cell.hour) == "no date" else format_instant(window.start(cell.hour))
        findings.problem(
            "hours with other quantities", _line(cell.tenant_id, when, cell.meter, counted, rated_quantity)
        )
    for place, counted, rated_quantity in sorted(periods.differences()):
        text = _line(place.tenant_id, place.period, place.meter, counted, rated_quantity)
        findings.problem("periods with other quantities", text)


def _period(window: WindowSize, hour: int) -> str:
    """The period of an hour; rows whose time is no date at all should be in the dead letters, and are named if not."""
    try:
        return window.period(hour)
    except (OverflowError, ValueError):
        return "no date"


class _Sums(Generic[Cell]):
    """Two sums per cell: [raw, rated]."""

    def __init__(self) -> None:
        self._cells: dict[Cell, list[list[Decimal]]] = {}

    def __len__(self) -> int:
        return len(self._cells)

    def add(self, cell: Cell, quantity: Decimal, side: int) -> None:
        self._cells.setdefault(cell, [[], []])[side].append(quantity)

    def differences(self) -> Iterator[tuple[Cell, Decimal, Decimal]]:
        for cell, (raw, rated) in self._cells.items():
            left, right = exact_sum(raw), exact_sum(rated)
            if left != right:
                yield cell, left, right


def _line(tenant_id: str, when: str, meter: str, counted: Decimal, rated: Decimal) -> str:
    return (
        f"{tenant_id}, {when}, {meter}: raw rows that count sum to {format_decimal(counted)}, "
        f"rated records in Kafka to {format_decimal(rated)}"
    )


def _raw_cells(settings: Settings, client: Client, window: WindowSize) -> Iterator[tuple[UsageCell, Decimal]]:
    """Every sum of raw rows that count, except zeros."""
    topic = settings.topics.usage_events
    tables = (
        ("usage_raw", "ended_at", Kind.TOKEN_USAGE, _TOKEN_METERS),
        ("gpu_usage_raw", "start", Kind.GPU_USAGE, _GPU_METERS),
    )
    with store_errors("summing raw usage"):
        for table, time, kind, meters in tables:
            sql = (
                f"SELECT tenant_id, intDiv(toUnixTimestamp64Micro({time}), {window.microseconds}) AS hour, "
                f"{', '.join(meters.values())} FROM {table} WHERE {counted_sql(kind)} GROUP BY tenant_id, hour"
            )
            for tenant_id, hour, *quantities in client.query(sql, parameters={"topic": topic}).result_rows:
                for meter, quantity in zip(meters, quantities, strict=True):
                    if quantity != _ZERO:
                        yield UsageCell(tenant_id, int(hour), meter), quantity
        # OrNull: a quantity that is no number is for the dead letters; if it is not there, the sums differ and say so.
        sql = (
            f"SELECT tenant_id, intDiv(toUnixTimestamp64Micro(ended_at), {window.microseconds}) AS hour, unit.1 AS name, "
            "sum(ifNull(toDecimal128OrNull(unit.2, 9), 0)) FROM usage_raw "
            "ARRAY JOIN CAST(units, 'Array(Tuple(String, String))') AS unit "
            f"WHERE {counted_sql(Kind.TOKEN_USAGE)} GROUP BY tenant_id, hour, name"
        )
        for tenant_id, hour, name, quantity in client.query(sql, parameters={"topic": topic}).result_rows:
            if quantity != _ZERO:
                yield UsageCell(tenant_id, int(hour), f"units.{name}"), quantity
