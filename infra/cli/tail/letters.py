"""Dead letters as lines: what is wrong and where it lies, then the first rejected rows."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import orjson
from confluent_kafka import Message

from infra.cli.tail.line import Shown
from infra.cli.tail.lines import place, stamp, unreadable
from schemas.dead_letters import DeadLetter, decode_dead_letter
from schemas.errors import SchemaError
from sinks.dead_letters import Row, letter_rows

_EXCERPT = 200


class LetterLines:
    """Dead letters that concern a tenant, with a code (* and ? stand for anything), and so many rows of each."""

    def __init__(self, tenant: str | None, code: str | None, rows: int) -> None:
        """None: all of them."""
        self._tenant, self._code, self._rows = tenant, code, rows

    def read(self, message: Message) -> Shown | None:
        """One dead letter, when any of its rows is wanted."""
        try:
            letter = decode_dead_letter(message.value(), message.headers())
        except SchemaError as error:
            return unreadable(message, error.message)
        rows = [row for row in letter_rows(letter) if self._wanted(row)]
        if not rows:
            return None
        return Shown(self._lines(message, letter, rows), _data(message, letter, rows))

    def _wanted(self, row: Row) -> bool:
        code, _, tenant, *_ = row
        return self._tenant in (None, tenant) and (self._code is None or fnmatchcase(code, self._code))

    def _lines(self, message: Message, letter: DeadLetter, rows: Sequence[Row]) -> list[str]:
        source = letter.source
        where = f"{source.topic} {source.partition}@{source.offset}"
        number = "record" if letter.batch is None else f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
        lines = [f"{stamp(message)}  {letter.code:<24} {number:>8}  {where:<28}  {letter.reason}"]
        lines += [_row_line(letter, row) for row in rows[: self._rows]]
        more = len(rows) - self._rows
        return lines + ([f"    and {more:,} more rows"] if more > 0 and self._rows else [])


def _row_line(letter: DeadLetter, row: Row) -> str:
    code, reason, tenant, source, event_id, index, payload, length = row
    if letter.batch is None:
        excerpt = repr(payload[:_EXCERPT]).removeprefix("b")
        return f"    {length:,} bytes: {excerpt}{' ...' if length > _EXCERPT else ''}"
    why = "" if (code, reason) == (letter.code, letter.reason) else f"  {code}: {reason}"
    return f"    row {index}: tenant {tenant or '?'}, source {source or '?'}, id {event_id or '?'}{why}"


def _data(message: Message, letter: DeadLetter, rows: Sequence[Row]) -> dict[str, object]:
    """All rows that are wanted, whole: each as an object, the bytes of a record that is none as text."""
    return {
        **place(message),
        "code": letter.code,
        "reason": letter.reason,
        "source_topic": letter.source.topic,
        "source_partition": letter.source.partition,
        "source_offset": letter.source.offset,
        "type": letter.kind or None,
        "length": letter.length if letter.batch is None else None,
        "sha256": letter.sha256 or None,
        "original_headers": {name: text.decode("utf-8", "backslashreplace") for name, text in letter.original},
        "rows": [
            {
                "row": index,
                "code": code,
                "reason": reason,
                "tenant_id": tenant or None,
                "source": source or None,
                "id": event_id or None,
                "payload": payload.decode("utf-8", "backslashreplace")
                if letter.batch is None
                else orjson.loads(payload),
            }
            for code, reason, tenant, source, event_id, index, payload, _ in rows
        ],
    }
