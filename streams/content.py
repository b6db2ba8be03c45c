"""Two 64-bit hashes per row: who the event is, and what it says (DESIGN D7)."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pyarrow as pa

from schemas.arrow import SCHEMAS
from streams.columns import (
    NULL_HASH,
    codes,
    column_seed,
    dictionary_hashes,
    filled_rows,
    integers,
    string_hashes,
    valid,
)
from streams.kernels import U64, add_coded_column, add_column, combine, mix

Hashed = Callable[[pa.Array], U64]
"""From a column to a number per row that is its value's hash, or the value itself."""
Plan = tuple[tuple[np.uint64 | None, Hashed | None], ...]


def identities(batch: pa.RecordBatch) -> U64:
    """The hash of (source, id) per row; never 0."""
    source = batch.column("source")
    by_code = dictionary_hashes(source)
    out = np.empty(batch.num_rows, dtype=np.uint64)
    combine(by_code[codes(source)], string_hashes(batch.column("id")), out)
    return out


def contents(batch: pa.RecordBatch) -> U64:
    """The hash of all columns but the identity; it depends on values alone, not on how a batch encodes them."""
    rows = batch.num_rows
    out = np.zeros(rows, dtype=np.uint64)
    same_for_all = 0
    for column, (seed, hashed) in zip(batch.columns, _plan_of(batch.schema), strict=True):
        if seed is None:
            continue
        if column.null_count == rows:
            same_for_all += int(mix(np.uint64(NULL_HASH) ^ seed))
        elif hashed is not None:
            add_column(out, hashed(column), seed)
        else:
            by_code = dictionary_hashes(column)
            if len(by_code) == 2 and not column.null_count:
                same_for_all += int(mix(by_code[0] ^ seed))
            else:
                add_coded_column(out, by_code, codes(column), seed)
    out += np.uint64(same_for_all & 0xFFFF_FFFF_FFFF_FFFF)
    return out


def _plan_of(schema: pa.Schema) -> Plan:
    # Canonical batches share the schema object, so that comparing is quicker than hashing.
    for known in SCHEMAS.values():
        if known is schema or known.equals(schema):
            return _plan(known)
    return _plan(schema)


@lru_cache(maxsize=64)
def _plan(schema: pa.Schema) -> Plan:
    """For each column its seed (None: not part of the content) and how it is hashed (None: by its dictionary)."""
    return tuple(
        (None if field.name in ("id", "source") else column_seed(field.name), _hashed(field.type)) for field in schema
    )


def _hashed(kind: pa.DataType) -> Hashed | None:
    if pa.types.is_dictionary(kind):
        return None
    if pa.types.is_string(kind):
        return string_hashes
    if pa.types.is_map(kind):
        return _map_hashes
    if pa.types.is_boolean(kind):
        return lambda column: _with_nulls(column, column.cast(pa.int64()))
    if pa.types.is_decimal(kind):
        return _decimal_hashes
    if pa.types.is_floating(kind):
        # The bits of a float are its identity here: nothing is computed with them.
        return lambda column: _with_nulls(column, column.fill_null(0.0).view(pa.int64()))
    return lambda column: _with_nulls(column, column)


def _decimal_hashes(column: pa.Array) -> U64:
    end = column.offset + len(column)
    words = np.frombuffer(column.buffers()[1], dtype=np.uint64)[2 * column.offset : 2 * end]
    return _nulled(column, words[::2] ^ (words[1::2] * np.uint64(31)))


def _with_nulls(column: pa.Array, numbers: pa.Array) -> U64:
    return _nulled(column, integers(numbers).view(np.uint64))


def _nulled(column: pa.Array, values: U64) -> U64:
    if not column.null_count:
        return np.ascontiguousarray(values)
    return np.where(valid(column), values, np.uint64(NULL_HASH))


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
    return "\x1f".join(f"{name}\x1e{text}" for name, text in sorted((name, text or "") for name, text in units))
