"""Column layouts: the canonical Arrow schema of every kind of batch, in canonical column order.

Ids that few rows share are plain strings, other text is dictionary<int32, string>, counts int64, instants
timestamp[us, UTC], decimals decimal128(38, 6), measurements float64, units map<string, string>. Everything is nullable in
Arrow: whether a value is required is a matter of validation, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from schemas.errors import SchemaError
from schemas.events import EVENT_TYPES, Event, GpuUsage, GpuUtilization, TokenUsage, defaults, rules
from schemas.fields import DICTIONARY
from schemas.kinds import Kind

MAX_ROWS: Final = 10_000
"""Rows of one batch at most; producers stay far below (1,000)."""

INSTANT: Final = pa.timestamp("us", "UTC")
QUANTITY: Final = pa.decimal128(38, 6)
UNITS: Final = pa.map_(pa.string(), pa.string())


def _schema_of(model: type[Event]) -> Any:
    return pa.schema([pa.field(name, rule.arrow_type()) for name, rule in rules(model).items()])


TOKEN_USAGE: Final = _schema_of(TokenUsage)
GPU_UTILIZATION: Final = _schema_of(GpuUtilization)
GPU_USAGE: Final = _schema_of(GpuUsage)

EXCLUSION_METERS: Final = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "output_tokens",
    "reasoning_output_tokens",
    "training_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "input_image_tokens",
    "images",
    "audio_seconds",
    "video_seconds",
    "allocated_gpu_seconds",
    "busy_gpu_seconds",
    "energy_joules",
    "unobserved_seconds",
)
"""Every column of an event that holds an amount of usage, except `units`."""

_EXCLUSION_DIMENSIONS: Final = ("operation", "endpoint", "region", "service_tier", "gpu_type", "status")


def _meter_type(name: str) -> Any:
    schema = TOKEN_USAGE if name in TOKEN_USAGE.names else GPU_USAGE
    return schema.field(name).type


EXCLUSION: Final = pa.schema(
    [
        pa.field("log_epoch", pa.int64()),
        pa.field("partition", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("row", pa.int32()),
        pa.field("outcome", DICTIONARY),
        pa.field("type", DICTIONARY),
        pa.field("id", pa.string()),
        pa.field("source", DICTIONARY),
        pa.field("tenant_id", DICTIONARY),
        pa.field("response_model", DICTIONARY),
        *(pa.field(name, DICTIONARY) for name in _EXCLUSION_DIMENSIONS),
        pa.field("event_time", INSTANT),
        pa.field("hour", INSTANT),
        pa.field("requests", pa.int64()),
        *(pa.field(name, _meter_type(name)) for name in EXCLUSION_METERS),
        pa.field("units", UNITS),
    ]
)
"""A row that was read but not counted: where it lies in the log, why, whose it was and how much."""

DEAD_LETTER_ROWS: Final = pa.schema(
    [pa.field("_row", pa.int32()), pa.field("_code", DICTIONARY), pa.field("_reason", pa.string())]
)
"""What a dead letter adds to the columns of the rejected rows: index in the source batch, code, reason."""

_EVENTS: Final[dict[str, Any]] = {
    Kind.TOKEN_USAGE: TOKEN_USAGE,
    Kind.GPU_UTILIZATION: GPU_UTILIZATION,
    Kind.GPU_USAGE: GPU_USAGE,
}


def rejected(kind: str) -> str:
    """The kind of a batch of rejected rows of `kind`: its columns, then those of DEAD_LETTER_ROWS."""
    return f"{Kind.DEAD_LETTER}/{kind}"


SCHEMAS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        **_EVENTS,
        Kind.EXCLUSION: EXCLUSION,
        **{rejected(kind): pa.schema([*schema, *DEAD_LETTER_ROWS]) for kind, schema in _EVENTS.items()},
    }
)
"""The canonical schema (pyarrow.Schema) of each kind of batch."""

_EXCLUSION_DEFAULTS: Final = {"requests": 0} | {
    name: Decimal(0) if pa.types.is_decimal(_meter_type(name)) else 0 for name in EXCLUSION_METERS
}

DEFAULTS: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {
        Kind.EXCLUSION: MappingProxyType(_EXCLUSION_DEFAULTS),
        **{kind: MappingProxyType(defaults(model)) for kind, model in EVENT_TYPES.items()},
        **{rejected(kind): MappingProxyType(defaults(model)) for kind, model in EVENT_TYPES.items()},
    }
)
"""Per kind, the value of each column that may be missing and is then not null."""


def schema_for(kind: str) -> Any:
    """The canonical schema of a kind of batch. SchemaError `invalid_type`: no batches of that kind exist."""
    try:
        return SCHEMAS[kind]
    except KeyError:
        message = f"type {kind[:80]!r} is not one of {', '.join(SCHEMAS)}"
        raise SchemaError("invalid_type", message, {"type": kind}) from None
