"""Instants: aware datetimes in UTC with microseconds, and their RFC 3339 text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
END_OF_TIME: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""Instants are in [EPOCH, END_OF_TIME): inside what every store and every 64-bit nanosecond clock can hold."""

_MICROSECOND: Final = timedelta(microseconds=1)
END_OF_TIME_US: Final = (END_OF_TIME - EPOCH) // _MICROSECOND

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def to_microseconds(instant: datetime) -> int:
    """Microseconds since 1970-01-01T00:00:00Z of an aware datetime, without a float in between."""
    return (instant - EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The UTC datetime of microseconds since 1970-01-01T00:00:00Z; OverflowError outside the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=microseconds)


def parse_instant(value: object) -> datetime:
    """An aware datetime or RFC 3339 text as a UTC datetime; digits below a microsecond are cut off.

    ValueError: no offset, not RFC 3339, or outside [1970, 2200).
    """
    if isinstance(value, str):
        if not _RFC3339.fullmatch(value):
            raise ValueError("is not RFC 3339 with an offset, such as 2026-01-01T00:00:00Z")
        value = datetime.fromisoformat(value.upper())
    if not isinstance(value, datetime):
        raise ValueError("is not an instant (RFC 3339 text)")
    if value.utcoffset() is None:
        raise ValueError("has no time zone")
    # Compared before it is shifted: shifting a time at the end of the calendar overflows.
    if not EPOCH <= value < END_OF_TIME:
        raise ValueError("is outside the years 1970 to 2199")
    return value.astimezone(UTC)


def format_instant(instant: datetime) -> str:
    """RFC 3339 in UTC with a Z, and a fraction only where there is one: 2026-01-01T00:00:00Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
