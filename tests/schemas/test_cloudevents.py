"""CloudEvents from producers in any language: both modes give the same event, and what is wrong is said once, clearly."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest

from schemas.cloudevents import decode, encode_binary, encode_structured, event_data, to_event
from schemas.errors import DecodeError, SchemaError
from schemas.events import GpuUtilization
from schemas.kinds import Kind
from tests.schemas.samples import good_events, gpu_utilization, token_usage

STRUCTURED = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


def envelope(**changes: object) -> dict[str, Any]:
    return {**orjson.loads(encode_structured(token_usage())[0]), **changes}


def structured(**changes: object) -> Any:
    return decode(json.dumps(envelope(**changes)).encode(), STRUCTURED)


def usage(**changes: object) -> Any:
    return to_event(structured(data={**event_data(token_usage()), **changes}))


@pytest.mark.parametrize("event", good_events(), ids=lambda event: type(event).__name__)
def test_both_modes_bring_the_event_back(event: Any) -> None:
    for value, headers in (encode_structured(event), encode_binary(event)):
        decoded = decode(value, headers)
        assert to_event(decoded) == event
        assert (decoded.id, decoded.source, decoded.time) == (event.id, event.source, event.time)


def test_the_envelope_decides_on_the_identity() -> None:
    event = usage(id="another", source="another")
    assert (event.id, event.source) == ("req-1", "gateway/eu-1")


def test_mode_is_by_content_type_even_with_ce_headers() -> None:
    value, headers = encode_structured(token_usage())
    assert to_event(decode(value, [*headers, ("ce_id", b"another"), ("ce_type", b"x")])) == token_usage()


def test_numbers_of_units_and_quantities_may_be_whole_json_numbers_but_never_floats() -> None:
    assert usage(units={"images": 3}).units == {"images": "3"}
    assert usage(audio_seconds=3).audio_seconds == 3
    for bad in (
        {"units": {"images": 1.5}},
        {"units": {"images": True}},
        {"audio_seconds": 1.5},
        {"input_tokens": 1200.0},
    ):
        with pytest.raises(SchemaError) as caught:
            usage(**bad)
        assert caught.value.code == f"invalid_{next(iter(bad))}"


def test_null_is_absent() -> None:
    assert usage(region=None, attempt=None, units=None) == token_usage()


def test_time_of_a_sample_comes_from_the_envelope_where_the_data_have_none() -> None:
    event = gpu_utilization()
    data = event_data(event)
    del data["time"]
    value = orjson.dumps(
        {"specversion": "1.0", "id": event.id, "source": event.source, "type": event.kind, "data": data}
        | {"time": "2026-01-01T10:30:00.000000+01:00"}
    )
    assert to_event(decode(value, STRUCTURED)) == event
    assert isinstance(event, GpuUtilization)


def test_base64_data_and_unknown_attributes_are_tolerated() -> None:
    plain = envelope(traceparent="00-1-2-01", partitionkey="acme")
    data = plain.pop("data")
    decoded = decode(orjson.dumps({**plain, "data_base64": base64.b64encode(orjson.dumps(data)).decode()}), STRUCTURED)
    assert decoded.extensions == {"traceparent": "00-1-2-01", "partitionkey": "acme"}
    assert to_event(decoded) == token_usage()


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"", STRUCTURED),
        (None, STRUCTURED),
        (b"{", STRUCTURED),
        (b"[]", STRUCTURED),
        (b"\xff\xfe", STRUCTURED),
        (b'{"id": "\\ud800"}', STRUCTURED),
        (orjson.dumps(envelope(specversion="0.3")), STRUCTURED),
        (orjson.dumps(envelope(id="")), STRUCTURED),
        (orjson.dumps(envelope(id=7)), STRUCTURED),
        (orjson.dumps(envelope(source=None)), STRUCTURED),
        (orjson.dumps(envelope(time="yesterday")), STRUCTURED),
        (orjson.dumps(envelope(time="2026-01-01T00:00:00")), STRUCTURED),
        (orjson.dumps(envelope(data='{"a": 1}')), STRUCTURED),
        (orjson.dumps(envelope(data_base64="***")), STRUCTURED),
        (orjson.dumps(envelope(data_base64=5)), STRUCTURED),
        (orjson.dumps([envelope()]), [("content-type", b"application/cloudevents-batch+json")]),
        (orjson.dumps(envelope()), []),
        (b"{}", [("ce_id", b"1"), ("ce_specversion", b"1.0")]),
        (b"<a/>", [*encode_binary(token_usage())[1], ("content-type", b"text/xml")]),
        (b"{}", [("ce_id", b"\xff")]),
    ],
)
def test_what_is_no_cloudevent_is_undecodable(value: bytes | None, headers: Any) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(value, headers)
    assert caught.value.code == "undecodable"
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"output_tokens": -1}, "invalid_output_tokens", "must be a whole number from 0"),
        ({"output_tokens": "350"}, "invalid_output_tokens", "is '350'"),
        ({"output_tokens": True}, "invalid_output_tokens", "is True"),
        ({"output_tokens": 10**30}, "invalid_output_tokens", r"is 1e\+30"),
        ({"cache_read_input_tokens": 1201}, "invalid_cache_tokens", "1201 .* must not exceed input_tokens 1200"),
        ({"tenant_id": None}, "invalid_tenant_id", "tenant_id is missing"),
        ({"tenant_id": "_pool"}, "invalid_tenant_id", 'not starting with "_"'),
        ({"ended_at": "2026-01-01T00:00:00"}, "invalid_ended_at", "with a time zone"),
        ({"ended_at": 1_767_225_600}, "invalid_ended_at", "with a time zone"),
        ({"ended_at": "2026-13-01T00:00:00Z"}, "invalid_ended_at", "with a time zone"),
        ({"ended_at": "2025-01-01T00:00:00Z"}, "invalid_time_order", "started_at .* must not exceed ended_at"),
        ({"request_id": "x" * 10_000}, "invalid_request_id", r"xxx\.\.\.: it must be text"),
        ({"units": {f"u{index}": "1" for index in range(17)}}, "invalid_units", "at most 16"),
        ({"provider": {"{": "}"}}, "invalid_provider", "must be text"),
    ],
)
def test_a_broken_event_gets_one_clear_reason(changes: dict[str, object], code: str, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason) as caught:
        usage(**changes)
    assert caught.value.code == code


def test_a_sampled_event_is_refused_whatever_way_it_says_so() -> None:
    for rate in (2, "30", 1.5, "x"):
        with pytest.raises(SchemaError) as caught:
            to_event(structured(sampledrate=rate))
        assert caught.value.code == "invalid_sampledrate"
    assert to_event(structured(sampledrate=1)) == token_usage()
    value, headers = encode_binary(token_usage())
    with pytest.raises(SchemaError):
        to_event(decode(value, [*headers, ("ce_sampledrate", b"10")]))


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(SchemaError, match=r"'com\.example\.x' is not one of io\.tokenmill") as caught:
        to_event(structured(type="com.example.x"))
    assert caught.value.code == "invalid_type"
    assert Kind.TOKEN_USAGE in caught.value.message
