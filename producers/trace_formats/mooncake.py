"""The Mooncake traces: JSON lines with timestamp, input_length, output_length and hash_ids.

Source: kvcache-ai/Mooncake, FAST'25 traces. `timestamp` is in milliseconds from the start of the trace. `hash_ids` name
the blocks of 512 tokens of the prompt; each id stands for its block and everything before it. So the leading blocks
that an earlier request had are what a prefix cache without bounds would have served: they are cache reads, up to the
input length (the last block is rarely full).
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from producers.trace_formats.rows import MAX_RELATIVE_US, MalformedRow, RowParser, TraceRow
from schemas.fields import MAX_COUNT

BLOCK_TOKENS = 512
"""Tokens in a block of `hash_ids`."""

_REQUIRED = ("timestamp", "input_length", "output_length", "hash_ids")


class MooncakeFormat:
    """Recognised by a JSON object with its four members among the first lines, so a broken first line does no harm."""

    name = "mooncake"
    has_header = False

    def matches(self, lines: Sequence[str]) -> bool:
        """Whether one of the lines is an object with the four members."""
        return any(line.lstrip().startswith("{") and _is_row(line) for line in lines)

    def parser(self, header: str | None, start_us: int) -> RowParser:
        """A parser for one file whose first instant is `start_us`; it remembers the blocks of earlier rows."""
        return _MooncakeRows(start_us)


def _is_row(line: str) -> bool:
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(data, dict) and all(name in data for name in _REQUIRED)


class _MooncakeRows:
    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self._seen: set[int] = set()

    def parse(self, text: str) -> TraceRow:
        try:
            data = orjson.loads(text)
        except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
            raise MalformedRow(f"not JSON: {error}") from None
        if not isinstance(data, dict):
            raise MalformedRow("not a JSON object")
        missing = [name for name in _REQUIRED if name not in data]
        if missing:
            raise MalformedRow(f"no {', '.join(missing)}")
        time_us = self._start_us + _milliseconds(data["timestamp"])
        input_tokens = _count(data["input_length"], "input_length")
        output_tokens = _count(data["output_length"], "output_length")
        blocks = _blocks(data["hash_ids"])
        cached = min(self._leading_hits(blocks) * BLOCK_TOKENS, input_tokens)
        self._seen.update(blocks)
        return TraceRow(time_us, input_tokens, output_tokens, cached)

    def _leading_hits(self, blocks: list[int]) -> int:
        for position, block in enumerate(blocks):
            if block not in self._seen:
                return position
        return len(blocks)


def _count(value: object, name: str) -> int:
    # bool is an int in Python and a mistake in a trace.
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise MalformedRow(f"{name} {_shown(value)} is not a whole number")
    if value < 0:
        raise MalformedRow(f"{name} {value} is negative")
    if value > MAX_COUNT:
        raise MalformedRow(f"{name} {value} is above {MAX_COUNT}")
    return value


def _milliseconds(value: object) -> int:
    """Microseconds of an offset given in milliseconds, whole or with a fraction."""
    if type(value) is int and 0 <= value <= MAX_RELATIVE_US // 1000:
        return value * 1000
    if type(value) is float and 0 <= value <= MAX_RELATIVE_US / 1000:
        return round(value * 1000)
    raise MalformedRow(f"timestamp {_shown(value)} is not a number of milliseconds from 0 up")


def _blocks(value: object) -> list[int]:
    if not isinstance(value, list) or not all(type(block) is int for block in value):
        raise MalformedRow(f"hash_ids {_shown(value)} is not a list of whole numbers")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
