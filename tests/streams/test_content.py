"""Who an event is and what it says must hash alike however a batch encodes it, and differently when anything differs."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from schemas.batch import decode_batch, encode_batch, rows_to_batch
from schemas.cloudevents import decode, encode_binary, to_event
from schemas.events import GpuUsage, TokenUsage
from schemas.kinds import Kind
from streams.columns import mixed_codes, string_hashes, with_small_dictionaries
from streams.content import contents, identities
from tests.schemas.samples import gpu_usage, write_stream
from tests.streams.support import START, batch_of, usage

EVENTS = [
    usage("a"),
    usage("b", timedelta(hours=1), region="eu", stream=True, units={"x": "1.5", "y": "2"}),
    usage("c", tenant_id="other", cache_read_input_tokens=7, audio_seconds="0.5", end_user_id="Zoë", http_status=200),
    usage("d", region="eu", first_token_at=START, units={"y": "2"}),
    usage("e", service_tier="flex"),
]


def hashes(batch: pa.RecordBatch) -> list[tuple[int, int]]:
    return list(zip(identities(batch).tolist(), contents(batch).tolist(), strict=True))


EXPECTED = hashes(batch_of(EVENTS))


def as_stream(batch: pa.RecordBatch, change: Any) -> pa.RecordBatch:
    """The batch as another producer would write it: each column changed, then read back."""
    names = batch.schema.names
    columns = {name: change(name, column) for name, column in zip(names, batch.columns, strict=True)}
    kept = {name: column for name, column in columns.items() if column is not None}
    foreign = pa.RecordBatch.from_arrays(list(kept.values()), names=list(kept))
    return decode_batch(Kind.TOKEN_USAGE, write_stream(foreign))


def plain(_: str, column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def large(name: str, column: pa.Array) -> pa.Array:
    column = plain(name, column)
    return column.cast(pa.large_string()) if pa.types.is_string(column.type) else column


def all_dictionaries(name: str, column: pa.Array) -> pa.Array:
    column = plain(name, column)
    return column.dictionary_encode() if pa.types.is_string(column.type) else column


def repeated_entries(_: str, column: pa.Array) -> pa.Array:
    if not pa.types.is_dictionary(column.type):
        return column
    doubled = pa.concat_arrays([column.dictionary, column.dictionary])
    moved = [
        None if code is None else code + len(column.dictionary) * (row % 2)
        for row, code in enumerate(column.indices.to_pylist())
    ]
    return pa.DictionaryArray.from_arrays(pa.array(moved, pa.int32()), doubled)


def nulls_for_nothing(_: str, column: pa.Array) -> pa.Array | None:
    return None if column.null_count == len(column) else column


@pytest.mark.parametrize("change", [plain, large, all_dictionaries, repeated_entries, nulls_for_nothing])
def test_hashes_do_not_depend_on_the_encoding(change: Any) -> None:
    assert hashes(as_stream(batch_of(EVENTS), change)) == EXPECTED


def test_hashes_do_not_depend_on_the_order_of_columns() -> None:
    batch = batch_of(EVENTS)
    order = list(reversed(batch.schema.names))
    turned = pa.RecordBatch.from_arrays([batch.column(name) for name in order], names=order)
    assert hashes(turned) == EXPECTED
    assert hashes(decode_batch(Kind.TOKEN_USAGE, write_stream(turned))) == EXPECTED


def test_hashes_survive_our_own_codec_and_json() -> None:
    assert hashes(decode_batch(Kind.TOKEN_USAGE, encode_batch(batch_of(EVENTS)))) == EXPECTED
    assert hashes(decode_batch(Kind.TOKEN_USAGE, encode_batch(batch_of(EVENTS), "zstd"))) == EXPECTED
    read = [to_event(decode(*encode_binary(event))) for event in EVENTS]
    assert hashes(rows_to_batch(Kind.TOKEN_USAGE, read)) == EXPECTED


def test_a_missing_column_is_its_default() -> None:
    event = usage("a")
    batch = batch_of([event])
    without = batch.select(
        [name for name in batch.schema.names if name not in ("cache_read_input_tokens", "stream", "attempt")]
    )
    assert hashes(decode_batch(Kind.TOKEN_USAGE, write_stream(without))) == hashes(batch)


@given(start=st.integers(0, 4), length=st.integers(0, 5))
def test_slices_hash_as_the_rows_they_show(start: int, length: int) -> None:
    batch = batch_of(EVENTS)
    assert hashes(batch.slice(start, length)) == EXPECTED[start : start + length]
    padded = batch_of([usage("z", units={"q": "1"}), *EVENTS])
    assert hashes(padded.slice(1).slice(start, length)) == EXPECTED[start : start + length]


def test_dictionaries_beyond_the_rows_are_cut_without_changing_anything() -> None:
    batch = batch_of(EVENTS)
    long = [
        pa.DictionaryArray.from_arrays(
            column.indices, pa.concat_arrays([column.dictionary, pa.array(map(str, range(50)))])
        )
        if pa.types.is_dictionary(column.type)
        else column
        for column in batch.columns
    ]
    made = with_small_dictionaries(pa.RecordBatch.from_arrays(long, schema=batch.schema))
    assert hashes(made) == EXPECTED
    assert max(len(column.dictionary) for column in made.columns if pa.types.is_dictionary(column.type)) <= len(EVENTS)
    assert made.to_pylist() == batch.to_pylist()


CHANGES: dict[str, list[Any]] = {
    "tenant_id": ["other"],
    "request_id": ["other"],
    "project_id": ["p"],
    "end_user_id": ["u"],
    "session_id": ["u"],
    "attempt": [2],
    "region": ["eu", "us"],
    "site": ["eu"],
    "service_tier": ["flex"],
    "stream": [True],
    "status": ["aborted"],
    "http_status": [200, 201],
    "input_tokens": [101, 11],
    "cache_read_input_tokens": [1, 2],
    "cache_write_input_tokens": [1, 2],
    "output_tokens": [11, 101],
    "reasoning_output_tokens": [1],
    "training_tokens": [1],
    "images": [1],
    "audio_seconds": ["1", "0.000001"],
    "video_seconds": ["1"],
    "units": [{"x": "1"}, {"x": "2"}, {"y": "1"}, {"x": "1", "y": "1"}],
    "started_at": [START - timedelta(microseconds=1)],
    "first_token_at": [START],
    "ended_at": [START + timedelta(microseconds=1)],
    "usage_source": ["estimated"],
    "response_model": ["request"],
}


def test_any_change_of_one_field_changes_the_content_and_not_the_identity() -> None:
    changed = [usage("a")] + [usage("a", **{name: value}) for name, values in CHANGES.items() for value in values]
    batch = batch_of(changed)
    assert len(set(contents(batch).tolist())) == len(changed)
    assert len(set(identities(batch).tolist())) == 1


def test_values_that_change_places_are_another_content() -> None:
    one = usage("a", input_tokens=5, output_tokens=7, region="x", site="y")
    other = usage("a", input_tokens=7, output_tokens=5, region="y", site="x")
    first, second = contents(batch_of([one, other])).tolist()
    assert first != second


def test_the_content_leaves_the_identity_out_and_the_order_of_units() -> None:
    said: dict[str, Any] = {"request_id": "r", "units": {"x": "1", "y": "2"}}
    turned: dict[str, Any] = {"request_id": "r", "units": {"y": "2", "x": "1"}}
    batch = batch_of([usage("a", **said), usage("b", source="other", **turned)])
    assert len(set(contents(batch).tolist())) == 1


def test_the_identity_is_source_and_id_and_nothing_else() -> None:
    events = [usage("a"), usage("a", source="b"), usage("b"), usage("ab", source="c"), usage("b", source="ca")]
    assert len(set(identities(batch_of(events)).tolist())) == 5


def test_gpu_usage_hashes_by_value() -> None:
    events: list[GpuUsage] = [
        gpu_usage(),
        gpu_usage(energy_joules=Decimal("1")),
        gpu_usage(unobserved_seconds="0.000001"),
    ]
    batch = batch_of(events)
    assert len(set(contents(batch).tolist())) == 3
    assert hashes(decode_batch(Kind.GPU_USAGE, encode_batch(batch))) == hashes(batch)


events = st.builds(
    usage,
    st.sampled_from(["a", "b"]),
    region=st.sampled_from([None, "eu", "us"]),
    input_tokens=st.integers(0, 3),
    images=st.integers(0, 2),
    units=st.dictionaries(st.sampled_from("xy"), st.sampled_from(["1", "2"])),
)


@examples(max_examples=50, deadline=None)
@given(st.lists(events, min_size=1, max_size=30))
def test_equal_content_is_equal_hash_and_only_that(made: list[TokenUsage]) -> None:
    batch = batch_of(made)
    found: dict[str, int] = {}
    for event, value in zip(made, contents(batch).tolist(), strict=True):
        said = json.dumps(event.model_dump(mode="json", exclude={"id", "source"}), sort_keys=True)
        assert found.setdefault(said, value) == value
    assert len(set(found.values())) == len(found)


@examples(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=40) | st.none(), max_size=20))
def test_string_hashes_tell_texts_apart(texts: list[str | None]) -> None:
    made = string_hashes(pa.array(texts, pa.string())).tolist()
    assert len(set(made)) == len(set(texts))
    assert made == string_hashes(pa.array(["x", *texts], pa.string()).slice(1)).tolist()


@examples(max_examples=60, deadline=None)
@given(st.data())
def test_mixed_codes_tell_combinations_apart_also_where_numbers_would_overflow(data: st.DataObject) -> None:
    columns = data.draw(st.integers(1, 6))
    rows = data.draw(st.integers(1, 20))
    distinct = data.draw(st.sampled_from([1, 3, 10**6, 10**9, 2**31]))
    cells = st.integers(-1, min(distinct, 3) - 1)
    table = [data.draw(st.lists(cells, min_size=rows, max_size=rows)) for _ in range(columns)]
    mixed = mixed_codes([(np.array(column, dtype=np.int64), distinct) for column in table]).tolist()
    combinations = list(zip(*table, strict=True))
    assert len(set(zip(combinations, mixed, strict=True))) == len(set(combinations)) == len(set(mixed))


def test_mixed_codes_lose_no_column_to_overflow() -> None:
    first = np.array([0, 1, 2, 0], dtype=np.int64)
    rest = np.zeros(4, dtype=np.int64)
    wide = (1 << 32) - 1
    mixed = mixed_codes([(first, wide), (rest, wide), (rest, wide), (rest, 5)]).tolist()
    assert mixed[0] == mixed[3]
    assert len(set(mixed)) == 3
