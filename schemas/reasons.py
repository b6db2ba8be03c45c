"""What is wrong with an event, in words: the same for an event that came as JSON and for a row of a batch."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import lru_cache

from pydantic import ValidationError

from schemas.decimals import format_decimal
from schemas.errors import SchemaError
from schemas.events import Event, rules
from schemas.fields import Rule
from schemas.instants import format_instant

_SHOWN: int = 80


def show(value: object) -> str:
    """A value as a person reads it in one line, cut to 80 characters."""
    if isinstance(value, datetime) and value.utcoffset() is not None and value.year > 1:
        text = format_instant(value)
    elif isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) < _SHOWN:
        text = format_decimal(value)
    else:
        text = _repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _repr(value: object) -> str:
    try:
        return repr(value)
    except RecursionError:
        return "nested too deeply"


def missing(name: str) -> SchemaError:
    """The error for a required field that is absent or null."""
    return SchemaError(f"invalid_{name}", f"{name} is missing", {"field": name})


def wrong_value(model: type[Event], name: str, value: object) -> SchemaError:
    """The error for one field whose value breaks its rule."""
    expected = _rules(model)[name].expected()
    return SchemaError(f"invalid_{name}", f"{name} is {show(value)}: it must be {expected}", {"field": name})


def reason_of(model: type[Event], error: ValidationError) -> SchemaError:
    """The first thing wrong with an event as one error with code and reason."""
    first = error.errors(include_url=False, include_context=True)[0]
    if first["type"] == "invariant":
        return SchemaError(first["ctx"]["code"], first["ctx"]["reason"])
    if not first["loc"]:
        return SchemaError("invalid_event", "the event is not a JSON object")
    name = str(first["loc"][0])
    return missing(name) if first["type"] == "missing" else wrong_value(model, name, first["input"])


@lru_cache(maxsize=8)
def _rules(model: type[Event]) -> dict[str, Rule]:
    return rules(model)
