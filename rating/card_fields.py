"""The types of single fields of a rate card: what they accept, the words for what is wrong, and their JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)

from rating.errors import MeterError, did_you_mean
from rating.meters import CUSTOM_PREFIX, GROUP_METERS, LEAF_NAMES, meter
from rating.money import CURRENCY_EXPONENTS

DIMENSIONS: tuple[str, ...] = ("model", "endpoint", "region", "service_tier", "gpu_type", "operation")
"""What a SKU can match with an exact value or a pattern, and what its id template may name."""
STATUSES: tuple[str, ...] = ("success", "error", "aborted")
"""What a request can end as."""
RESERVED_PREFIXES = ("unrated/", "uncharged/", "wallet/")
"""Starts of SKU ids that belong to usage without a price and to what prepaid credits pay."""
LONGEST_ID = 512
"""Characters of the SKU id of a rated record."""
LONGEST_NAME = 256
"""Characters of a meter, a unit, or a value that usage can have in a dimension."""
FIRST_YEAR, LAST_YEAR = 1970, 2199
"""Instants outside these years cannot stand in events or records."""

_MEANT = {
    "input_tokens": "input",
    "prompt_tokens": "input",
    "output_tokens": "output",
    "completion_tokens": "output",
    "cached_tokens": "input_cache_read",
    "cache_read_input_tokens": "input_cache_read",
    "cache_write_input_tokens": "input_cache_write",
    "reasoning_tokens": "output_reasoning",
    "reasoning_output_tokens": "output_reasoning",
    "gpu_hours": "gpu_seconds",
    "allocated_gpu_seconds": "gpu_seconds",
    "busy_gpu_seconds": "gpu_busy_seconds",
    "energy_joules": "gpu_energy_joules",
}
"""Names of events and of other systems for what a meter counts."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_TEMPLATE = re.compile(r"[^\x00-\x20\x7f*?]{1,256}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,256}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"{value!r}: use letters, digits, '.', '_' and '-', at most 128, starting with a letter or digit"
        )
    return value


def _text(value: str) -> str:
    if not _TEXT.fullmatch(value):
        raise ValueError(f"use 1 to {LONGEST_NAME} characters, none of them a control character")
    return value


def _meter_name(value: str) -> str:
    if value.startswith(CUSTOM_PREFIX) and len(value) > LONGEST_NAME:
        raise ValueError(
            f"the name of the unit has {len(value) - len(CUSTOM_PREFIX)} characters: "
            f"use at most {LONGEST_NAME - len(CUSTOM_PREFIX)}"
        )
    try:
        return meter(value).name
    except MeterError as error:
        hint = meant_meter(value, [*LEAF_NAMES, *GROUP_METERS])
        raise ValueError(f"there is no meter {value!r}{hint}" if hint else str(error)) from error


def meant_meter(name: str, known: Sequence[str]) -> str:
    """The end of a message that names the meter that was meant, e.g. by the field of an event; nothing if none is near."""
    meant = _MEANT.get(name)
    return f", did you mean {meant}?" if meant in known else did_you_mean(name, known)


