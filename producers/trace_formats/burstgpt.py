"""The BurstGPT traces: CSV with at least Timestamp, Model, Request tokens and Response tokens.

Source: HPMLL/BurstGPT. The full header is Timestamp, Session ID, Elapsed time, Model, Request tokens, Response tokens,
Total tokens, Log Type; some files have no Session ID and Elapsed time. Timestamp is in seconds from the start of the
trace. A request with no response tokens is one that failed. The model column names the service of the trace (ChatGPT,
GPT-4); what a replay prices is the model it assigns.
"""

from __future__ import annotations

from collections.abc import Sequence

from producers.trace_formats.rows import (
    CsvColumns,
    MalformedRow,
    RowParser,
    TraceRow,
    header_names,
    relative_microseconds,
    token_count,
)
from schemas.fields import TextRule

_TIME, _INPUT, _OUTPUT, _SESSION = "Timestamp", "Request tokens", "Response tokens", "Session ID"
_SESSION_RULE = TextRule(unique=True)


class BurstGptFormat:
    """Recognised by the names of its columns, in any order; other columns are ignored."""

    name = "burstgpt"
    has_header = True

    def matches(self, lines: Sequence[str]) -> bool:
        """Whether the header names time, request tokens and response tokens."""
        return {_TIME.lower(), _INPUT.lower(), _OUTPUT.lower()} <= set(header_names(lines))

    def parser(self, header: str | None, start_us: int) -> RowParser:
        """A parser for one file whose first instant is `start_us`."""
        return _BurstGptRows(header or "", start_us)


class _BurstGptRows:
    def __init__(self, header: str, start_us: int) -> None:
        self._columns = CsvColumns(header)
        self._start_us = start_us
        self._time = self._columns.require(_TIME)
        self._input = self._columns.require(_INPUT)
        self._output = self._columns.require(_OUTPUT)
        self._session = self._columns.find(_SESSION)

    def parse(self, text: str) -> TraceRow:
        fields = self._columns.split(text)
        output = token_count(fields[self._output], _OUTPUT)
        return TraceRow(
            self._start_us + relative_microseconds(fields[self._time], _TIME, 10**6),
            token_count(fields[self._input], _INPUT),
            output,
            failed=output == 0,
            session_id=None if self._session is None else _session_id(fields[self._session]),
        )


def _session_id(text: str) -> str | None:
    if not text:
        return None
    if not _SESSION_RULE.accepts(text):
        raise MalformedRow(f"{_SESSION} is not {_SESSION_RULE.expected()}")
    return text
