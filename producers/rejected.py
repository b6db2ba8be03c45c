"""Input that cannot become an event: reported with its place, and sent on so that it is counted and not lost.

A malformed line of a trace file has no event, yet it was offered: it goes into the log as a record of its own, which
the worker turns into a dead letter (code `undecodable`) that carries file, line and reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from schemas.headers import CONTENT_TYPE, REJECTED_JSON, RecordHeaders

MAX_TEXT = 4_096
"""Characters of the rejected input that are kept; a line of a trace is far shorter."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """One line of an input file that is no event: `line` is its number in the file, counted from 1."""

    file: str
    line: int
    reason: str
    text: str


def encode_rejected(rejected: Rejected) -> tuple[bytes, RecordHeaders]:
    """Value and headers of the record in the events topic: a JSON object with `file`, `line`, `reason` and `text`."""
    value = orjson.dumps(
        {
            # A file name may hold bytes that are no UTF-8 (surrogates in Python), which JSON cannot carry.
            "file": rejected.file.encode("utf-8", "replace").decode(),
            "line": rejected.line,
            "reason": rejected.reason,
            "text": rejected.text[:MAX_TEXT],
        }
    )
    return value, [(CONTENT_TYPE, REJECTED_JSON.encode())]


def decode_rejected(value: bytes) -> Rejected:
    """Read back what `encode_rejected` wrote. Raises ValueError when the value is not such an object."""
    data = orjson.loads(value)
    if not isinstance(data, dict):
        raise ValueError("a rejected input is a JSON object")
    file, line, reason, text = (data.get(name) for name in ("file", "line", "reason", "text"))
    if not (isinstance(file, str) and isinstance(line, int) and isinstance(reason, str) and isinstance(text, str)):
        raise ValueError("a rejected input has file, line, reason and text")
    return Rejected(file, line, reason, text)