def instant_text(value: datetime) -> str:
    """An instant as RFC 3339 in UTC, e.g. 2026-01-01T00:00:00Z."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_instant(value: object) -> datetime:
    """The UTC instant of RFC 3339 text or of an aware datetime (which some YAML readers give). ValueError if it is none."""
    if isinstance(value, str):
        if not _INSTANT.fullmatch(value):
            raise ValueError(f"{value!r} is not an instant: write one such as '2026-01-01T00:00:00Z'")
        try:
            value = datetime.fromisoformat(value.upper())
        except ValueError as error:
            raise ValueError(f"{value!r} is in no calendar ({error}): correct it") from None
    if not isinstance(value, datetime):
        raise ValueError(f"{value!r} is not an instant: write one such as '2026-01-01T00:00:00Z'")
    if value.tzinfo is None:
        raise ValueError(
            f"{value.isoformat()} has no time zone: write '{value.replace(tzinfo=UTC).isoformat().replace('+00:00', 'Z')}' "
            "for UTC"
        )
    # Asked before the zone is changed: at the ends of the calendar that change overflows.
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"{value.isoformat()} is outside the years {FIRST_YEAR} to {LAST_YEAR}: correct the year")
    found = value.astimezone(UTC)
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise ValueError(f"{instant_text(found)} is outside the years {FIRST_YEAR} to {LAST_YEAR}: correct the year")
    return found


def _integer(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number: write it without quotes and decimals")
    return value


def _version(value: int) -> int:
    if not 1 <= value < 2**31:
        raise ValueError(f"{value} is not a version: count from 1")
    return value


def _currency(value: str) -> str:
    if value not in CURRENCY_EXPONENTS:
        hint = did_you_mean(value.upper(), list(CURRENCY_EXPONENTS)) or ": use a code such as USD or EUR"
        raise ValueError(f"{value!r} is not a currency of ISO 4217{hint}")
    return value


def _status(value: str) -> str:
    if value not in STATUSES:
        raise ValueError(
            f"no request ends as {value!r}{did_you_mean(value, STATUSES) or ''}: use {', '.join(STATUSES)}"
        )
    return value


def _plain_sku(value: str) -> str:
    if not _TEMPLATE.fullmatch(value) or "{" in value or "}" in value or value.startswith(RESERVED_PREFIXES):
        raise ValueError("an id has 1 to 256 characters, no spaces, no '*', '?', '{' or '}', and no reserved start")
    return value


def check_template(value: str) -> str:
    """The text of a SKU's id template, if its characters, start and length are right (its placeholders: see Sku)."""
    if not _TEMPLATE.fullmatch(value):
        raise ValueError("a SKU id has 1 to 256 characters, no spaces and no '*' or '?'")
    if value.startswith(RESERVED_PREFIXES):
        raise ValueError(f"ids that start with {' or '.join(RESERVED_PREFIXES)} are reserved: choose another start")
    return value


_TEMPLATE_SCHEMA = r"^[^\u0000- \u007f*?]{1,256}$"
Name = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"})
]
"""An id of ours: letters, digits, '.', '_' and '-'."""
Text = Annotated[str, AfterValidator(_text), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 256})]
"""A value that usage can have, or a name that stands on records."""
MeterName = Annotated[
    str,
    AfterValidator(_meter_name),
    WithJsonSchema(
        {
            "type": "string",
            "anyOf": [
                {"enum": [*LEAF_NAMES, *GROUP_METERS]},
                {"pattern": r"^units\.[^\u0000-\u001f\u007f]{1,250}$"},
            ],
        }
    ),
]
Integer = Annotated[int, BeforeValidator(_integer)]
Version = Annotated[
    Integer, AfterValidator(_version), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 2**31 - 1})
]
Currency = Annotated[
    str, AfterValidator(_currency), WithJsonSchema({"type": "string", "enum": sorted(CURRENCY_EXPONENTS)})
]
Status = Annotated[str, AfterValidator(_status), WithJsonSchema({"type": "string", "enum": list(STATUSES)})]
Instant = Annotated[
    datetime,
    PlainValidator(parse_instant),
    PlainSerializer(instant_text, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "pattern": r"^(19[7-9]\d|20\d\d|21\d\d)-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)$",
        }
    ),
]
"""An instant with a time zone, in UTC afterwards; text or a datetime, never a number: seconds or a year?"""
Template = Annotated[
    str, AfterValidator(check_template), WithJsonSchema({"type": "string", "pattern": _TEMPLATE_SCHEMA})
]
"""A SKU id, or a template of ids; `Sku` checks its placeholders."""
PlainSku = Annotated[
    str,
    AfterValidator(_plain_sku),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[^\u0000- \u007f*?{}]{1,256}$",
            "not": {"pattern": "^(unrated|uncharged|wallet)/"},
        }
    ),
]
"""A SKU id without placeholders."""
