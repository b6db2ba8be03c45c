"""Building batches of events as columns: constants, names picked by number, and the columns nobody filled.

A batch has the canonical columns of `schemas.arrow` in their order, so it can be encoded, validated and split without
another conversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.arrow import DEFAULTS, SCHEMAS
from schemas.fields import DICTIONARY
from schemas.kinds import Kind

Int64s = npt.NDArray[np.int64]
Codes = npt.NDArray[np.integer]
"""Positions in a list of names; a negative one stands for null."""


def make_batch(kind: Kind, columns: Mapping[str, pa.Array], rows: int) -> pa.RecordBatch:
    """A batch of `rows` events: the given columns (all `rows` long), the others filled with their default or null.

    Raises KeyError for a column that the kind does not have.
    """
    schema = SCHEMAS[kind]
    unknown = set(columns) - set(schema.names)
    if unknown:
        raise KeyError(f"{kind} has no column {', '.join(sorted(unknown))}")
    filled = [columns[name] if name in columns else _absent(kind, name, rows) for name in schema.names]
    return pa.RecordBatch.from_arrays(filled, schema=schema)


def _absent(kind: Kind, name: str, rows: int) -> pa.Array:
    """A column that says nothing: its default where the contract has one, else nulls."""
    return _long_absent(kind, name, _rounded(rows)).slice(0, rows)


@lru_cache(maxsize=512)
def _long_absent(kind: Kind, name: str, rows: int) -> pa.Array:
    # Arrays are immutable, so one is cut for batches of many lengths.
    default = DEFAULTS[kind].get(name)
    column_type = SCHEMAS[kind].field(name).type
    if default is None:
        return pa.nulls(rows, column_type)
    if isinstance(default, str):
        return constant(default, rows)
    return pa.repeat(pa.scalar(default, type=column_type), rows)


def names(values: Sequence[str], codes: Codes) -> pa.Array:
    """A dictionary column: row i is `values[codes[i]]`, null where the code is negative."""
    indices = np.ascontiguousarray(codes, dtype=np.int32)
    mask = indices < 0
    array = pa.array(indices, mask=mask) if mask.any() else pa.array(indices)
    return pa.DictionaryArray.from_arrays(array, pa.array(values, pa.string())).cast(DICTIONARY)


def constant(value: str, rows: int) -> pa.Array:
    """A dictionary column with one value in every row."""
    return _long_constant(value, _rounded(rows)).slice(0, rows)


@lru_cache(maxsize=512)
def _long_constant(value: str, rows: int) -> pa.Array:
    return names([value], np.zeros(rows, dtype=np.int32))


def _rounded(rows: int) -> int:
    """The next power of two: a handful of lengths is kept, whatever lengths batches have."""
    return 1 << max(0, rows - 1).bit_length()


def instants(microseconds: Int64s) -> pa.Array:
    """A column of UTC instants from microseconds since 1970; negative numbers (before 1970) stand for null."""
    mask = microseconds < 0
    values = pa.array(microseconds, mask=mask) if mask.any() else pa.array(microseconds)
    return values.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))


def fixed_width_texts(characters: npt.NDArray[np.uint8]) -> pa.Array:
    """A string column from ASCII codes of shape (rows, width): every row `width` characters."""
    rows, width = characters.shape
    offsets = np.arange(rows + 1, dtype=np.int64) * width
    if offsets[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"{rows} texts of {width} characters do not fit one Arrow column; make smaller batches")
    data = pa.py_buffer(np.ascontiguousarray(characters).tobytes())
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets.astype(np.int32).tobytes()), data)
