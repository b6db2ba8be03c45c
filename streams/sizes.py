"""Keeping what is written small enough for a Kafka record, whatever came in (a compressed record may hold very much)."""

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

MAX_VALUE_BYTES = 1 << 20
"""Values of several rows are cut into more records from here on; far below what brokers take."""
_ROWS = 5_000
_LONGEST_TEXT = 1_024
_MOST_ENTRIES = 32


def encoded_parts(batch: pa.RecordBatch, encode: Callable[[pa.RecordBatch], bytes]) -> Iterator[bytes]:
    """The rows of a batch as one value or, where that would be too large, as several; each row alone fits."""
    rows = batch.num_rows
    if rows <= _ROWS:
        value = encode(batch)
        if len(value) <= MAX_VALUE_BYTES or rows <= 1:
            yield value
            return
    middle = rows // 2
    yield from encoded_parts(batch.slice(0, middle), encode)
    yield from encoded_parts(batch.slice(middle), encode)


def clipped(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with its texts cut short: rows that validation refused may hold megabytes."""
    return pa.RecordBatch.from_arrays([_clipped(column) for column in batch.columns], schema=batch.schema)


def _clipped(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, _clipped(column.dictionary))
    if pa.types.is_string(column.type):
        return pc.utf8_slice_codeunits(column, 0, _LONGEST_TEXT)
    if pa.types.is_map(column.type):
        rows = [None if units is None else units[:_MOST_ENTRIES] for units in column.to_pylist()]
        short = [None if row is None else [(_short(name), _short(text)) for name, text in row] for row in rows]
        return pa.array(short, column.type)
    return column


def _short(text: str | None) -> str | None:
    return None if text is None else text[:_LONGEST_TEXT]
