"""Reading Arrow columns as NumPy arrays, without a Python object per row."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa

from streams.kernels import I32, I64, U64, hash_strings, mix

_WIDE = 1 << 16
NULL_HASH = 0x6E756C6C6E756C6C
"""What a null contributes to a content hash instead of a value's hash."""


def integers(array: pa.Array) -> I64:
    """An int64 or timestamp('us') column; nulls read as 0."""
    offset, length = array.offset, len(array)
    buffer = array.buffers()[1]
    if buffer is None or not length:
        return np.zeros(length, dtype=np.int64)
    values: I64 = np.frombuffer(buffer, dtype=np.int64, count=offset + length)[offset:]
    if not array.null_count:
        return values
    return np.where(valid(array), values, 0)


def valid(array: pa.Array) -> np.ndarray:
    """Where an array is not null."""
    offset, length = array.offset, len(array)
    buffer = array.buffers()[0]
    if buffer is None or not array.null_count:
        return np.full(length, not array.null_count)
    bits = np.frombuffer(buffer, dtype=np.uint8)[offset >> 3 : (offset + length + 7) >> 3]
    return np.unpackbits(bits, bitorder="little")[offset & 7 : (offset & 7) + length].view(np.bool_)


def millionths(array: pa.Array) -> I64:
    """A decimal128(38, 6) column as whole millionths; nulls read as 0; validation has bounded the values to 64 bits."""
    length = len(array)
    words = np.frombuffer(array.buffers()[1], dtype=np.int64)
    low = words[2 * array.offset : 2 * (array.offset + length) : 2]
    if not array.null_count:
        return np.ascontiguousarray(low)
    return np.where(valid(array), low, 0)


def codes(array: pa.DictionaryArray) -> I32:
    """The dictionary codes of a column, -1 for null."""
    offset, length = array.offset, len(array)
    buffer = array.buffers()[1]
    if buffer is None or not length:
        return np.full(length, -1, dtype=np.int32)
    values: I32 = np.frombuffer(buffer, dtype=np.int32, count=offset + length)[offset:]
    if not array.null_count:
        return values
    return np.where(valid(array), values, np.int32(-1))


def values_of(array: pa.DictionaryArray) -> list[str | None]:
    """The distinct values of a dictionary column, by code."""
    values: list[str | None] = array.dictionary.to_pylist()
    return values


def filled_rows(column: pa.MapArray) -> I64:
    """The rows of a map column that have entries."""
    if column.null_count == len(column):
        return np.empty(0, dtype=np.int64)
    # A null may have entries under it all the same.
    filled = (np.diff(column.offsets.to_numpy(zero_copy_only=True)) > 0) & column.is_valid().to_numpy(
        zero_copy_only=False
    )
    return np.flatnonzero(filled).astype(np.int64)


def with_small_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without dictionaries that have more entries than there are rows: their size is the sender's choice."""
    rows = batch.num_rows
    columns = batch.columns
    large = [at for at, column in enumerate(columns) if _is_dictionary(column) and len(column.dictionary) > rows]
    if not large:
        return batch
    for at in large:
        columns[at] = columns[at].dictionary.take(columns[at].indices).dictionary_encode()
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _is_dictionary(column: pa.Array) -> bool:
    return isinstance(column, pa.DictionaryArray)


def string_hashes(array: pa.StringArray) -> U64:
    """One 64-bit hash per string; a null has a hash of its own."""
    length = len(array)
    out = np.empty(length, dtype=np.uint64)
    _, offsets, data = array.buffers()
    if length:
        starts = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + length + 1]
        content = np.frombuffer(data, dtype=np.uint8) if data is not None and data.size else np.zeros(1, dtype=np.uint8)
        hash_strings(content, starts, out)
        if array.null_count:
            out[~valid(array)] = NULL_HASH
    return out


def dictionary_hashes(array: pa.DictionaryArray) -> U64:
    """The hash of each distinct value by code; the last entry is the one for null (code -1)."""
    hashes = np.empty(len(array.dictionary) + 1, dtype=np.uint64)
    hashes[:-1] = string_hashes(array.dictionary)
    hashes[-1] = NULL_HASH
    return hashes


def distinct(values: I64 | I32) -> tuple[I64, I64]:
    """The values that occur, ascending, and how often each does."""
    if not len(values):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    lowest = int(values.min())
    span = int(values.max()) - lowest
    if span > _WIDE:
        unique, counts = np.unique(values, return_counts=True)
        return unique.astype(np.int64), counts.astype(np.int64)
    # A sort costs more than counting over a short range.
    counts = np.bincount(values - lowest)
    found = np.flatnonzero(counts)
    return found + lowest, counts[found]


@lru_cache(maxsize=1024)
def column_seed(name: str) -> np.uint64:
    """The number that tells one column's values from another's in a content hash."""
    encoded = name.encode()
    out = np.empty(1, dtype=np.uint64)
    hash_strings(np.frombuffer(encoded, dtype=np.uint8), np.array([0, len(encoded)], dtype=np.int32), out)
    seed: np.uint64 = np.uint64(mix(out[0]))
    return seed


def mixed_codes(parts: Sequence[tuple[I32 | I64, int]]) -> I64:
    """One number per row that tells the combinations of several coded columns apart.

    `parts`: for each column its codes (from -1 up) and how many distinct codes there are, null not counted.
    """
    total = np.zeros(len(parts[0][0]), dtype=np.int64)
    size = 1
    for column, distinct in parts:
        span = distinct + 1
        if size * span >= 1 << 62:
            unique, total = np.unique(total, return_inverse=True)
            size = len(unique)
        total = total * span + (column + 1)
        size *= span
    return total
