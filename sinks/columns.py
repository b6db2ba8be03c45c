"""Columns of coordinates: where each row of an insert comes from, made for whole batches at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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


NULLABLE: Final = frozenset(
    {
        *("http_status", "first_token_at"),
        *("gpu_util_ratio", "engine_active_ratio", "sm_active_ratio", "tensor_active_ratio"),
        *("power_w", "energy_mj_counter", "fb_used_mib", "fb_total_mib"),
        *("amount", "card_version", "previous_revision", "previous_quantity", "previous_amount"),
        *("published_at", "event_time", "hour"),
    }
)
"""Columns in which "unknown" differs from zero and is NULL in ClickHouse; elsewhere a missing value is '', 0 or {}."""


def one_chunk(columns: Mapping[str, pa.Array | pa.ChunkedArray], nullable: Collection[str] = NULLABLE) -> pa.Table:
    """A table whose every column is one chunk with one dictionary: ClickHouse's Arrow reader needs the latter.

    Columns without any value are left out: ClickHouse fills in the column's default. In columns that are not
    `nullable` a null becomes that default here.
    """
    said = {name: column for name, column in columns.items() if column.null_count < len(column)}
    table = pa.table(said).unify_dictionaries().combine_chunks()
    for place, name in enumerate(table.schema.names):
        column = table.column(place)
        if column.null_count and name not in nullable:
            table = table.set_column(place, name, _without_nulls(column.chunk(0)))
    return table


def _without_nulls(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        words = pa.concat_arrays([column.dictionary, pa.array([""], kind.value_type)])
        indices = column.indices.fill_null(len(column.dictionary))
        return pa.DictionaryArray.from_arrays(indices.cast(pa.int32()), words)
    if pa.types.is_map(kind):
        offsets = column.offsets.to_numpy()
        if np.diff(offsets)[column.is_null().to_numpy(zero_copy_only=False)].any():
            return pa.array([pairs or [] for pairs in column.to_pylist()], kind)  # a null that hides entries: rare
        return pa.MapArray.from_arrays(column.offsets, column.keys, column.items)
    if pa.types.is_timestamp(kind):
        return column.fill_null(pa.scalar(0, pa.int64()).cast(kind))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return column.fill_null("" if pa.types.is_string(kind) else b"")
    if pa.types.is_boolean(kind):
        return column.fill_null(False)
    return column.fill_null(pa.scalar(0, pa.int64()).cast(kind))
