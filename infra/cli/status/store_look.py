"""Looking at ClickHouse: what was not counted, whether the balance adds up, inserts, open periods, size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from infra import migrations
from infra.cli.status.look import (
    BalanceLook,
    BillingPeriod,
    Inserts,
    KafkaLook,
    NotCounted,
    Signals,
    StoreLook,
    TableSize,
)
from infra.cli.status.signals_look import epoch_of, interpret, stored_signals
from infra.clickhouse import store_errors
from infra.config import Settings
from infra.errors import StoreError
from sinks.kafka_log import group_of

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

COMPARED_ROWS: Final = 500_000_000
"""With more raw rows than this a look does not count them; reconciliation does."""
_SHOWN_PERIODS: Final = 6
_RECENT_INSERTS: Final = timedelta(minutes=10)


def look_at_signals(client: Client) -> tuple[Signals, int]:
    """What the signals say, and the epoch of their log. To be asked before Kafka is: see `compared`."""
    said = stored_signals(client)
    return interpret(said), epoch_of(said)


def look_at_store(client: Client, settings: Settings, signals: Signals, now: datetime, recent: timedelta) -> StoreLook:
    """Everything but the comparison of the balance. Raises StoreError."""
    since = {"since": now - recent}
    codes = _query(
        client,
        "SELECT code, count(), countIf(appended_at >= {since:DateTime64(3, 'UTC')}), max(appended_at) FROM dead_letters "
        "GROUP BY code ORDER BY code",
        since,
    )
    outcomes = _query(
        client,
        "SELECT outcome, count(), countIf(appended_at >= {since:DateTime64(3, 'UTC')}), max(appended_at) FROM exclusions "
        "GROUP BY outcome ORDER BY outcome",
        since,
    )
    periods = _query(
        client,
        "SELECT billing_period, uniqExact(tenant_id), max(appended_at) FROM rated "
        f"GROUP BY billing_period ORDER BY billing_period DESC LIMIT {_SHOWN_PERIODS}",
    )
    return StoreLook(
        dead_letters=tuple(_not_counted(row) for row in codes),
        exclusions=tuple(_not_counted(row) for row in outcomes),
        unreadable=int(_query(client, "SELECT count() FROM unreadable_records")[0][0]),
        signals=signals,
        inserts=_inserts(client, now),
        periods=tuple(BillingPeriod(str(period), int(tenants), _utc(last)) for period, tenants, last in periods),
        tables=tables(client),
        missing_migrations=_missing_migrations(client, settings),
    )


def tables(client: Client) -> tuple[TableSize, ...]:
    """Rows and bytes of every table, without reading any."""
    rows = _query(
        client,
        "SELECT name, total_rows, total_bytes FROM system.tables WHERE database = currentDatabase() "
        "AND isNotNull(total_rows) AND name NOT IN ('logs', 'schema_migrations') ORDER BY name",
    )
    return tuple(TableSize(str(name), int(number), int(size or 0)) for name, number, size in rows)


def _not_counted(row: tuple[Any, ...]) -> NotCounted:
    name, rows, recent, last = row
    return NotCounted(str(name), int(rows), int(recent), _utc(last))


def _inserts(client: Client, now: datetime) -> Inserts | None:
    """From the query log, which servers keep and the embedded ClickHouse does not."""
    try:
        rows = _query(
            client,
            "SELECT count(), sum(written_rows), quantileExact(0.5)(query_duration_ms), quantileExact(0.99)(query_duration_ms) "
            "FROM system.query_log WHERE type = 'QueryFinish' AND query_kind = 'Insert' "
            "AND current_database = currentDatabase() AND event_time >= {since:DateTime('UTC')}",
            {"since": now - _RECENT_INSERTS},
        )
    except StoreError:
        return None  # no log, or no right to read it: the figure is one that can be missing
    number, written, p50, p99 = rows[0]
    return Inserts(int(number), int(written), float(p50) / 1000, float(p99) / 1000) if number else None


def _missing_migrations(client: Client, settings: Settings) -> tuple[str, ...]:
    missing = migrations.apply(client, settings.clickhouse.database, dry_run=True)
    return tuple(f"{each.number:04d} {each.name}" for each in missing)


def compared(
    client: Client, settings: Settings, balance: BalanceLook, epoch: int, kafka: KafkaLook, sizes: tuple[TableSize, ...]
) -> BalanceLook:
    """The worker's balance beside the rows that ClickHouse has of the same stretch of the log, partition by partition.

    The signals must have been read before Kafka was asked: where the sinks have since come to the position of the
    signals, everything that was committed with them is stored, and the numbers must be equal.
    """
    if sum(size.rows for size in sizes if size.name in ("usage_raw", "gpu_usage_raw")) > COMPARED_ROWS:
        return balance
    topics, group = settings.topics, group_of(settings)
    behind = {(lag.topic, lag.partition): (lag.position, lag.lag) for lag in kafka.lags if lag.group == group}
    ready = {}
    for each in balance.partitions:
        position, lag = behind.get((topics.usage_events, each.partition), (0, 1))
        others = sum(
            behind.get((topic, each.partition), (0, 1))[1] for topic in (topics.usage_excluded, topics.usage_dlq)
        )
        if (position > each.position or lag == 0) and others == 0:
            ready[each.partition] = each.position
    if not ready:
        return balance
    stored, aside = _stored(client, topics.usage_events, epoch, ready)
    return replace(
        balance,
        partitions=tuple(
            replace(each, stored=stored.get(each.partition, 0), put_aside=aside.get(each.partition, 0))
            if each.partition in ready
            else each
            for each in balance.partitions
        ),
    )


def _stored(
    client: Client, topic: str, epoch: int, positions: Mapping[int, int]
) -> tuple[dict[int, int], dict[int, int]]:
    """Rows and unreadable records up to the positions, and those of them that were put aside, by partition."""

    def up_to(partition: str, offset: str) -> str:
        known, ends = list(positions), list(positions.values())
        return f"toInt64({offset}) <= transform({partition}, {known}, {ends}, toInt64(-1))"

    raw = (
        "SELECT kafka_partition, count() FROM {table} WHERE topic = {{topic:String}} AND log_epoch = {{epoch:UInt32}} "
        f"AND {up_to('kafka_partition', 'kafka_offset')} GROUP BY kafka_partition"
    )
    letters = (
        "SELECT source_partition, countIf(source_row < 0), count() FROM dead_letters WHERE source_topic = {topic:String} "
        f"AND {up_to('source_partition', 'source_offset')} "
        # A refused control record is in the dead letters and no usage.
        "AND (source_topic, source_partition, source_offset) NOT IN "
        "(SELECT topic, kafka_partition, kafka_offset FROM control_records) GROUP BY source_partition"
    )
    excluded = (
        "SELECT source_partition, count() FROM exclusions WHERE type LIKE '%.usage.%' "
        f"AND source_log_epoch = {{epoch:UInt32}} AND {up_to('source_partition', 'source_offset')} GROUP BY source_partition"
    )
    stored: dict[int, int] = {}
    aside: dict[int, int] = {}
    values = {"topic": topic, "epoch": epoch}
    for table in ("usage_raw", "gpu_usage_raw"):
        for partition, rows in _query(client, raw.format(table=table), values):
            stored[partition] = stored.get(partition, 0) + int(rows)
    for partition, whole, rows in _query(client, letters, {"topic": topic}):
        stored[partition] = stored.get(partition, 0) + int(whole)
        aside[partition] = aside.get(partition, 0) + int(rows)
    for partition, rows in _query(client, excluded, {"epoch": epoch}):
        aside[partition] = aside.get(partition, 0) + int(rows)
    return stored, aside


def _query(client: Client, sql: str, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
    with store_errors("looking at ClickHouse"):
        rows = client.query(sql, parameters=dict(values) if values else None).result_rows
    return [tuple(row) for row in rows]


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
