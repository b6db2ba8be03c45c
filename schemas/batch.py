"""Batches of events as Arrow IPC streams: one Kafka record carries one stream with one record batch.

The writer leaves out columns that say nothing; the reader gives every column of the canonical schema back, in its order and
with its types, whatever fitting types the producer wrote. Reading treats the bytes as hostile: they become a batch or a
DecodeError. Whether the rows are good is for `schemas.validation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import DEFAULTS, MAX_ROWS, SCHEMAS, schema_for
from schemas.columns import Cast, absent_columns, cast_for, with_default, with_tidy_dictionary
from schemas.errors import DecodeError, SchemaError
from schemas.events import EVENT_TYPES, Event, GpuUsage, GpuUtilization, TokenUsage
from schemas.framing import inspect_stream
from schemas.instants import to_microseconds

_KIND_OF: Final[dict[tuple[str, ...], str]] = {tuple(schema.names): kind for kind, schema in SCHEMAS.items()}
# Never ArrowException alone: pyarrow maps some C++ errors to Python's own (OSError, MemoryError, IndexError, ...).
_ARROW_ERRORS: Final = (
    pa.ArrowException,
    OSError,
    MemoryError,
    ValueError,
    TypeError,
    LookupError,
    NotImplementedError,
)


_FIRST: Final = pa.array([0], pa.int32())


# --- writing ----------------------------------------------------------------------------------------------------------


def encode_batch(rows: Any, compression: Literal["lz4", "zstd"] | None = None, *, kind: str | None = None) -> bytes:
    """A pyarrow.RecordBatch of canonical columns, at most MAX_ROWS rows, as an Arrow IPC stream.

    Left out: columns without a value, columns that hold only the default of their kind, dictionary entries that no row
    uses (they would show one tenant's names in another's batch). `kind` is needed only for a batch that has not all columns
    of its schema. Compression is mostly better left to Kafka, which sees many records.
    SchemaError `invalid_batch`: too many rows.
    """
    if rows.num_rows > MAX_ROWS:
        raise SchemaError(
            "invalid_batch", f"a batch of {rows.num_rows} rows: cut it into batches of {MAX_ROWS} or less"
        )
    defaults = DEFAULTS.get(kind or _KIND_OF.get(tuple(rows.schema.names), ""), {})
    names, columns = [], []
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        if not _says_nothing(column, defaults.get(name)):
            names.append(name)
            columns.append(_only_used_entries(column) if pa.types.is_dictionary(column.type) else column)
    if not columns and rows.num_rows:
        names, columns = rows.schema.names[:1], rows.columns[:1]  # keeps the number of rows
    batch = pa.RecordBatch.from_arrays(columns, names=names)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _says_nothing(column: Any, default: object) -> bool:
    nulls = column.null_count
    if nulls == len(column):
        return True
    if nulls or default is None:
        return False
    if pa.types.is_int64(column.type):
        values = integers(column)
        return bool(values[0] == default and (values == default).all())
    if pa.types.is_dictionary(column.type):
        if len(column.dictionary) == 1:
            return bool(column.dictionary[0].as_py() == default)
        column = column.cast(pa.string())
    elif column[0].as_py() != default:
        return False
    return bool(pc.all(pc.equal(column, pa.scalar(default, column.type))).as_py())


def _only_used_entries(column: Any) -> Any:
    dictionary = column.dictionary
    if len(dictionary) < 2:
        return column
    indices = column.indices
    if len(column) == 1:  # dead letters of single events: one row of a wide batch each
        return pa.DictionaryArray.from_arrays(_FIRST, dictionary.slice(indices[0].as_py(), 1))
    valid = indices.drop_null() if indices.null_count else indices
    used = np.zeros(len(dictionary), dtype=bool)
    used[valid.to_numpy(zero_copy_only=False)] = True
    if used.all():
        return column
    moved = pa.array(np.cumsum(used, dtype=np.int32) - np.int32(1), pa.int32()).take(indices)
    return pa.DictionaryArray.from_arrays(moved, dictionary.filter(pa.array(used)))


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Step:
    """How one canonical column comes to be: from which column of the stream, by which cast, with what for its nulls."""

    source: int | None
    cast: Cast | None
    dictionary: bool
    default: object


_PLANS: dict[tuple[str, bytes], tuple[_Step, ...]] = {}
_MAX_PLANS: Final = 512


def decode_batch(kind: str, data: bytes | memoryview) -> Any:
    """The pyarrow.RecordBatch of an Arrow IPC stream, in the canonical schema of `kind` (see `schemas.arrow`).

    Missing columns are filled with null or the default, nulls of a column with a default become it, text is
    dictionary-encoded, narrower numbers are widened, times converted to microseconds; columns of other names are ignored.
    The batch may share memory with `data`. DecodeError: anything else than one batch of at most MAX_ROWS rows.
    """
    target = schema_for(kind)
    view = memoryview(data)
    shape = inspect_stream(view)
    if not 0 <= shape.rows <= MAX_ROWS:
        raise DecodeError(f"a batch of {shape.rows} rows: at most {MAX_ROWS} are allowed", {"rows": shape.rows})
    try:
        reader = pa.ipc.open_stream(pa.py_buffer(view))
        batch = reader.read_next_batch()
        batch.validate(full=True)
        plan = _PLANS.get((kind, shape.schema)) or _remember(kind, shape.schema, reader.schema)
        return pa.RecordBatch.from_arrays(_apply(plan, batch, kind), schema=target)
    except DecodeError:
        raise
    except _ARROW_ERRORS as error:
        text = " ".join(str(error).split())[:200]
        raise DecodeError(f"not a readable Arrow batch: {text}", {"error": type(error).__name__}) from None


def _remember(kind: str, key: bytes, schema: Any) -> tuple[_Step, ...]:
    plan = _plan(kind, schema)
    if len(_PLANS) >= _MAX_PLANS:  # a producer that sends ever new schemas must not fill the memory
        _PLANS.clear()
    _PLANS[kind, key] = plan
    return plan


def _plan(kind: str, schema: Any) -> tuple[_Step, ...]:
    steps = []
    for field in schema_for(kind):
        places = schema.get_all_field_indices(field.name)
        if len(places) > 1:
            raise DecodeError(f"column {field.name} is there {len(places)} times", {"column": field.name})
        cast, source = None, None
        if places and not pa.types.is_null(schema.field(places[0]).type):
            source = places[0]
            cast = cast_for(field.name, schema.field(source).type, field.type)
        steps.append(_Step(source, cast, pa.types.is_dictionary(field.type), DEFAULTS[kind].get(field.name)))
    return tuple(steps)


def _apply(plan: tuple[_Step, ...], batch: Any, kind: str) -> list[Any]:
    given = batch.columns
    columns = list(absent_columns(kind, batch.num_rows))
    for place, step in enumerate(plan):
        if step.source is None:
            continue
        column = given[step.source]
        if step.cast is not None:
            column = step.cast(column)
        if step.dictionary:
            column = with_tidy_dictionary(column)
        if step.default is not None and column.null_count:
            column = with_default(column, step.default)
        columns[place] = column
    return columns


# --- rows and models --------------------------------------------------------------------------------------------------


def rows_to_batch(kind: str, rows: Sequence[Event] | Sequence[Mapping[str, object]]) -> Any:
    """Models or plain mappings as a pyarrow.RecordBatch in the canonical schema.

    Mappings hold the values of the models' fields (aware datetimes, Decimals, ints, ...; absent or None: the default) and
    are not validated beyond what their column can hold. SchemaError `invalid_<column>`: a value that the column cannot hold.
    """
    schema, defaults = schema_for(kind), DEFAULTS[kind]
    columns = []
    absent = absent_columns(kind, min(len(rows), MAX_ROWS))
    for field, values, nothing in zip(schema, _by_column(schema.names, rows), absent, strict=True):
        default = defaults.get(field.name)
        if len(nothing) == len(values) and all(value is None or value == default or value == {} for value in values):
            columns.append(nothing)
            continue
        if default is not None:
            values = [default if value is None else value for value in values]
        columns.append(_column(field, values))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _by_column(names: list[str], rows: Sequence[Event] | Sequence[Mapping[str, object]]) -> Iterable[Sequence[Any]]:
    if rows and all(isinstance(row, Event) for row in rows):
        pick = itemgetter(*names)
        return zip(*[pick(row.__dict__) for row in rows], strict=True)
    plain = [row.__dict__ if isinstance(row, Event) else row for row in rows]
    return ([row.get(name) for row in plain] for name in names)


def _column(field: Any, values: Sequence[Any]) -> Any:
    try:
        if pa.types.is_timestamp(field.type):
            plain = pa.array([None if value is None else to_microseconds(value) for value in values], pa.int64())
            return plain.cast(field.type)
        if pa.types.is_decimal(field.type):
            values = [value if value is None else Decimal(value) for value in values]
        elif pa.types.is_map(field.type):
            values = [list(value.items()) if isinstance(value, Mapping) else value for value in values]
            values = [value or None for value in values]
        return pa.array(values, field.type)
    except (*_ARROW_ERRORS, ArithmeticError, UnicodeError) as error:
        text = " ".join(str(error).split())[:200]
        raise SchemaError(f"invalid_{field.name}", f"{field.name}: {text}", {"column": field.name}) from None


def batch_to_models(kind: str, batch: Any) -> list[TokenUsage | GpuUtilization | GpuUsage]:
    """The rows of a canonical batch as models, one by one: for tests and tools. pydantic.ValidationError on a bad row."""
    model = EVENT_TYPES[kind]
    return [model.model_validate(row) for row in batch.to_pylist()]


def integers(column: Any) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The values of an int64 or timestamp column without a copy; where the column is null, anything."""
    offset, length = column.offset, len(column)
    return np.frombuffer(column.buffers()[1], np.int64, count=offset + length)[offset:]
