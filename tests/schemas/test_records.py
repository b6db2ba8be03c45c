"""Control records, rated records, signals, exclusions, dead letters: each comes back, and each refuses what it is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.batch import rows_to_batch
from schemas.control import AccountAssigned, RateCardActivated, Tick, decode_control, encode_control
from schemas.dead_letters import (
    Coordinates,
    dead_letter_headers,
    decode_dead_letter,
    encode_rejected_rows,
    encode_undecodable,
)
from schemas.decimals import format_decimal, parse_decimal
from schemas.errors import DecodeError, SchemaError
from schemas.exclusions import Outcome, decode_exclusions, encode_exclusions, exclusion_rows
from schemas.instants import format_instant, parse_instant
from schemas.kinds import Kind
from schemas.rated import RatedUsage, decode_rated, encode_rated, parse_record_key, rated_headers, record_key
from schemas.signals import PolicySignal, decode_signal, encode_signal
from schemas.source_rejects import SourceReject, decode_source_reject, encode_source_reject
from tests.schemas.samples import START, gpu_usage, gpu_utilization, raw_batch, token_usage

CARD = {"id": "standard", "version": 2, "currency": "USD", "skus": [{"price": "0.15", "per": 1_000_000, "note": None}]}

# --- control ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        RateCardActivated(card=CARD, published_at=START, published_by="ana"),
        AccountAssigned(tenant_id="*", card_id="standard", effective_from=START),
        AccountAssigned(
            tenant_id="acme",
            card_id="gold",
            effective_from=START,
            effective_to=START + timedelta(days=1),
            assigned_by="ana",
        ),
        Tick(time=START),
    ],
)
def test_a_control_record_comes_back_as_it_was_published(record: Any) -> None:
    value, headers = encode_control(record, "id-1", "cli", START)
    assert decode_control(value, headers) == record


@pytest.mark.parametrize("place", [{"price": 0.15}, {"tiers": [{"price": 1.0}]}, {"deep": {"er": [[0.5]]}}])
def test_a_float_in_a_card_is_refused_where_it_is(place: dict[str, Any]) -> None:
    value, headers = encode_control(Tick(time=START), "id-1", "cli", START)
    card = orjson.dumps({"card": place, "published_at": "2026-01-01T00:00:00Z", "published_by": "ana"})
    headers = [(name, Kind.RATE_CARD.encode() if name == "ce_type" else text) for name, text in headers]
    with pytest.raises(SchemaError, match=r"card\.(price|tiers\[0\]\.price|deep\.er\[0\]\[0\]) is a float") as caught:
        decode_control(card, headers)
    assert caught.value.code == "invalid_card"
    assert value


def test_a_control_record_says_what_is_wrong() -> None:
    value, headers = encode_control(Tick(time=START), "id-1", "cli", START)
    with pytest.raises(SchemaError) as caught:
        decode_control(b"{}", headers)
    assert caught.value.code == "invalid_time"
    other = [(name, b"io.example.x" if name == "ce_type" else text) for name, text in headers]
    with pytest.raises(SchemaError, match="not a control record"):
        decode_control(value, other)
    with pytest.raises(ValidationError, match="after effective_from"):
        AccountAssigned(tenant_id="a", card_id="b", effective_from=START, effective_to=START)


# --- rated ------------------------------------------------------------------------------------------------------------


def rated(**changes: object) -> RatedUsage:
    fields: dict[str, object] = {
        "tenant_id": "acme",
        "sku": "llama-70b/output",
        "meter": "output_text",
        "kind": "usage",
        "window_kind": "hour",
        "window_start": datetime(2026, 1, 1, 9, tzinfo=UTC),
        "window_end": datetime(2026, 1, 1, 10, tzinfo=UTC),
        "billing_period": "2026-01",
        "service_period": "2026-01",
        "quantity": Decimal("350"),
        "unit": "tokens",
        "amount": Decimal("0.000350000000"),
        "currency": "USD",
        "card_id": "standard",
        "card_version": 2,
        "dimensions": {"model": "llama-70b"},
        "revision": 2**40 + 5,
        "previous": {"revision": 2**40 + 1, "quantity": "10", "amount": "0.00001"},
    }
    return RatedUsage.model_validate(fields | changes)


def test_a_rated_record_comes_back_and_is_canonical() -> None:
    record = rated()
    value = encode_rated(record)
    assert decode_rated(value) == record
    assert orjson.loads(value)["amount"] == "0.00035"
    assert orjson.loads(value)["window_start"] == "2026-01-01T09:00:00Z"
    plain = record.model_dump(exclude_none=True)
    assert encode_rated(dict(reversed(plain.items()))) == value


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": 1.5},
        {"amount": float("nan")},
        {"billing_period": "2026-13"},
        {"billing_period": "2026-1"},
        {"currency": "usd"},
        {"revision": 2**53},
        {"revision": -1},
        {"kind": "gift"},
        {"window_start": datetime(2026, 1, 1)},
    ],
)
def test_a_rated_record_refuses_what_billing_cannot_use(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        rated(**changes)


def test_what_is_no_rated_record_is_undecodable() -> None:
    for value in (b"", b"{", b"[]", b"{}"):
        with pytest.raises(DecodeError):
            decode_rated(value)
    with pytest.raises(TypeError):
        encode_rated({"amount": object()})


def test_keys_cannot_be_confused_and_can_be_read() -> None:
    assert record_key("a", "b1:c", "usage", "hour", "t", "p") != record_key("a1:b", "c", "usage", "hour", "t", "p")
    assert rated().key == record_key("acme", "llama-70b/output", "usage", "hour", rated().window_start, "2026-01")
    assert parse_record_key(rated().key)[:2] == ("acme", "llama-70b/output")
    assert dict(rated_headers(rated().key, 7, "tokenmill"))["ce_id"].endswith(b"@7")


@given(st.tuples(*[st.text(st.characters(codec="utf-8"), max_size=20)] * 6))
def test_any_key_comes_back(parts: tuple[str, str, str, str, str, str]) -> None:
    assert parse_record_key(record_key(*parts)) == parts


@pytest.mark.parametrize("key", [b"", b"1:a", b"4:acme", b"x:a", b"-1:a" * 6, b"9:a" * 6, b"1:a" * 7, b"+1:a" * 6])
def test_what_is_no_key_is_refused(key: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_record_key(key)


# --- decimals and instants --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1E+3", "1000"),
        ("0E-12", "0"),
        ("-0.00", "0"),
        ("1.500", "1.5"),
        ("-20", "-20"),
        ("100", "100"),
        ("1E-12", "0.000000000001"),
    ],
)
def test_a_decimal_has_one_text(value: str, text: str) -> None:
    assert format_decimal(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**25), max_value=10**25, places=12))
def test_the_text_of_a_decimal_is_exact(value: Decimal) -> None:
    assert parse_decimal(format_decimal(value)) == value
    with pytest.raises(ValueError, match="not a finite"):
        format_decimal(Decimal("NaN"))


@pytest.mark.parametrize(
    "value", [1.5, True, None, "1e5", "1.", ".5", "", "٣", "NaN", Decimal("Infinity"), "1 ", "1\n"]
)
def test_what_is_no_plain_decimal_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        parse_decimal(value)


def test_instants_are_rfc_3339_in_utc() -> None:
    assert format_instant(parse_instant("2026-01-01t01:30:00.1234567+01:30")) == "2026-01-01T00:00:00.123456Z"
    assert format_instant(parse_instant("1970-01-01T00:00:00Z")) == "1970-01-01T00:00:00Z"
    for bad in (
        "2026-01-01",
        "2026-01-01T00:00:60Z",
        "2026-W01-1T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "2200-01-01T00:00:00Z",
    ):
        with pytest.raises(ValueError):
            parse_instant(bad)
    for odd in (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), datetime(2026, 1, 1), 5, None):
        with pytest.raises(ValueError):
            parse_instant(odd)


# --- signals and source rejects ---------------------------------------------------------------------------------------


def test_a_signal_comes_back_with_its_key() -> None:
    signal = PolicySignal(
        tenant_id="a|b", policy="unpriced_usage/output_text", kind="raised", time=START, revision=9, data={"meter": "x"}
    )
    assert decode_signal(encode_signal(signal, "tokenmill")[0]) == signal
    assert signal.key.rpartition(b"|") == (b"a|b", b"|", b"unpriced_usage/output_text")
    with pytest.raises(ValidationError):
        PolicySignal(tenant_id="a", policy="b|c", kind="raised", time=START, revision=9)
    with pytest.raises(DecodeError):
        decode_signal(b"{}")


def test_a_row_rejected_at_its_source_comes_back_shortened() -> None:
    reject = SourceReject(file="trace.csv", line=7, reason="ContextTokens is 'x'", text="y" * 10_000)
    back = decode_source_reject(encode_source_reject(reject)[0])
    assert (back.file, back.line, back.reason, len(back.text)) == ("trace.csv", 7, "ContextTokens is 'x'", 4_096)
    for value in (b"", b"{}", b"[1]", None):
        with pytest.raises(DecodeError):
            decode_source_reject(value)


# --- exclusions -------------------------------------------------------------------------------------------------------


def test_excluded_rows_keep_coordinates_and_every_amount() -> None:
    events = [token_usage(id=f"req-{index}", input_tokens=1200 + index, units={"images": "2"}) for index in range(5)]
    batch = rows_to_batch(Kind.TOKEN_USAGE, events)
    rows = exclusion_rows(
        Kind.TOKEN_USAGE, batch, np.array([1, 4]), Outcome.DUPLICATE, log_epoch=2, partition=3, offset=99
    )
    back = decode_exclusions(encode_exclusions(rows))
    assert back.to_pylist() == rows.to_pylist()
    first, second = back.to_pylist()
    assert (first["log_epoch"], first["partition"], first["offset"], first["row"]) == (2, 3, 99, 1)
    assert (second["row"], second["id"], second["input_tokens"], second["requests"]) == (4, "req-4", 1204, 1)
    assert (first["outcome"], first["type"], first["units"]) == ("duplicate", Kind.TOKEN_USAGE, [("images", "2")])
    assert first["event_time"] == events[1].ended_at
    assert first["hour"] == datetime(2026, 1, 1, 9, tzinfo=UTC)
    assert first["service_tier"] == "default"


def test_exclusions_of_gpu_usage_and_samples_have_no_requests() -> None:
    usage = rows_to_batch(Kind.GPU_USAGE, [gpu_usage()])
    (row,) = exclusion_rows(
        Kind.GPU_USAGE,
        usage,
        np.array([0]),
        Outcome.REROUTED,
        log_epoch=1,
        partition=0,
        offset=0,
        window_us=1_800_000_000,
    ).to_pylist()
    assert (row["requests"], row["busy_gpu_seconds"], row["service_tier"]) == (0, Decimal("4.125"), None)
    assert row["hour"] == datetime(2026, 1, 1, 9, 30, tzinfo=UTC)
    sample = rows_to_batch(Kind.GPU_UTILIZATION, [gpu_utilization()])
    (row,) = exclusion_rows(
        Kind.GPU_UTILIZATION, sample, np.array([0]), Outcome.STALE_SAMPLE, log_epoch=1, partition=0, offset=0
    ).to_pylist()
    assert (row["outcome"], row["event_time"], row["allocated_gpu_seconds"]) == ("stale_sample", START, 0)


def test_no_excluded_rows_are_an_empty_batch() -> None:
    batch = rows_to_batch(Kind.TOKEN_USAGE, [token_usage()])
    none = exclusion_rows(Kind.TOKEN_USAGE, batch, np.array([], int), Outcome.VOID, log_epoch=1, partition=0, offset=0)
    assert none.num_rows == 0


# --- dead letters -----------------------------------------------------------------------------------------------------

SOURCE = Coordinates("usage.events.v1", 3, 99)


def test_rejected_rows_come_back_with_code_reason_and_index() -> None:
    good = {**token_usage().model_dump(), "units": None}
    batch = raw_batch(Kind.TOKEN_USAGE, [good, {**good, "tenant_id": None, "input_tokens": -1}, {**good, "id": "x"}])
    codes = ["invalid_tenant_id", "future_event"]
    value = encode_rejected_rows(Kind.TOKEN_USAGE, batch, [1, 2], codes, ["tenant_id is missing", "1 h ahead"])
    original = [("Content-Type", b"application/vnd.apache.arrow.stream"), ("x", b"\xff"), ("null", None)]
    headers = dead_letter_headers(SOURCE, codes, "tenant_id is missing", kind=Kind.TOKEN_USAGE, original=original)
    letter = decode_dead_letter(value, headers)
    assert (letter.code, letter.rows, letter.source, letter.kind) == ("several", 2, SOURCE, Kind.TOKEN_USAGE)
    assert letter.original == (("Content-Type", b"application/vnd.apache.arrow.stream"), ("x", b"\xff"))
    assert letter.batch is not None
    bad, early = letter.batch.to_pylist()
    assert (bad["_row"], bad["_code"], bad["_reason"], bad["tenant_id"], bad["input_tokens"]) == (
        1,
        "invalid_tenant_id",
        "tenant_id is missing",
        None,
        -1,
    )
    assert {name: early[name] for name in ("_row", "_code", "id", "tenant_id")} == {
        "_row": 2,
        "_code": "future_event",
        "id": "x",
        "tenant_id": "acme",
    }


@pytest.mark.parametrize("size", [0, 10, 65_536, 65_537, 2_000_000])
def test_an_undecodable_record_keeps_its_beginning_length_and_hash(size: int) -> None:
    import hashlib

    original = b"z" * size
    value, extra = encode_undecodable(original)
    headers = [*extra, *dead_letter_headers(SOURCE, ["undecodable"], "not JSON", original={"a": "b"})]
    letter = decode_dead_letter(value, headers)
    assert (letter.code, letter.reason, letter.rows, letter.batch) == ("undecodable", "not JSON", 1, None)
    assert (letter.value, letter.length) == (original[:65_536], size)
    assert letter.sha256 == hashlib.sha256(original).hexdigest()
    assert letter.original == (("a", b"b"),)


def test_what_is_no_dead_letter_is_refused() -> None:
    good = dict(dead_letter_headers(SOURCE, ["x"], "y"))
    with pytest.raises(DecodeError, match="without the headers"):
        decode_dead_letter(b"", [])
    with pytest.raises(DecodeError):
        decode_dead_letter(b"", good | {"tokenmill-dlq-offset": b"x"})
    with pytest.raises(DecodeError, match="unknown type"):
        decode_dead_letter(b"", good | {"tokenmill-dlq-type": b"io.example"})
    with pytest.raises(DecodeError):
        decode_dead_letter(b"rubbish", good | {"tokenmill-dlq-type": Kind.TOKEN_USAGE.encode()})
