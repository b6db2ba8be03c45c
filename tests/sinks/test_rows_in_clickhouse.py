"""The rows that sinks build are what ClickHouse stores: column by column, digit by digit, null by null."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.arrow import EXCLUSION, GPU_USAGE, GPU_UTILIZATION, TOKEN_USAGE, schema_for
from schemas.batch import encode_batch
from schemas.dead_letters import Coordinates, dead_letter_headers, encode_rejected_rows
from schemas.headers import BatchHeaders
from schemas.kinds import Kind
from sinks.columns import NULLABLE
from sinks.dead_letters import DeadLetterSink
from sinks.delivery import TopicSink, token
from sinks.exclusions import ExclusionSink
from sinks.gpu_samples import GpuSampleSink
from sinks.rated import RatedSink
from sinks.records import LogId, SourceRecord
from sinks.signals import SignalSink
from sinks.store import ClickHouseStore
from sinks.tables import ALL, USAGE_RAW
from sinks.usage import UsageSink
from tests.sinks import samples
from tests.sinks.samples import MONDAY_MS, Wire

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LOG_ID = LogId("t", "cluster", "topic", 3)


def store(client: Client, sink: TopicSink[Any], *wires: Wire, first: int = 0) -> None:
    records = [
        SourceRecord("t", 2, first + index, MONDAY_MS + index, None, value, headers)
        for index, (value, headers) in enumerate(wires)
    ]
    built = sink.build([sink.decode(record) for record in records], LOG_ID)
    for table, rows in built.items():
        assert table in sink.tables
        ClickHouseStore(client).insert(table, rows, token(LOG_ID, 2, first, first + len(wires) - 1, table))


def rows(client: Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql).result_rows]


def test_every_table_keeps_insert_tokens(database: Client) -> None:
    ClickHouseStore(database).check()


def test_tables_have_every_column_of_their_event(database: Client) -> None:
    columns = {
        table.name: {
            row[0]
            for row in rows(
                database,
                f"SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '{table.name}'",
            )
        }
        for table in ALL
    }
    assert set(TOKEN_USAGE.names) <= columns["usage_raw"]
    assert set(GPU_USAGE.names) <= columns["gpu_usage_raw"]
    assert set(GPU_UTILIZATION.names) <= columns["gpu_samples"]
    places = {"log_epoch", "partition", "offset", "row"}
    assert set(EXCLUSION.names) - places | {f"source_{name}" for name in places} <= columns["exclusions"]
    for name in columns:
        assert {"log_id", "topic", "kafka_partition", "kafka_offset", "appended_at"} <= columns[name], name


def test_the_list_of_columns_that_may_be_null_is_that_of_the_tables(database: Client) -> None:
    found = rows(
        database,
        "SELECT DISTINCT name FROM system.columns WHERE database = currentDatabase() AND type LIKE 'Nullable%' "
        f"AND table IN ({', '.join(repr(table.name) for table in ALL)}) AND name != 'time'",
    )
    assert {name for (name,) in found} == NULLABLE


def test_batches_and_single_events_give_the_same_rows(database: Client) -> None:
    store(database, UsageSink(), samples.token_batch(3, number=4), samples.token_event(units={"pages": "1.5"}))
    found = rows(
        database,
        "SELECT id, tenant_id, input_tokens, input_uncached, output_text, output_reasoning, units, first_token_at, "
        "service_tier, attempt, region, batch_source, batch_epoch, batch_number, log_id, log_epoch, kafka_partition, "
        "kafka_offset, kafka_row, toUnixTimestamp64Milli(appended_at) FROM usage_raw ORDER BY kafka_offset, kafka_row",
    )
    place = ("cluster/topic", 3, 2)
    batch, later = ("node-1", 7, 4), MONDAY_MS + 1
    assert found == [
        ("e-0", "tenant-0", 100, 90, 45, 5, {}, None, "default", 1, "", *batch, *place, 0, 0, MONDAY_MS),
        ("e-1", "tenant-1", 101, 91, 45, 5, {}, None, "default", 1, "", *batch, *place, 0, 1, MONDAY_MS),
        ("e-2", "tenant-2", 102, 92, 45, 5, {}, None, "default", 1, "", *batch, *place, 0, 2, MONDAY_MS),
        ("single-0", "tenant-0", 100, 90, 45, 5, {"pages": "1.5"}, None, "default", 1, "", "", 0, 0, *place, 1, 0, later),
    ]  # fmt: skip


def test_what_a_bad_row_holds_is_stored_as_it_came(database: Client) -> None:
    """The raw table is the log: rows that the worker rejects are in it."""
    store(
        database,
        UsageSink(),
        samples.token_batch(1, prefix="negative", input_tokens=-4, cache_read_input_tokens=9),
        samples.token_batch(1, prefix="missing", tenant_id=None, input_tokens=None, ended_at=None, units={"a": "1"}),
        samples.token_batch(1, prefix="whole"),
    )
    found = rows(
        database,
        "SELECT id, tenant_id, input_tokens, input_uncached, toUnixTimestamp(ended_at) > 0 "
        "FROM usage_raw ORDER BY kafka_offset",
    )
    assert found == [
        ("negative-0", "tenant-0", -4, -13, True),
        ("missing-0", "", 0, -10, False),
        ("whole-0", "tenant-0", 100, 90, True),
    ]


@pytest.mark.parametrize("extreme", [-(2**63) + 1, 2**63 - 1, -1, 0])
def test_extreme_values_of_a_hostile_batch_do_not_stop_the_sink(database: Client, extreme: int) -> None:
    """Every column of every kind of batch at the ends of what its type holds."""
    for kind, sink in (
        (Kind.TOKEN_USAGE, UsageSink()),
        (Kind.GPU_USAGE, UsageSink()),
        (Kind.GPU_UTILIZATION, GpuSampleSink()),
        (Kind.EXCLUSION, ExclusionSink()),
    ):
        columns = {field.name: extreme_column(field.type, extreme) for field in schema_for(kind)}
        batch = pa.RecordBatch.from_pydict(columns, schema=schema_for(kind))
        headers = BatchHeaders(kind, "x" * 512, 2**63 - 1, 2**63 - 1).encode()
        store(database, sink, (encode_batch(batch), headers))
        if kind != Kind.EXCLUSION:
            letter = dead_letter_headers(Coordinates("t", 2**31 - 1, 2**63 - 1), ["invalid_x"] * 2, "bad", kind=kind)
            rejected = encode_rejected_rows(kind, batch, np.array([0, 1]), ["invalid_x"] * 2, ["bad"] * 2)
            store(database, DeadLetterSink(), (rejected, letter), first=len(kind))
    for table, count in {
        "usage_raw": 2,
        "gpu_usage_raw": 2,
        "gpu_samples": 2,
        "exclusions": 2,
        "dead_letters": 6,
    }.items():
        assert rows(database, f"SELECT count() FROM {table}") == [(count,)], table


def extreme_column(kind: pa.DataType, extreme: int) -> pa.Array:
    """Two values of a type: an extreme one and a null."""
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        text = "\U0010ffff" * 1000 if extreme > 0 else ""
        return pa.array([text, None], pa.string()).cast(kind)
    if pa.types.is_map(kind):
        return pa.array([[("", "not a number")], None], kind)
    if pa.types.is_boolean(kind):
        return pa.array([extreme > 0, None], kind)
    if pa.types.is_decimal(kind):
        return pa.array([Decimal(extreme) * 10**12, None], kind)
    if pa.types.is_floating(kind):
        return pa.array([float("nan") if extreme == 0 else float(extreme) * 1e280, None], kind)
    bits = 31 if pa.types.is_int32(kind) else 63
    value = max(-(2**bits), min(2**bits - 1, extreme))
    return pa.array([value, None], pa.int64()).cast(kind)


def test_control_records_and_gpu_usage_go_to_their_own_tables(database: Client) -> None:
    store(database, UsageSink(), samples.card(2), samples.assignment(), samples.gpu_usage_batch())
    assert rows(
        database,
        "SELECT id, card_id, card_version, published_by, tenant_id, kafka_offset FROM control_records ORDER BY kafka_offset",
    ) == [
        ("card-2", "standard", 2, "anna", "", 0),
        ("assign-tenant-0", "standard", None, "", "tenant-0", 1),
    ]
    assert rows(database, "SELECT tenant_id, gpu_seconds, gpu_busy_seconds, unobserved_seconds FROM gpu_usage_raw") == [
        ("_idle", Decimal("3600.000001"), Decimal("12.500000"), Decimal(0))
    ]
    assert rows(database, "SELECT count() FROM usage_raw") == [(0,)]


def test_a_control_record_in_several_partitions_is_one_in_the_view(database: Client) -> None:
    store(database, UsageSink(), samples.card(), samples.card(), samples.card(2))
    assert rows(database, "SELECT id FROM control ORDER BY id") == [("card-1",), ("card-2",)]


@pytest.mark.parametrize("value", [b"", b"{", b'{"a": 1}', b"\xff\x00", b"ARROW1"])
def test_unreadable_input_gives_no_raw_rows_and_stops_nothing(database: Client, value: bytes) -> None:
    arrow = samples.token_batch(1)[1]
    store(
        database, UsageSink(), (value, []), (value, arrow), (value, [("content-type", b"\xff")]), samples.token_batch(2)
    )
    store(database, GpuSampleSink(), (value, []), samples.sample_batch(2))
    assert rows(database, "SELECT count() FROM usage_raw") == [(2,)]
    assert rows(database, "SELECT id, power_w, fb_used_mib, tenant_id FROM gpu_samples ORDER BY id") == [
        ("s0", None, None, ""), ("s1", 300.5, None, "")
    ]  # fmt: skip


@pytest.mark.parametrize("sink", [RatedSink(), SignalSink(), ExclusionSink(), DeadLetterSink()])
@pytest.mark.parametrize("value", [None, b"", b"[]", b"{", b"\xff" * 70_000])
def test_unreadable_output_records_are_kept_apart_and_stop_nothing(database: Client, sink: Any, value: bytes) -> None:
    store(database, sink, (value, []))
    [(length, kept)] = rows(database, "SELECT payload_bytes, length(payload) FROM unreadable_records")
    assert (length, kept) == (len(value or b""), min(len(value or b""), 65_536))


def test_state_holds_the_highest_revision_and_the_ledger_every_difference(database: Client) -> None:
    first = samples.rated("10", "0.000000000001", 100)
    second = samples.rated("12.5", "0.3", 200, (100, "10", "0.000000000001"))
    third = samples.rated("0", "-1", 300, (200, "12.5", "0.3"))
    # a late, lower revision never wins, whenever it comes
    store(database, RatedSink(), samples.rated_wire(third), samples.rated_wire(first), samples.rated_wire(second))
    assert rows(database, "SELECT quantity, amount, revision, previous_amount, dimensions FROM rated") == [
        (Decimal(0), Decimal(-1), 300, Decimal("0.3"), {"model": "m"})
    ]
    assert rows(
        database, "SELECT quantity, amount, revision, previous_revision FROM rated_ledger ORDER BY revision"
    ) == [
        (Decimal(10), Decimal("0.000000000001"), 100, None),
        (Decimal("2.5"), Decimal("0.299999999999"), 200, 100),
        (Decimal("-12.5"), Decimal("-1.3"), 300, 200),
    ]
    assert rows(database, "SELECT sum(quantity), sum(amount) FROM rated_ledger") == [(Decimal(0), Decimal(-1))]


def test_unrated_usage_has_no_amount_in_the_state_and_zero_in_the_ledger(database: Client) -> None:
    store(database, RatedSink(), samples.rated_wire(samples.rated("10", None, 1, sku="unrated/images", kind="unrated")))
    assert rows(database, "SELECT amount, currency FROM rated") == [(None, "")]
    assert rows(database, "SELECT amount FROM rated_ledger") == [(Decimal(0),)]


@pytest.mark.parametrize("amount", ["0.0000000000001", "100000000000000000000000000"])
def test_amounts_that_the_table_cannot_hold_exactly_are_refused_not_cut(database: Client, amount: str) -> None:
    store(database, RatedSink(), samples.rated_wire(samples.rated("1", amount, 1)))
    assert rows(database, "SELECT (SELECT count() FROM rated), (SELECT count() FROM unreadable_records)") == [(0, 1)]


def test_the_latest_signal_of_a_policy(database: Client) -> None:
    store(database, SignalSink(), samples.signal(2, read=9), samples.signal(1, read=3))
    assert rows(database, "SELECT data FROM signals_latest") == [('{"read":9}',)]
    assert rows(database, "SELECT count() FROM signals") == [(2,)]


def test_exclusions_carry_the_place_of_the_excluded_row(database: Client) -> None:
    store(database, ExclusionSink(), samples.exclusions(), samples.exclusions(1))
    found = rows(
        database,
        "SELECT outcome, tenant_id, source_log_epoch, source_partition, source_offset, source_row, input_tokens, requests, "
        "kafka_offset, kafka_row FROM exclusions ORDER BY kafka_offset, kafka_row",
    )
    assert found == [
        ("duplicate", "tenant-0", 1, 2, 40, 0, 100, 1, 0, 0),
        ("duplicate", "tenant-1", 1, 2, 40, 1, 101, 1, 0, 1),
        ("duplicate", "tenant-0", 1, 2, 40, 0, 100, 1, 1, 0),
    ]


def test_dead_letters_of_rows_and_of_whole_records(database: Client) -> None:
    store(database, DeadLetterSink(), samples.rejected_rows(), samples.undecodable(value=b"\xfe" * 70_000))
    found = rows(
        database,
        "SELECT code, reason, tenant_id, id, type, source_topic, source_partition, source_offset, source_row, "
        "length(payload_sha256) FROM dead_letters ORDER BY kafka_offset",
    )
    place = ("usage.events.v1", 0)
    assert found == [
        ("invalid_input_tokens", "input_tokens is -4", "tenant-1", "e-1", Kind.TOKEN_USAGE.value, *place, 9, 1, 0),
        ("undecodable", "not JSON", "", "", "", *place, 10, -1, 64),
    ]
    assert rows(database, "SELECT payload_bytes, length(payload) FROM dead_letters WHERE source_row < 0") == [
        (70_000, 65_536)
    ]
    [(payload,)] = rows(database, "SELECT payload FROM dead_letters WHERE source_row = 1")
    assert '"input_tokens":-4' in payload
    assert '"ended_at":"2026-01-01T00:00:02Z"' in payload


def test_repeating_an_insert_adds_nothing(database: Client) -> None:
    for _ in range(2):
        store(database, UsageSink(), samples.token_batch(5))
        store(database, RatedSink(), samples.rated_wire(samples.rated("1", "1", 1)))
    assert rows(database, "SELECT count() FROM usage_raw") == [(5,)]
    assert rows(database, "SELECT count() FROM rated_ledger") == [(1,)]


def test_the_store_knows_what_a_table_holds_of_a_log(database: Client) -> None:
    store(database, UsageSink(), samples.token_batch(5), samples.token_batch(1), first=7)
    reader = ClickHouseStore(database)
    assert reader.highest_offsets(USAGE_RAW, LOG_ID) == {2: 8}
    assert reader.highest_offsets(USAGE_RAW, LogId("t", "cluster", "another")) == {}
    assert reader.count(USAGE_RAW, LOG_ID, 2, 7, 7) == 5
    assert reader.count(USAGE_RAW, LOG_ID, 1, 0, 100) == 0
