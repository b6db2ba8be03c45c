"""usage.dlq.v1 as rows of dead_letters: one per rejected row, one per record that could not be read at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

import numpy as np
import orjson
import pyarrow as pa

from schemas.dead_letters import DeadLetter, decode_dead_letter
from schemas.errors import SchemaError
from schemas.instants import format_instant, from_microseconds
from sinks.columns import coordinates, one_chunk, repeated_text
from sinks.decoded_json import ReadRecord, unreadable_rows
from sinks.records import LogId, SourceRecord
from sinks.tables import DEAD_LETTERS, UNREADABLE, Table

WHOLE_RECORD: Final = -1
"""The row index of a dead letter that stands for a whole record."""

Row = tuple[str, str, str, str, str, int, bytes, int]
"""code, reason, tenant_id, source, id, source_row, payload, payload_bytes"""


class DeadLetterSink:
    """Builds dead_letters. Rows become objects here, one by one: dead letters are few."""

    tables: tuple[Table, ...] = (DEAD_LETTERS, UNREADABLE)
    compacted = False

    def decode(self, record: SourceRecord) -> ReadRecord[DeadLetter]:
        """Read one dead letter; a problem where it is none."""
        try:
            letter = decode_dead_letter(record.value, record.headers)
        except SchemaError as error:
            return ReadRecord(record, None, error.message)
        if not (0 <= letter.source.partition < 2**31 and 0 <= letter.source.offset < 2**63 and letter.length >= 0):
            return ReadRecord(record, None, "the source coordinates of the dead letter are out of range")
        return ReadRecord(record, letter, rows=max(1, letter.batch.num_rows if letter.batch is not None else 1))

    def build(self, items: Sequence[ReadRecord[DeadLetter]], log_id: LogId) -> Mapping[Table, pa.Table]:
        """Rows in the order of the log."""
        built: dict[Table, pa.Table] = {}
        bad = unreadable_rows(items, log_id)
        if bad is not None:
            built[UNREADABLE] = bad
        good = [(item.content, item.record) for item in items if item.content is not None]
        if good:
            built[DEAD_LETTERS] = _table([letter for letter, _ in good], [record for _, record in good], log_id)
        return built

    def row_counts(self, item: ReadRecord[DeadLetter]) -> Mapping[Table, int]:
        """Rows of one record."""
        if item.content is None:
            return {UNREADABLE: 1}
        return {DEAD_LETTERS: 1 if item.content.batch is None else int(item.content.batch.num_rows)}


def _table(letters: Sequence[DeadLetter], records: Sequence[SourceRecord], log_id: LogId) -> pa.Table:
    rows_of = [letter_rows(letter) for letter in letters]
    counts = np.array([len(rows) for rows in rows_of], dtype=np.int64)
    rows = [row for rows in rows_of for row in rows]
    column = list(zip(*rows, strict=True)) if rows else [()] * 8
    sources = [letter.source for letter in letters]
    return one_chunk(
        {
            "code": pa.array(column[0], pa.string()),
            "reason": pa.array(column[1], pa.string()),
            "tenant_id": pa.array(column[2], pa.string()),
            "source": pa.array(column[3], pa.string()),
            "id": pa.array(column[4], pa.string()),
            "source_row": pa.array(column[5], pa.int32()),
            "payload": pa.array(column[6], pa.binary()),
            "payload_bytes": pa.array(column[7], pa.uint64()),
            "type": repeated_text([letter.kind for letter in letters], counts),
            "payload_sha256": repeated_text([letter.sha256 for letter in letters], counts),
            "source_topic": repeated_text([source.topic for source in sources], counts),
            "source_partition": pa.array(np.repeat(np.array([s.partition for s in sources], dtype=np.uint32), counts)),
            "source_offset": pa.array(np.repeat(np.array([s.offset for s in sources], dtype=np.uint64), counts)),
            **coordinates(records, log_id, counts),
        }
    )


def letter_rows(letter: DeadLetter) -> list[Row]:
    """Each rejected row of a dead letter, or the one that stands for a record that could not be read."""
    if letter.batch is None:
        return [(letter.code, letter.reason, "", "", "", WHOLE_RECORD, letter.value, letter.length)]
    return [_row(letter, fields) for fields in _numbers_for_instants(letter.batch).to_pylist()]


def _numbers_for_instants(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Instants as microseconds: what was rejected may lie outside of what a datetime can hold."""
    columns = [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _row(letter: DeadLetter, fields: dict[str, object]) -> Row:
    index = fields.pop("_row", None)
    code = fields.pop("_code", None)
    reason = fields.pop("_reason", None)
    instants = [] if letter.batch is None else letter.batch.schema
    said = {name: value for name, value in fields.items() if value is not None}
    for field in instants:
        if pa.types.is_timestamp(field.type) and field.name in said:
            said[field.name] = _instant(said[field.name])
    payload = orjson.dumps(said, default=_plain, option=orjson.OPT_SORT_KEYS)
    return (
        _text(code) or letter.code,
        _text(reason) or letter.reason,
        _text(fields.get("tenant_id")),
        _text(fields.get("source")),
        _text(fields.get("id")),
        index if isinstance(index, int) else WHOLE_RECORD,
        payload,
        len(payload),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _instant(microseconds: object) -> object:
    """RFC 3339, or the number of microseconds where it is no date."""
    try:
        return format_instant(from_microseconds(microseconds)) if isinstance(microseconds, int) else microseconds
    except OverflowError:
        return microseconds


def _plain(value: object) -> str:
    return str(value) if isinstance(value, Decimal) else repr(value)
