"""Nothing that one record holds may end a worker, lose a neighbour, or fill what a flush writes beyond what Kafka takes."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from schemas.batch import decode_batch, encode_batch
from schemas.cloudevents import encode_binary, encode_structured
from schemas.headers import REJECTED_JSON, BatchHeaders
from schemas.kinds import Kind
from schemas.partitioning import partition_for
from schemas.source_rejects import SourceReject, encode_source_reject
from streams.balance import MAX_SOURCES, OTHERS, UNKNOWN
from streams.decode import USAGE_KINDS, Rows, segments
from streams.fold import MAX_ROWS
from streams.processor import SourceRecord
from tests.schemas.samples import gpu_usage, gpu_utilization, raw_batch, write_stream
from tests.streams.support import (
    LATER_US,
    TOKEN_USAGE,
    Log,
    batch_of,
    card_document,
    log_with_card,
    meter,
    rate,
    restartable,
    sample,
    usage,
    written_fits,
)

# --- fuzz -------------------------------------------------------------------------------------------------------------


def good_values() -> list[tuple[bytes, dict[str, bytes]]]:
    rows = [
        usage(f"good-{row}", timedelta(minutes=row), units={"x": "1"} if row % 3 else {}, region="eu")
        for row in range(9)
    ]
    headers = dict(BatchHeaders(TOKEN_USAGE, "fuzz", 1, 1).encode())
    gpu = dict(BatchHeaders(str(Kind.GPU_USAGE), "fuzz-gpu", 1, 1).encode())
    samples = dict(BatchHeaders(str(Kind.GPU_UTILIZATION), "fuzz-samples", 1, 1).encode())
    singles = [encode_binary(rows[0]), encode_structured(rows[1]), encode_structured(gpu_usage())]
    rejected = encode_source_reject(SourceReject(file="a.csv", line=3, reason="no number", text="x,y"))
    control = Log().card(card_document())
    return [
        (encode_batch(batch_of(rows)), headers),
        (encode_batch(batch_of(rows), "zstd"), headers),
        (encode_batch(batch_of([gpu_usage()])), gpu),
        (encode_batch(batch_of([gpu_utilization(), sample(40), sample(70)])), samples),
        *[(value, dict(pairs)) for value, pairs in [*singles, rejected]],
        (control.value, dict(control.headers)),
    ]


GOOD = good_values()


def mutated(value: bytes, headers: dict[str, bytes], dice: random.Random) -> tuple[bytes, dict[str, bytes]]:
    data, names = bytearray(value), dict(headers)
    for _ in range(dice.choice([1, 1, 2, 8])):
        step = dice.randrange(8)
        if step <= 2 and data:
            data[dice.randrange(len(data))] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        elif step == 3:
            del data[dice.randrange(len(data) + 1) :]
        elif step == 4 and data:
            at = dice.randrange(len(data))
            data[at:at] = data[at : at + dice.randrange(64)]
        elif step == 5 and names:
            del names[dice.choice(sorted(names))]
        elif step == 6 and names:
            names[dice.choice(sorted(names))] = dice.choice(
                [b"", b"\xff\xfe", b"-1", b"9" * 30, b"sequence", b"offset", b"x" * 600, TOKEN_USAGE.encode(), b"2"]
            )
        elif len(data) > 8:
            at = dice.randrange(len(data) - 8)
            data[at : at + 8] = dice.choice([b"\xff" * 8, b"\x00" * 8, b"\x80" + b"\x00" * 7, b"\xff" * 7 + b"\x7f"])
    return bytes(data), names


@pytest.mark.parametrize("seed", range(6))
def test_corrupted_records_end_somewhere_and_their_neighbours_count(seed: int) -> None:
    dice = random.Random(seed)
    log = log_with_card()
    log.log_time_us = LATER_US
    neighbours = 0
    for number in range(150):
        value, headers = mutated(*dice.choice(GOOD), dice)
        log.append(value, headers.items(), key=dice.choice([None, b"", b"k", b"\xff" * 5000]))
        if number % 10 == 0:
            log.batch([usage(f"neighbour-{number}", source="neighbour")], source="neighbour")
            log.single(usage(f"neighbour-{number}-json", source="neighbour"))
            neighbours += 2
    run = rate(log.records)
    while run.read < len(log.records):
        run.feed(dice.randrange(1, 40))
        run.flush()
    balance = run.balance()
    assert balance["neighbour"]["rated"] == neighbours
    assert balance["neighbour"]["read"] == neighbours
    for data in balance.values():
        assert data["read"] == sum(
            data[name] for name in ("rated", "unrated", "duplicate", "dead_letter", "quarantined", "rerouted")
        )
    assert sum(run.dead_codes().values()) >= run.outcomes()["dead_letter"]
    written_fits(run)
    restartable(run)
    gpu = meter(log.records)
    while gpu.read < len(log.records):
        gpu.feed(dice.randrange(1, 40))
        gpu.flush()
    written_fits(gpu)
    restartable(gpu)


wild = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            "-1",
            "NaN",
            "Infinity",
            "1e999999",
            "9" * 400,
            "0.0000001",
            "2026-01-01T00:00:00Z",
            "9999-12-31T23:59:59-14:00",
        ]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)


@examples(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(usage("a").model_dump())), wild), min_size=1, max_size=3))
@example([("units", [0])])
def test_json_with_any_values_in_its_fields_ends_somewhere(changes: list[tuple[str, Any]]) -> None:
    log = log_with_card()
    value, headers = encode_structured(usage("a"))
    event = orjson.loads(value)
    for name, wrong in changes:
        event["data"][name] = wrong
    log.append(json.dumps(event).encode(), headers)
    log.single(usage("neighbour"))
    run = rate(log.records).all()
    assert sum(run.outcomes().values()) == 2
    assert run.outcomes()["rated"] + run.outcomes()["unrated"] >= 1
    written_fits(run)


cells = st.sampled_from(
    [None, -1, 0, 1, 2**62, -(2**63), 2**63 - 1, "", "x", "\x00", "_x", "é" * 300, "x" * 2000, "a\ud7ffb", True, 1.5]
)


@examples(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(sorted(usage("a").model_dump())), cells), min_size=1, max_size=6
    )
)
def test_columns_with_any_values_refuse_rows_and_nothing_else(changes: list[tuple[int, str, Any]]) -> None:
    rows = [dict(usage(f"row-{number}").model_dump()) for number in range(5)]
    for row in rows:
        row["units"] = list(row["units"].items())
    for at, name, wrong in changes:
        rows[at][name] = wrong
    try:
        batch = raw_batch(TOKEN_USAGE, rows)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return
    log = log_with_card()
    log.append(write_stream(batch), BatchHeaders(TOKEN_USAGE, "wild", 1, 1).encode())
    log.append(write_stream(batch), BatchHeaders(TOKEN_USAGE, "wild", 1, 1).encode())
    run = rate(log.records).all()
    outcomes = run.outcomes()
    assert sum(outcomes.values()) == 10
    assert outcomes["rated"] >= 5 - len({at for at, _, _ in changes})
    assert outcomes["duplicate"] >= outcomes["rated"]
    written_fits(run)
    restartable(run)


# --- sums beyond 64 bits ----------------------------------------------------------------------------------------------


def test_the_largest_quantities_add_up_exactly_and_survive_a_restart() -> None:
    log = log_with_card()
    most = 10**12
    for number in range(4):
        events = [
            usage(
                f"event-{number}-{row}",
                input_tokens=most,
                audio_seconds=str(most),
                units={"x": str(most), "y": "0.000000001"},
            )
            for row in range(20)
        ]
        log.batch(events)
    run = rate(log.records)
    run.feed(4)
    run.flush()
    run.restart()
    run.all(1)
    amounts = run.amounts()
    assert amounts["unrated/audio_seconds 2026-01-10T00:00:00Z 2026-01"] == f"{80 * most} None"
    assert amounts["unrated/units.x 2026-01-10T00:00:00Z 2026-01"] == f"{80 * most} None"
    assert amounts["unrated/units.y 2026-01-10T00:00:00Z 2026-01"] == "0.00000008 None"
    assert amounts["llama/input 2026-01-10T00:00:00Z 2026-01"].startswith(f"{80 * most} ")
    written_fits(run)


def test_a_tenant_that_invents_meters_fills_no_record() -> None:
    log = log_with_card()
    for number in range(15):
        names = [{f"{'m' * 200}-{number}-{row}-{each}": "1" for each in range(16)} for row in range(10)]
        log.batch([usage(f"event-{number}-{row}", units=units) for row, units in enumerate(names)])
    run = rate(log.records).all()
    written_fits(run)
    run.restart()
    log.batch([usage("again", units={f"{'m' * 200}-0-0-0": "1"})])
    run.all()
    assert run.amounts()[f"unrated/units.{'m' * 200}-0-0-0 2026-01-10T00:00:00Z 2026-01"] == "2 None"


# --- names without end ------------------------------------------------------------------------------------------------


def test_rows_that_do_not_count_take_no_numbers_in_the_sums() -> None:
    run = rate(log_with_card().records).all()
    processor: Any = run.processor
    rows = [usage(f"event-{row}", response_model=f"model-{row}").model_dump() for row in range(900)]
    for row in rows[1:]:
        row["input_tokens"] = -5
        row["units"] = None
    rows[0]["units"] = None
    batch = raw_batch(TOKEN_USAGE, rows)
    processor.apply(
        [SourceRecord(5, LATER_US, None, write_stream(batch), dict(BatchHeaders(TOKEN_USAGE, "s", 1, 1).encode()))]
    )
    (table,) = processor._additions.values()
    assert (len(table._profile_list), len(table._tenant_names), table.rows) == (1, 1, 1)
    assert MAX_ROWS <= 1 << 20, "so many tenants and profiles at most, in 20 bits each"


def test_a_dictionary_of_a_million_names_for_one_row_costs_nothing() -> None:
    batch = batch_of([usage("a")])
    at = batch.schema.get_field_index("tenant_id")
    names = pa.array(["acme", *map(str, range(300_000))])
    columns = batch.columns
    columns[at] = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), names)
    log = log_with_card()
    log.append(
        write_stream(pa.RecordBatch.from_arrays(columns, names=batch.schema.names)),
        BatchHeaders(TOKEN_USAGE, "s", 1, 1).encode(),
    )
    run = rate(log.records)
    run.feed(2)
    processor: Any = run.processor
    assert partition_for.cache_info().currsize < 65_536
    before = partition_for.cache_info().currsize
    run.all()
    assert partition_for.cache_info().currsize - before <= 2
    assert run.outcomes() == {"rated": 1}
    assert len(processor._state._periods) == 1


def test_sources_of_any_name_and_number_are_counted_in_bounds() -> None:
    log = log_with_card()
    bad = orjson.loads(encode_structured(usage("a"))[0])
    bad["source"] = "s" * 300_000
    log.append(orjson.dumps(bad), encode_structured(usage("a"))[1])
    log.append(
        orjson.dumps({"file": "f" * 300_000, "line": 1, "reason": "r", "text": ""}),
        [("content-type", REJECTED_JSON.encode())],
    )
    log.append(b'{"file": 1}', [("content-type", REJECTED_JSON.encode())])
    log.append(orjson.dumps({"file": "f", "line": 2**63, "reason": "r"}), [("content-type", REJECTED_JSON.encode())])
    rows = [usage("a").model_dump() | {"units": None, "source": source} for source in ("x" * 100_000, None, "a\nb")]
    log.append(write_stream(raw_batch(TOKEN_USAGE, rows)), BatchHeaders(TOKEN_USAGE, "s", 1, 1).encode())
    run = rate(log.records).all()
    assert run.balance()[UNKNOWN]["dead_letter"] == 6
    assert run.outcomes()["dead_letter"] == 7
    written_fits(run)


def test_more_sources_than_are_counted_by_name_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_SOURCES >= 1_000
    monkeypatch.setattr("streams.balance.MAX_SOURCES", 3)
    log = log_with_card()
    log.batch([usage(f"event-{number}", source=f"source-{number % 6}") for number in range(30)])
    run = rate(log.records).all()
    assert {source: data["read"] for source, data in run.balance().items()} == {
        "source-0": 5, "source-1": 5, "source-2": 5, OTHERS: 15,
    }  # fmt: skip
    run.restart()
    log.batch([usage(f"event-{number}", source=f"source-{number % 6}") for number in range(30)])
    run.all()
    assert run.balance()[OTHERS]["duplicate"] == 15


def test_a_producer_that_numbers_wrongly_does_not_fill_the_state() -> None:
    log = log_with_card()
    for number in range(1, 3_000, 2):
        log.append(
            encode_batch(batch_of([usage(f"event-{number}")]).slice(0, 0)),
            BatchHeaders(TOKEN_USAGE, "odd", 1, number).encode(),
        )
    run = rate(log.records).all(64)
    written_fits(run)
    (value,) = [value for key, value in run.state.items() if b'"odd"' in key]
    assert len(value) < 50_000
    (signal,) = [
        signal["data"] for (_, policy), signal in run.signals().items() if policy.startswith("missing_batches/")
    ]
    assert signal["missing_batches"] == 1_499
    assert len(signal["ranges"]) <= 100


# --- odd records --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time_us", [-1, -(10**15), 2**63 - 1, 2**70])
def test_log_times_that_no_clock_shows(time_us: int) -> None:
    log = log_with_card()
    log.batch([usage("a")], log_time_us=time_us)
    log.single(usage("b"), log_time_us=time_us)
    log.tick(datetime(2026, 1, 1, tzinfo=UTC))
    log.records[-1] = SourceRecord(4, time_us, None, log.records[-1].value, log.records[-1].headers)
    log.batch([usage("c")])
    run = rate(log.records).all(1)
    assert sum(run.outcomes().values()) == 3
    assert run.outcomes()["rated"] >= 1
    restartable(run)


def test_json_nested_without_end_is_a_dead_letter() -> None:
    log = log_with_card()
    value, headers = encode_structured(usage("a"))
    for depth in (500, 900, 1_020, 100_000):
        log.append(value.replace(b'"input_tokens":100', b'"input_tokens":' + b"[" * depth + b"]" * depth), headers)
    log.single(usage("b"))
    run = rate(log.records).all()
    assert run.outcomes() == {"rated": 1, "dead_letter": 4}


def test_a_flood_of_single_events_is_gathered_in_batches_of_bounded_size() -> None:
    log = log_with_card()
    for number in range(2_500):
        log.single(usage(f"event-{number % 2_400}"))
    gathered = [segment.batch.num_rows for segment in segments(log.records, USAGE_KINDS) if isinstance(segment, Rows)]
    assert gathered == [1_000, 1_000, 500]
    run = rate(log.records).all()
    assert run.outcomes() == {"rated": 2_400, "duplicate": 100}


def test_units_with_nulls_and_repeated_names_are_refused() -> None:
    rows = [usage(f"event-{row}").model_dump() for row in range(3)]
    rows[0]["units"] = [("a", None), ("a", "1"), ("a", None)]
    rows[1]["units"] = [("a", "1"), ("a", "1")]
    rows[2]["units"] = [("a", "1")]
    log = log_with_card()
    log.append(write_stream(raw_batch(TOKEN_USAGE, rows)), BatchHeaders(TOKEN_USAGE, "s", 1, 1).encode())
    run = rate(log.records).all()
    assert run.outcomes() == {"unrated": 1, "dead_letter": 2}
    assert run.dead_codes() == {"invalid_units": 2}


def test_a_null_map_with_entries_under_it_is_a_row_without_units() -> None:
    batch = batch_of([usage("a", units={"x": "1"}), usage("b")])
    at = batch.schema.get_field_index("units")
    column = batch.column("units")
    hidden = pa.MapArray.from_arrays(column.offsets, column.keys, column.items, mask=pa.array([True, False]))
    columns = batch.columns
    columns[at] = hidden
    log = log_with_card()
    log.append(
        write_stream(pa.RecordBatch.from_arrays(columns, names=batch.schema.names)),
        BatchHeaders(TOKEN_USAGE, "s", 1, 1).encode(),
    )
    log.single(usage("a"))
    run = rate(log.records).all()
    assert run.outcomes() == {"rated": 2, "duplicate": 1}
    assert not [sku for sku in run.amounts() if "units" in sku]


def test_the_rows_of_a_dead_letter_are_those_that_were_sent() -> None:
    rows = [usage(f"event-{row}").model_dump() | {"units": None} for row in range(5)]
    rows[1]["input_tokens"] = -7
    rows[3]["ended_at"] = -(2**60)
    log = log_with_card()
    log.append(write_stream(raw_batch(TOKEN_USAGE, rows)), BatchHeaders(TOKEN_USAGE, "s", 1, 1).encode())
    run = rate(log.records).all()
    (letter,) = run.dead_letters()
    assert letter.batch is not None
    assert letter.batch.column("_row").to_pylist() == [1, 3]
    assert letter.batch.column("id").to_pylist() == ["event-1", "event-3"]
    assert letter.batch.column("input_tokens").to_pylist() == [-7, 100]
    assert np.asarray(letter.batch.column("ended_at").cast(pa.int64()))[1] == -(2**60)
    assert len(decode_batch(TOKEN_USAGE, log.records[-1].value)) == 5
