"""Tables and rows that several tests use."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal

import pyarrow as pa

COLUMNS = (
    "id UInt64, model LowCardinality(String), at DateTime64(6, 'UTC'), amount Decimal(38, 12), "
    "dimensions Map(LowCardinality(String), String), tags Array(String), note Nullable(String)"
)


def create(name: str, *, window: int = 1000, partition: str = "toYYYYMM(at)") -> str:
    """The statement that makes a table for `rows`, with a deduplication window (0: none)."""
    settings = f" SETTINGS non_replicated_deduplication_window = {window}" if window else ""
    return f"CREATE TABLE {name} ({COLUMNS}) ENGINE = MergeTree PARTITION BY {partition} ORDER BY id{settings}"


def rows(count: int, *, first: int = 0, seconds_apart: int = 1) -> pa.Table:
    """Rows with every type that the tables of the project have, `first` is the first id."""
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    ids = range(first, first + count)
    step = dt.timedelta(seconds=seconds_apart, microseconds=1)
    pairs = pa.map_(pa.string(), pa.string())
    return pa.table(
        {
            "id": pa.array(ids, pa.uint64()),
            "model": pa.array([f"model-{n % 8}" for n in ids]).dictionary_encode(),
            "at": pa.array([start + n * step for n in range(count)], pa.timestamp("us", "UTC")),
            "amount": pa.array([Decimal(n).scaleb(-12) for n in ids], pa.decimal128(38, 12)),
            "dimensions": pa.array([[("region", f"r{n % 3}")] for n in ids], pairs),
            "tags": pa.array([["a", str(n)] for n in ids]),
            "note": pa.array([None if n % 2 else "it's\n" for n in ids]),
        }
    )


def arrow_stream(table: pa.Table, *, rows_per_batch: int | None = None, codec: str | None = None) -> bytes:
    """The table as an Arrow IPC stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table, max_chunksize=rows_per_batch)
    return sink.getvalue()
