"""Rows that were read but not counted, with the place where they lie in the log, why, and every amount they carry.

ClickHouse subtracts them from the raw rows: raw minus excluded minus dead letters = rated.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.arrow import EXCLUSION
from schemas.batch import decode_batch, encode_batch, integers
from schemas.columns import absent_columns, constant
from schemas.errors import SchemaError
from schemas.events import EVENT_TIME_COLUMN
from schemas.kinds import Kind

HOUR_US: Final = 3_600_000_000

Indices = np.ndarray[tuple[int], np.dtype[np.intp]]
RowIndexes = np.ndarray[tuple[int], np.dtype[np.int32]]
Offsets = np.ndarray[tuple[int], np.dtype[np.int64]]


class Outcome(StrEnum):
    """Why a row was not counted here."""

    DUPLICATE = "duplicate"
    VOID = "void"
    REROUTED = "rerouted"
    STALE_SAMPLE = "stale_sample"


def exclusion_rows(
    kind: str,
    batch: Any,
    rows: Indices,
    outcome: Outcome,
    *,
    log_epoch: int,
    partition: int,
    offset: int | Offsets,
    indexes: RowIndexes | None = None,
    window_us: int = HOUR_US,
) -> Any:
    """The rows `rows` of a valid canonical batch as exclusions: a pyarrow.RecordBatch in the schema EXCLUSION.

    The coordinates are those of the source record: one `offset`, or one for each of `rows` where they come from several
    records; `indexes` where a row's index in its record is not the one in `batch`. `hour` is the start of the window (of
    `window_us` microseconds) of the row's event time; `requests` is 1 for TokenUsage and 0 for the rest.
    """
    count = len(rows)
    taken = batch.take(pa.array(rows, pa.int64()))
    event_us = integers(taken.column(EVENT_TIME_COLUMN[kind])) if count else np.empty(0, np.int64)
    made: dict[str, Any] = {
        "log_epoch": constant(log_epoch, pa.int64(), count),
        "partition": constant(partition, pa.int32(), count),
        "offset": constant(offset, pa.int64(), count) if isinstance(offset, int) else pa.array(offset, pa.int64()),
        "row": pa.array(np.asarray(rows if indexes is None else indexes, np.int32)),
        "outcome": constant(outcome.value, EXCLUSION.field("outcome").type, count),
        "type": constant(str(kind), EXCLUSION.field("type").type, count),
        "event_time": pa.array(event_us).cast(EXCLUSION.field("event_time").type),
        "hour": pa.array(event_us - event_us % window_us).cast(EXCLUSION.field("hour").type),
        "requests": constant(int(kind == Kind.TOKEN_USAGE), pa.int64(), count),
    }
    columns = []
    absent = _absent(count)
    for place, field in enumerate(EXCLUSION):
        column = made.get(field.name)
        if column is None and field.name in taken.schema.names:
            column = taken.column(field.name)
        columns.append(absent[place] if column is None else column)
    return pa.RecordBatch.from_arrays(columns, schema=EXCLUSION)


def _absent(rows: int) -> tuple[Any, ...]:
    columns = absent_columns(Kind.EXCLUSION, rows)
    if columns and len(columns[0]) != rows:
        raise SchemaError("invalid_batch", f"{rows} excluded rows at once: a source record has fewer")
    return columns


def encode_exclusions(rows: Any) -> bytes:
    """The value of the Kafka record: an Arrow stream (content type and type go to `BatchHeaders`)."""
    return encode_batch(rows)


def decode_exclusions(data: bytes | memoryview) -> Any:
    """The exclusions of a Kafka value: a pyarrow.RecordBatch in the schema EXCLUSION. DecodeError."""
    return decode_batch(Kind.EXCLUSION, data)
