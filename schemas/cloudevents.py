"""CloudEvents 1.0 over Kafka: structured and binary mode, one event a record, written and read.

Kafka protocol binding: https://github.com/cloudevents/spec/blob/ce@v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
(structured if the content type starts with application/cloudevents, else binary with `ce_` headers; no batches).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson
from pydantic import ValidationError

from schemas.errors import DecodeError, SchemaError
from schemas.events import EVENT_TYPES, GpuUsage, GpuUtilization, TokenUsage
from schemas.headers import (
    CLOUDEVENTS_JSON,
    CONTENT_TYPE,
    JSON,
    RawHeaders,
    RecordHeaders,
    header_texts,
    media_type,
)
from schemas.instants import format_instant, parse_instant
from schemas.reasons import reason_of

SPEC_VERSION: Final = "1.0"
_REQUIRED: Final = ("id", "source", "type")
_CORE: Final = frozenset({"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema"})


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """An event as its envelope says it; `data` is a JSON object that nobody has checked yet."""

    type: str
    id: str
    source: str
    time: datetime | None
    data: dict[str, Any]
    subject: str | None = None
    extensions: Mapping[str, object] = field(default_factory=dict)


# --- writing ----------------------------------------------------------------------------------------------------------


def encode_structured(event: TokenUsage | GpuUsage | GpuUtilization) -> tuple[bytes, RecordHeaders]:
    """Value and headers of a record that carries envelope and data as one JSON object. The key is the tenant (or GPU)."""
    envelope: dict[str, object] = {
        "specversion": SPEC_VERSION,
        "id": event.id,
        "source": event.source,
        "type": event.kind,
        "time": format_instant(event.time),
        "datacontenttype": JSON,
        "data": event_data(event),
    }
    return orjson.dumps(envelope), [(CONTENT_TYPE, f"{CLOUDEVENTS_JSON}; charset=UTF-8".encode())]


def encode_binary(event: TokenUsage | GpuUsage | GpuUtilization) -> tuple[bytes, RecordHeaders]:
    """Value (the data alone) and headers (the envelope) of a record."""
    headers = envelope_headers(event.kind, event.id, event.source, event.time)
    return orjson.dumps(event_data(event)), headers


def event_data(event: TokenUsage | GpuUsage | GpuUtilization) -> dict[str, object]:
    """The `data` of an event: its fields without those of the envelope and without defaults; decimals and instants as text."""
    return event.model_dump(mode="json", exclude_defaults=True, exclude={"id", "source"})


def envelope_headers(kind: str, id: str, source: str, time: datetime | None = None) -> RecordHeaders:
    """The headers of a binary CloudEvent with JSON data."""
    headers = [
        ("ce_specversion", SPEC_VERSION.encode()),
        ("ce_id", id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", kind.encode()),
        (CONTENT_TYPE, JSON.encode()),
    ]
    if time is not None:
        headers.append(("ce_time", format_instant(time).encode()))
    return headers


# --- reading ----------------------------------------------------------------------------------------------------------


def decode(value: bytes | None, headers: RawHeaders) -> CloudEvent:
    """The CloudEvent of a record in either mode. DecodeError: it is none, or its data is no JSON object."""
    texts = header_texts(headers)
    if media_type(texts).startswith("application/cloudevents"):
        return _decode_structured(value, media_type(texts))
    return _decode_binary(value, texts)


def _decode_structured(value: bytes | None, content_type: str) -> CloudEvent:
    if content_type not in (CLOUDEVENTS_JSON, "application/cloudevents"):
        raise DecodeError(f"content type {content_type[:80]}: only {CLOUDEVENTS_JSON} can be read, one event a record")
    envelope = _json_object(value, "the event")
    attributes = {
        name: part for name, part in envelope.items() if name not in ("data", "data_base64") and part is not None
    }
    data: object
    if "data_base64" in envelope:
        try:
            data = _json_object(base64.b64decode(envelope["data_base64"], validate=True), "data_base64")
        except (binascii.Error, ValueError, TypeError) as error:
            raise DecodeError(f"data_base64 cannot be read: {str(error)[:200]}") from None
    else:
        data = envelope.get("data")
    if not isinstance(data, dict):
        raise DecodeError(f"data is {_json_type(data)}, not a JSON object")
    return _event(attributes, data)


def _decode_binary(value: bytes | None, texts: Mapping[str, str]) -> CloudEvent:
    attributes = {name[3:]: text for name, text in texts.items() if name.startswith("ce_")}
    if not attributes:
        given = media_type(texts) or "none"
        raise DecodeError(f"not a CloudEvent and not an Arrow batch: content type {given[:80]}, no ce_ headers")
    content_type = media_type(texts)
    if content_type and not (content_type in (JSON, "text/json") or content_type.endswith("+json")):
        raise DecodeError(f"content type {content_type[:80]}: data must be JSON")
    return _event(attributes, _json_object(value, "data"))


def _event(attributes: Mapping[str, object], data: dict[str, Any]) -> CloudEvent:
    version = attributes.get("specversion")
    if version != SPEC_VERSION:
        raise DecodeError(f"specversion is {str(version)[:40]!r}, not '{SPEC_VERSION}'")
    texts = {}
    for name in _REQUIRED:
        text = attributes.get(name)
        if not isinstance(text, str) or not text:
            raise DecodeError(f"the CloudEvents attribute {name} is missing or not text", {"attribute": name})
        texts[name] = text
    time, subject = attributes.get("time"), attributes.get("subject")
    try:
        instant = None if time is None else parse_instant(time)
    except ValueError as error:
        raise DecodeError(
            f"the CloudEvents attribute time, {str(time)[:40]!r}, {error}", {"attribute": "time"}
        ) from None
    extensions = {name: part for name, part in attributes.items() if name not in _CORE}
    return CloudEvent(
        type=texts["type"],
        id=texts["id"],
        source=texts["source"],
        time=instant,
        data=data,
        subject=subject if isinstance(subject, str) else None,
        extensions=extensions,
    )


def _json_object(value: bytes | None, what: str) -> dict[str, Any]:
    if not value:
        raise DecodeError(f"{what} is empty")
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"{what} is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise DecodeError(f"{what} is {_json_type(parsed)}, not a JSON object")
    return parsed


def _json_type(value: object) -> str:
    names = {
        type(None): "missing",
        str: "text",
        bool: "a boolean",
        list: "an array",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "something else")


# --- to models --------------------------------------------------------------------------------------------------------


def to_event(event: CloudEvent) -> TokenUsage | GpuUsage | GpuUtilization:
    """The model of an event. SchemaError with a code `invalid_<what>` and one clear reason where it breaks the contract.

    Identity comes from the envelope whatever the data say; a GpuUtilization without `time` in its data takes the envelope's.
    """
    model = EVENT_TYPES.get(event.type)
    if model is None:
        raise SchemaError("invalid_type", f"type {event.type[:80]!r} is not one of {', '.join(EVENT_TYPES)}")
    _reject_samples(event.extensions)
    fields = {**event.data, "id": event.id, "source": event.source}
    if model is GpuUtilization and fields.get("time") is None:
        fields["time"] = event.time
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise reason_of(model, error) from None


def _reject_samples(extensions: Mapping[str, object]) -> None:
    rate = extensions.get("sampledrate")
    if rate is None or str(rate) == "1":
        return
    reason = f"sampledrate is {str(rate)[:40]!r}: an event that stands for others that were not sent cannot be charged"
    raise SchemaError("invalid_sampledrate", reason, {"sampledrate": rate})
