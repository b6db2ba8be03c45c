"""Turning a column of any fitting Arrow type into the canonical one, and the columns that stand for absent ones.

Casts are chosen once per schema, not per batch. A type that cannot mean what the column means (a float as a count, a
naive timestamp, a number as text) is refused, never guessed at.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import DEFAULTS, MAX_ROWS, SCHEMAS
from schemas.errors import DecodeError

Cast = Callable[[Any], Any]
"""From a pyarrow.Array of one type to one of the canonical type; raises pyarrow errors."""

_TEXT: Final = (pa.string(), pa.large_string(), pa.string_view())


def cast_for(name: str, source: Any, target: Any) -> Cast | None:
    """How a column of type `source` becomes `target` (pyarrow.DataType); None: it is canonical but for its nulls.

    DecodeError: no value of that type can be what the column is for.
    """
    if source == target:
        return None
    if pa.types.is_dictionary(target) and _is_text(source):
        return _encode_text
    if target == pa.string() and _is_text(source):
        return _plain_text
    if pa.types.is_timestamp(target) and pa.types.is_timestamp(source) and source.tz is not None:
        # Seconds and milliseconds may overflow and must say so; nanoseconds lose what no store here keeps.
        return lambda column: column.cast(target, safe=source.unit in ("s", "ms"))
    numeric = (
        (pa.types.is_int64(target) and pa.types.is_integer(source))
        or (pa.types.is_int32(target) and pa.types.is_integer(source))
        or (pa.types.is_float64(target) and (pa.types.is_floating(source) or pa.types.is_integer(source)))
        or (pa.types.is_decimal(target) and (_is_sane_decimal(source) or pa.types.is_integer(source)))
    )
    if numeric:
        return lambda column: column.cast(target)
    if pa.types.is_map(target) and pa.types.is_map(source) and _is_text(source.key_type) and _is_text(source.item_type):
        return lambda column: _plain_map(column, target)
    raise DecodeError(
        f"column {name} has the type {source}: it must be {target}", {"column": name, "type": str(source)}
    )


def _is_text(source: Any) -> bool:
    return source in _TEXT or (pa.types.is_dictionary(source) and source.value_type in _TEXT)


def _is_sane_decimal(source: Any) -> bool:
    # pyarrow 26 takes any 32-bit scale from the wire, and a cast from an absurd one reads beyond a table and crashes.
    return bool(pa.types.is_decimal(source) and 0 <= source.scale <= source.precision)


def _plain_text(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary.cast(pa.string()).take(column.indices)
    return column.cast(pa.string())


def _encode_text(column: Any) -> Any:
    return _plain_text(column).dictionary_encode()


def _plain_map(column: Any, target: Any) -> Any:
    keys, items = _plain_text(column.keys), _plain_text(column.items)
    return pa.MapArray.from_arrays(column.offsets, keys, items, type=target, mask=column.is_null())


def with_tidy_dictionary(column: Any) -> Any:
    """A dictionary column whose nulls are in the indices only and whose dictionary has no more entries than it has rows.

    A dictionary may hold a null of its own, and a hostile one a million entries that no row uses.
    """
    dictionary = column.dictionary
    if dictionary.null_count or len(dictionary) > len(column):
        return _encode_text(column)
    return column


def with_default(column: Any, default: object) -> Any:
    """The column with `default` in place of its nulls."""
    if pa.types.is_dictionary(column.type):
        return pc.fill_null(_plain_text(column), pa.scalar(default, pa.string())).dictionary_encode()
    return pc.fill_null(column, pa.scalar(default, column.type))


@lru_cache(maxsize=256)
def absent_columns(kind: str, rows: int) -> tuple[Any, ...]:
    """For each canonical column, an array of `rows` nulls or defaults; slices of shared arrays."""
    return tuple(column.slice(0, rows) for column in _longest_absent_columns(kind))


@lru_cache(maxsize=len(SCHEMAS))
def _longest_absent_columns(kind: str) -> tuple[Any, ...]:
    defaults = DEFAULTS[kind]
    return tuple(
        constant(defaults[field.name], field.type, MAX_ROWS)
        if field.name in defaults
        else pa.nulls(MAX_ROWS, field.type)
        for field in SCHEMAS[kind]
    )


def constant(value: object, target: Any, rows: int) -> Any:
    """An array of `rows` times `value`, of a canonical type."""
    if pa.types.is_dictionary(target):
        return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([value], pa.string()))
    return pa.repeat(pa.scalar(value, target), rows)
