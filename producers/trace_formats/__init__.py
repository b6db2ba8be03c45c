"""The trace formats that can be replayed, one file each; `recognise` finds the one that a file is in.

To add a format: write a module with a class that follows `TraceFormat`, and name it in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Sequence

from producers.trace_formats.azure import AzureFormat
from producers.trace_formats.burstgpt import BurstGptFormat
from producers.trace_formats.mooncake import MooncakeFormat
from producers.trace_formats.rows import MalformedRow, RowParser, TraceFormat, TraceRow

FORMATS: tuple[TraceFormat, ...] = (AzureFormat(), BurstGptFormat(), MooncakeFormat())

__all__ = ["FORMATS", "MalformedRow", "RowParser", "TraceFormat", "TraceRow", "recognise"]


def recognise(lines: Sequence[str]) -> TraceFormat | None:
    """The format of a file that begins with these lines (blank lines left out), or None if it is none that is known."""
    return next((each for each in FORMATS if each.matches(lines)), None)
