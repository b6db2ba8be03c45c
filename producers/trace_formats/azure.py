"""The public Azure LLM inference traces: CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens.

Source: AzurePublicDataset, traces of 2023 (Patel et al., Splitwise, ISCA 2024) and of 2024 (Stojkovic et al.,
DynamoLLM, HPCA 2025), CC-BY 4.0. TIMESTAMP is absolute; the files of 2023 write no zone and seven digits of a second,
those of 2024 a zone. No zone means UTC. Digits beyond the microsecond are cut off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from producers.trace_formats.rows import CsvColumns, MalformedRow, RowParser, TraceRow, header_names, token_count
from schemas.instants import EPOCH, to_microseconds

_TIME, _INPUT, _OUTPUT = "TIMESTAMP", "ContextTokens", "GeneratedTokens"
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,18}))?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)


class AzureFormat:
    """Recognised by its three column names, in any order; other columns are ignored."""

    name = "azure"
    has_header = True

    def matches(self, lines: Sequence[str]) -> bool:
        """Whether the header names the three columns."""
        return {_TIME.lower(), _INPUT.lower(), _OUTPUT.lower()} <= set(header_names(lines))

    def parser(self, header: str | None, start_us: int) -> RowParser:
        """A parser for one file; the clock is absolute, so `start_us` has no effect."""
        return _AzureRows(header or "")


class _AzureRows:
    def __init__(self, header: str) -> None:
        self._columns = CsvColumns(header)
        self._time = self._columns.require(_TIME)
        self._input = self._columns.require(_INPUT)
        self._output = self._columns.require(_OUTPUT)
        self._second: tuple[str, str | None] = ("", None)
        self._second_us = 0

    def parse(self, text: str) -> TraceRow:
        fields = self._columns.split(text)
        return TraceRow(
            self._microseconds(fields[self._time]),
            token_count(fields[self._input], _INPUT),
            token_count(fields[self._output], _OUTPUT),
        )

    def _microseconds(self, text: str) -> int:
        match = _INSTANT.fullmatch(text)
        if match is None:
            raise MalformedRow(f"{_TIME} {text[:40]!r} is not a time like 2023-11-16 18:15:46.6805900")
        second, fraction, zone = match.groups()
        # Neighbouring rows mostly share their second, and reading it costs more than all the rest.
        if (second, zone) != self._second:
            self._second_us = _microseconds_of(second, zone, text)
            self._second = (second, zone)
        return self._second_us + (int(fraction[:6].ljust(6, "0")) if fraction else 0)


def _microseconds_of(second: str, zone: str | None, text: str) -> int:
    try:
        instant = datetime.fromisoformat(second + (zone or "Z"))
    except ValueError as error:
        raise MalformedRow(f"{_TIME} {text[:40]!r}: {error}") from None
    if instant < EPOCH:
        raise MalformedRow(f"{_TIME} {text[:40]!r} is before 1970")
    return to_microseconds(instant)
