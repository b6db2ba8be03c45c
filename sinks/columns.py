"""Columns of coordinates: where each row of an insert comes from, made for whole batches at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sinks.records import LogId, SourceRecord

MILLISECONDS: Final = pa.timestamp("ms", "UTC")
MICROSECONDS: Final = pa.timestamp("us", "UTC")
QUANTITY: Final = pa.decimal128(38, 9)
AMOUNT: Final = pa.decimal128(38, 12)
TEXT_MAP: Final = pa.map_(pa.string(), pa.string())


def constant(value: str, rows: int) -> pa.DictionaryArray:
    """One text in every row."""
    indices = pa.array(np.zeros(rows, dtype=np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([value], pa.string()))


def repeated_text(values: Sequence[str], counts: npt.NDArray[np.int64]) -> pa.DictionaryArray:
    """Each text as often as its count says."""
    encoded = pa.array(values, pa.string()).dictionary_encode()
    indices = np.repeat(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(indices), encoded.dictionary)


def repeated(values: Sequence[int], counts: npt.NDArray[np.int64]) -> pa.Array:
    """Each number (uint64) as often as its count says."""
    return pa.array(np.repeat(np.array(values, dtype=np.uint64), counts))


def row_numbers(counts: npt.NDArray[np.int64]) -> pa.Array:
    """0, 1, ... for the rows of each record (uint32)."""
    starts = np.cumsum(counts) - counts
    total = int(counts.sum())
    return pa.array((np.arange(total, dtype=np.int64) - np.repeat(starts, counts)).astype(np.uint32))


def coordinates(
    records: Sequence[SourceRecord], log_id: LogId, counts: npt.NDArray[np.int64] | None = None
) -> dict[str, pa.Array]:
    """The columns log_id, topic, kafka_partition, kafka_offset and appended_at; all records are of one partition.

    With `counts`, record i stands for counts[i] rows and the column kafka_row numbers them.
    """
    each = np.ones(len(records), dtype=np.int64) if counts is None else counts
    total = int(each.sum())
    first = records[0]
    appended = np.repeat(np.array([record.timestamp_ms for record in records], dtype=np.int64), each)
    columns = {
        "log_id": constant(str(log_id), total),
        "topic": constant(first.topic, total),
        "kafka_partition": pa.array(np.full(total, first.partition, dtype=np.uint32)),
        "kafka_offset": repeated([record.offset for record in records], each),
        "appended_at": pa.array(appended).cast(MILLISECONDS),
    }
    if counts is not None:
        columns["kafka_row"] = row_numbers(each)
    return columns


def log_epoch(log_id: LogId, rows: int) -> pa.Array:
    """The registered epoch of the log in every row (uint32)."""
    return pa.array(np.full(rows, log_id.epoch, dtype=np.uint32))


def one_chunk(columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    """A table whose every column is one chunk with one dictionary: ClickHouse's Arrow reader needs the latter.

    Columns without any value are left out: ClickHouse fills in the column's default, as it does for each null.
    """
    said = {name: column for name, column in columns.items() if column.null_count < len(column)}
    return pa.table(said).unify_dictionaries().combine_chunks()
