"""What all trace formats share: the row they yield, and strict reading of fields.

A field is read strictly because it becomes money: text that is not clearly a whole number is refused with a reason,
never guessed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from schemas.fields import MAX_COUNT

MAX_RELATIVE_US = 10**10 * 10**6
"""Highest offset of a relative clock: 10^10 seconds, about 317 years; anything above is a broken clock."""

_WHOLE = re.compile(r"([0-9]{1,15})(?:\.0*)?")
_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{0,18})?")


class MalformedRow(ValueError):
    """A line that is no row of its format; the message is the reason, for a person."""


class TraceRow(NamedTuple):
    """One request of a trace. `time_us` is a UTC instant in microseconds since 1970, tokens as TokenUsage means them."""

    time_us: int
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int = 0
    failed: bool = False
    session_id: str | None = None


class RowParser(Protocol):
    """Reads the data rows of one file in order; may remember earlier rows (prefix-cache blocks)."""

    def parse(self, text: str) -> TraceRow:
        """The request on this line. Raises MalformedRow."""
        ...


class TraceFormat(Protocol):
    """A file format of request traces."""

    @property
    def name(self) -> str:
        """Short name, part of nothing but messages."""
        ...

    @property
    def has_header(self) -> bool:
        """Whether the first line that is not blank names the columns and is no data."""
        ...

    def matches(self, lines: Sequence[str]) -> bool:
        """Whether a file that begins with these lines (blank ones left out) is in this format."""
        ...

    def parser(self, header: str | None, start_us: int) -> RowParser:
        """A parser for one file; `start_us` is where a relative clock starts, `header` is None without one."""
        ...


def split_csv(text: str) -> list[str]:
    """The fields of one CSV line, quotes resolved, blanks around fields removed. Raises MalformedRow."""
    if '"' not in text:
        return [field.strip() for field in text.split(",")]
    try:
        return [field.strip() for field in next(csv.reader([text], strict=True, skipinitialspace=True))]
    except (csv.Error, StopIteration) as error:
        raise MalformedRow(f"broken quotes: {error}") from None


def header_names(lines: Sequence[str]) -> list[str]:
    """The column names of a CSV header in lower case, empty if the first line is none."""
    try:
        return [field.lower() for field in split_csv(lines[0])] if lines else []
    except MalformedRow:
        return []


class CsvColumns:
    """Where the columns of one CSV file are; every row must have as many fields as the header."""

    def __init__(self, header: str) -> None:
        self._names = header_names([header])
        self.width = len(self._names)

    def find(self, name: str) -> int | None:
        """The position of a column by its name (case does not matter), None if there is none."""
        return self._names.index(name.lower()) if name.lower() in self._names else None

    def require(self, name: str) -> int:
        """The position of a column that must be there. Raises ValueError."""
        position = self.find(name)
        if position is None:
            raise ValueError(f"no column {name}")
        return position

    def split(self, text: str) -> list[str]:
        """The fields of a data row. Raises MalformedRow when there are more or fewer than the header has."""
        fields = split_csv(text)
        if len(fields) != self.width:
            raise MalformedRow(f"{len(fields)} fields where the header has {self.width}")
        return fields


def token_count(text: str, column: str) -> int:
    """A number of tokens written as text. `12.0` is 12 (some tools write whole numbers so). Raises MalformedRow."""
    if len(text) <= 12 and text.isascii() and text.isdigit():  # nearly all are; 12 digits stay below MAX_COUNT
        return int(text)
    match = _WHOLE.fullmatch(text)
    if match is not None:
        count = int(match[1])
        if count <= MAX_COUNT:
            return count
        raise MalformedRow(f"{column} {_shown(text)} is above {MAX_COUNT}")
    if not text:
        raise MalformedRow(f"{column} is empty")
    if text.startswith("-") and _WHOLE.fullmatch(text[1:]):
        raise MalformedRow(f"{column} {_shown(text)} is negative")
    raise MalformedRow(f"{column} {_shown(text)} is not a whole number")


def relative_microseconds(text: str, column: str, unit_us: int) -> int:
    """An offset from the trace's start, written in units of `unit_us` microseconds, truncated to microseconds."""
    if _SECONDS.fullmatch(text) is None:
        if not text:
            raise MalformedRow(f"{column} is empty")
        raise MalformedRow(f"{column} {_shown(text)} is not a number from 0 up")
    # Decimal, not float: 0.1 s is 100000 us on every machine.
    offset = int(text) * unit_us if text.isdigit() else int(Decimal(text) * unit_us)
    if offset > MAX_RELATIVE_US:
        raise MalformedRow(f"{column} {_shown(text)} is too far from the start of the trace")
    return offset


def _shown(text: str) -> str:
    """A field as it appears in a reason: quoted, shortened."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
