"""Two 64-bit hashes per row: who the event is, and what it says (DESIGN D7)."""

import numpy as np
import pyarrow as pa

from streams.columns import NULL_HASH, codes, column_seed, dictionary_hashes, filled_rows, integers, string_hashes
from streams.kernels import U64, add_coded_column, add_column, combine


def identities(batch: pa.RecordBatch) -> U64:
    """The hash of (source, id) per row; never 0."""
    source = batch.column("source")
    by_code = dictionary_hashes(source)
    out = np.empty(batch.num_rows, dtype=np.uint64)
    combine(by_code[codes(source)], string_hashes(batch.column("id")), out)
    return out


def contents(batch: pa.RecordBatch) -> U64:
    """The hash of all columns but the identity; it depends on values alone, not on how a batch encodes them."""
    out = np.zeros(batch.num_rows, dtype=np.uint64)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in ("id", "source"):
            continue
        seed = column_seed(name)
        if pa.types.is_dictionary(column.type):
            add_coded_column(out, dictionary_hashes(column), codes(column), seed)
        else:
            add_column(out, _values(column), seed)
    return out


def _values(column: pa.Array) -> U64:
    kind = column.type
    if pa.types.is_string(kind):
        return string_hashes(column)
    if pa.types.is_map(kind):
        return _map_hashes(column)
    if pa.types.is_boolean(kind):
        return _with_nulls(column, column.cast(pa.int64()))
    if pa.types.is_decimal(kind):
        words = np.frombuffer(column.buffers()[1], dtype=np.uint64)[
            2 * column.offset : 2 * (column.offset + len(column))
        ]
        return _nulled(column, words[::2] ^ (words[1::2] * np.uint64(31)))
    if pa.types.is_floating(kind):
        # The bits of a float are its identity here: nothing is computed with them.
        return _with_nulls(column, column.fill_null(0.0).view(pa.int64()))
    return _with_nulls(column, column)


def _with_nulls(column: pa.Array, numbers: pa.Array) -> U64:
    return _nulled(column, integers(numbers).view(np.uint64))


def _nulled(column: pa.Array, values: U64) -> U64:
    if not column.null_count:
        return np.ascontiguousarray(values)
    return np.where(column.is_null().to_numpy(zero_copy_only=False), np.uint64(NULL_HASH), values)


def _map_hashes(column: pa.MapArray) -> U64:
    """Custom units are rare: a row without them costs nothing, one with them is hashed as sorted text."""
    out = np.full(len(column), NULL_HASH, dtype=np.uint64)
    rows = filled_rows(column)
    if len(rows):
        entries = column.take(pa.array(rows)).to_pylist()
        out[rows] = string_hashes(pa.array([_units_text(units) for units in entries], pa.string()))
    return out


def _units_text(units: list[tuple[str, str | None]]) -> str:
    # A quantity may be null where validation refuses the row; no valid name or quantity holds the separators.
    return "\x1f".join(f"{name}\x1e{quantity}" for name, quantity in sorted((each, text or "") for each, text in units))
