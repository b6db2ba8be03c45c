"""Arrow batches: what is written comes back, whatever fitting types a producer used; everything else is a DecodeError."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.arrow import DEFAULTS, MAX_ROWS, SCHEMAS, TOKEN_USAGE, schema_for
from schemas.batch import batch_to_models, decode_batch, encode_batch, rows_to_batch
from schemas.errors import DecodeError, SchemaError
from schemas.events import EVENT_TYPES, rules
from schemas.kinds import Kind
from schemas.validation import validate
from tests.schemas.samples import GOOD, START, good_events, raw_batch, token_usage, write_stream

KIND = Kind.TOKEN_USAGE


def some_rows(count: int = 20) -> list[Any]:
    return [
        token_usage(
            id=f"req-{index}",
            tenant_id=f"tenant-{index % 3}",
            region="eu" if index % 2 else None,
            status="error" if index % 5 == 0 else "success",
            stream=bool(index % 2),
            attempt=1 + index % 2,
            audio_seconds=Decimal(index) / 4,
            units={"images": "1.5"} if index % 2 else {},
            first_token_at=START if index % 3 else None,
        )
        for index in range(count)
    ]


# --- round trips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_models_come_back_from_a_batch(compression: Any) -> None:
    rows = some_rows()
    batch = rows_to_batch(KIND, rows)
    decoded = decode_batch(KIND, encode_batch(batch, compression))
    assert decoded.schema == TOKEN_USAGE
    assert decoded.equals(batch)
    assert batch_to_models(KIND, decoded) == rows


@pytest.mark.parametrize("event", good_events(), ids=lambda event: type(event).__name__)
def test_every_kind_of_event_comes_back(event: Any) -> None:
    decoded = decode_batch(event.kind, encode_batch(rows_to_batch(event.kind, [event])))
    assert batch_to_models(event.kind, decoded) == [event]


def test_columns_that_say_nothing_are_not_sent() -> None:
    sent = pa.ipc.open_stream(encode_batch(rows_to_batch(KIND, [token_usage()]))).read_next_batch().schema.names
    assert set(sent) == set(GOOD[KIND])


def test_a_value_that_only_looks_like_the_default_of_another_kind_is_sent() -> None:
    # service_tier has a default in TokenUsage and none in an exclusion
    batch = pa.RecordBatch.from_pylist([{"service_tier": "default", "row": 3}], schema=SCHEMAS[Kind.EXCLUSION])
    assert decode_batch(Kind.EXCLUSION, encode_batch(batch)).column("service_tier").to_pylist() == ["default"]


def test_a_batch_of_nothing_but_defaults_keeps_its_rows() -> None:
    nothing = raw_batch(KIND, [{}, {}, {}])
    assert decode_batch(KIND, encode_batch(nothing)).num_rows == 3


def test_names_of_other_rows_do_not_travel_along() -> None:
    batch = rows_to_batch(KIND, [token_usage(tenant_id=f"tenant-{index}") for index in range(9)])
    data = encode_batch(batch.take(pa.array([3, 5])))
    assert b"tenant-3" in data
    assert b"tenant-4" not in data
    assert decode_batch(KIND, data).column("tenant_id").to_pylist() == ["tenant-3", "tenant-5"]
    assert decode_batch(KIND, encode_batch(batch.slice(4, 2))).column("tenant_id").to_pylist() == [
        "tenant-4",
        "tenant-5",
    ]


def test_plain_mappings_become_the_same_batch_as_models() -> None:
    rows = some_rows()
    plain = [row.model_dump() for row in rows]
    for fields in plain:
        for name in [name for name, value in fields.items() if value is None]:
            del fields[name]
    assert rows_to_batch(KIND, plain).equals(rows_to_batch(KIND, rows))
    assert rows_to_batch(KIND, []).num_rows == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"input_tokens": "many"},
        {"input_tokens": 2**70},
        {"audio_seconds": "x"},
        {"audio_seconds": Decimal("0.0000001")},
        {"audio_seconds": Decimal("1e40")},
        {"started_at": "today"},
        {"id": 5},
        {"id": "\ud800"},
        {"units": 5},
    ],
)
def test_what_a_column_cannot_hold_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(SchemaError) as caught:
        rows_to_batch(KIND, [{**GOOD[KIND], **changes}])
    assert caught.value.code == f"invalid_{next(iter(changes))}"


# --- other producers --------------------------------------------------------------------------------------------------


def widened() -> Any:
    """The same rows as `some_rows`, in other types that mean the same."""
    batch = rows_to_batch(KIND, some_rows())
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    tenants = columns["tenant_id"]
    columns |= {
        "input_tokens": columns["input_tokens"].cast(pa.int32()),
        "output_tokens": columns["output_tokens"].cast(pa.uint64()),
        "attempt": columns["attempt"].cast(pa.int8()),
        "audio_seconds": columns["audio_seconds"].cast(pa.decimal256(60, 8)),
        "id": columns["id"].cast(pa.large_string()),
        "request_id": columns["request_id"].dictionary_encode(),
        "tenant_id": pa.DictionaryArray.from_arrays(tenants.indices.cast(pa.int8()), tenants.dictionary),
        "provider": columns["provider"].cast(pa.string()).cast(pa.string_view()),
        "operation": columns["operation"].cast(pa.string()),
        "region": pa.DictionaryArray.from_arrays(pa.array([1, 0] * 10, pa.int16()), pa.array(["eu", None])),
        "started_at": columns["started_at"].cast(pa.timestamp("ns", "UTC")),
        "first_token_at": columns["first_token_at"].cast(pa.timestamp("s", "Europe/Berlin"), safe=False),
        "units": columns["units"].cast(pa.map_(pa.large_string(), pa.large_string())),
        "site": pa.nulls(20),
        "a_column_of_tomorrow": pa.array([[{"a": 1}]] * 20),
    }
    names = sorted(columns, reverse=True)
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)


def test_fitting_types_of_other_producers_mean_the_same() -> None:
    decoded = decode_batch(KIND, write_stream(widened()))
    assert decoded.schema == TOKEN_USAGE
    assert decoded.to_pylist() == rows_to_batch(KIND, some_rows()).to_pylist()
    assert validate(KIND, decoded).all_good


def test_nulls_of_a_column_with_a_default_become_the_default() -> None:
    row = {**GOOD[KIND], "attempt": None, "service_tier": None, "stream": None, "audio_seconds": None}
    other = {**GOOD[KIND], "attempt": 2, "service_tier": "flex", "stream": True, "audio_seconds": Decimal(1)}
    decoded = decode_batch(KIND, write_stream(raw_batch(KIND, [row, other])))
    assert all(decoded.column(name).null_count == 0 for name in DEFAULTS[KIND])
    assert decoded.select(["attempt", "service_tier", "stream", "audio_seconds"]).slice(0, 1).to_pylist() == [
        {"attempt": 1, "service_tier": "default", "stream": False, "audio_seconds": Decimal(0)}
    ]
    assert decoded.column("service_tier")[1].as_py() == "flex"


def test_a_null_inside_a_dictionary_is_a_null_of_the_row() -> None:
    good = raw_batch(KIND, [GOOD[KIND], GOOD[KIND]])
    place = good.schema.get_field_index("tenant_id")
    hidden = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["acme", None]))
    columns = [hidden if index == place else column for index, column in enumerate(good.columns)]
    decoded = decode_batch(KIND, write_stream(pa.RecordBatch.from_arrays(columns, schema=good.schema)))
    assert decoded.column("tenant_id").null_count == 1
    assert validate(KIND, decoded).reason(1) == ("invalid_tenant_id", "tenant_id is missing")


def test_a_dictionary_has_no_more_entries_than_rows() -> None:
    many = pa.DictionaryArray.from_arrays(
        pa.array([7, None], pa.int32()), pa.array([f"t{index}" for index in range(9)])
    )
    decoded = decode_batch(KIND, write_stream(pa.RecordBatch.from_pydict({"tenant_id": many})))
    assert decoded.column("tenant_id").to_pylist() == ["t7", None]
    assert decoded.column("tenant_id").dictionary.to_pylist() == ["t7"]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("input_tokens", pa.array([1.0])),
        ("input_tokens", pa.array(["1"])),
        ("input_tokens", pa.array([True])),
        ("input_tokens", pa.array([2**64 - 1], pa.uint64())),
        ("tenant_id", pa.array([7])),
        ("tenant_id", pa.array([b"acme"])),
        ("stream", pa.array([1])),
        ("started_at", pa.array([datetime(2026, 1, 1)])),
        ("started_at", pa.array([1_767_259_800])),
        ("started_at", pa.array([2**62], pa.int64()).cast(pa.timestamp("s", "UTC"))),
        ("audio_seconds", pa.array([1.5])),
        ("audio_seconds", pa.array([Decimal("0.1234567")])),
        ("units", pa.array(["images"])),
    ],
)
def test_a_type_that_cannot_mean_the_column_is_refused(name: str, column: Any) -> None:
    good = rows_to_batch(KIND, [token_usage()])
    columns = dict(zip(good.schema.names, good.columns, strict=True)) | {name: column}
    with pytest.raises(DecodeError) as caught:
        decode_batch(KIND, write_stream(pa.RecordBatch.from_pydict(columns)))
    assert caught.value.code == "undecodable"
    assert "\n" not in caught.value.message


def test_a_decimal_scale_beyond_reason_is_refused_before_it_is_cast() -> None:
    column = pa.array([Decimal(1_000)], pa.decimal128(38, -3))
    good = rows_to_batch(KIND, [token_usage()])
    columns = dict(zip(good.schema.names, good.columns, strict=True)) | {"audio_seconds": column}
    with pytest.raises(DecodeError, match="audio_seconds"):
        decode_batch(KIND, write_stream(pa.RecordBatch.from_pydict(columns)))


# --- hostile bytes ----------------------------------------------------------------------------------------------------


def test_one_stream_is_one_batch() -> None:
    good = rows_to_batch(KIND, some_rows())
    with pytest.raises(DecodeError, match="one batch"):
        decode_batch(KIND, write_stream(good, batches=2))
    with pytest.raises(DecodeError, match="without a record batch"):
        decode_batch(KIND, write_stream(good, batches=0))
    twice = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["input_tokens", "input_tokens"])
    with pytest.raises(DecodeError, match="2 times"):
        decode_batch(KIND, write_stream(twice))


def test_too_many_rows_are_refused_at_both_ends() -> None:
    many = pa.RecordBatch.from_pydict({"input_tokens": pa.array(np.zeros(MAX_ROWS + 1, np.int64))})
    with pytest.raises(DecodeError, match="at most 10000"):
        decode_batch(KIND, write_stream(many))
    with pytest.raises(SchemaError, match="cut it"):
        encode_batch(many)
    nothing = pa.RecordBatch.from_arrays([pa.nulls(10**6)], names=["region"])
    with pytest.raises(DecodeError, match="at most 10000"):
        decode_batch(KIND, write_stream(nothing))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_small_record_cannot_ask_for_a_gigabyte(compression: str) -> None:
    bomb = pa.RecordBatch.from_pydict({"id": ["x" * 70_000_000]})
    data = write_stream(bomb, compression=compression)
    assert len(data) < 1_000_000
    with pytest.raises(DecodeError, match="decompressed"):
        decode_batch(KIND, data)


def test_every_cut_of_a_batch_is_a_decode_error_or_the_whole_batch() -> None:
    batch = rows_to_batch(KIND, some_rows(3))
    data = encode_batch(batch)
    for length in range(len(data)):
        try:
            assert decode_batch(KIND, data[:length]).equals(batch)  # only the end marker was cut off
            assert length >= len(data) - 8
        except DecodeError:
            assert length != len(data) - 8


@pytest.mark.parametrize("seed", range(4))
def test_damaged_batches_end_as_a_batch_or_a_decode_error(seed: int) -> None:
    batch = rows_to_batch(KIND, some_rows())
    originals = [encode_batch(batch), encode_batch(batch, "lz4"), encode_batch(batch, "zstd"), write_stream(widened())]
    source = random.Random(seed)
    for _ in range(250):
        data = bytearray(source.choice(originals))
        for _ in range(source.choice([1, 1, 2, 5])):
            place = source.randrange(len(data))
            data[place] = source.choice([data[place] ^ 1 << source.randrange(8), 0, 255, source.randrange(256)])
        use_if_decodable(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_end_as_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_batch(KIND, data)
    with pytest.raises(DecodeError):
        decode_batch(KIND, b"\xff\xff\xff\xff" + data)


def use_if_decodable(data: bytes) -> None:
    """Do with the bytes what a worker does."""
    try:
        batch = decode_batch(KIND, data)
    except DecodeError:
        return
    assert batch.schema == TOKEN_USAGE
    verdict = validate(KIND, batch)
    for row in verdict.bad_rows():
        verdict.reason(int(row))
    batch_to_models(KIND, batch.filter(pa.array(verdict.codes == 0)))
    encode_batch(batch)


# --- layout -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(EVENT_TYPES))
def test_the_columns_are_the_fields_of_the_model(kind: str) -> None:
    assert schema_for(kind).names == list(EVENT_TYPES[kind].model_fields)
    assert {name: rule.arrow_type() for name, rule in rules(EVENT_TYPES[kind]).items()} == {
        field.name: field.type for field in schema_for(kind)
    }
    text = {"id", "request_id", "end_user_id", "session_id", "workflow_id"}
    assert {field.name for field in schema_for(kind) if field.type == pa.string()} <= text


def test_an_unknown_kind_has_no_batches() -> None:
    with pytest.raises(SchemaError) as caught:
        decode_batch("io.example.other.v1", b"")
    assert caught.value.code == "invalid_type"


def test_instants_keep_their_microseconds() -> None:
    instant = datetime(2026, 1, 1, 0, 0, 0, 123_457, tzinfo=UTC)
    row = token_usage(started_at=instant, ended_at=instant + timedelta(microseconds=1))
    (back,) = batch_to_models(KIND, decode_batch(KIND, encode_batch(rows_to_batch(KIND, [row]))))
    assert back == row
