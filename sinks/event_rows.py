"""Batches and single events of one kind as rows of their raw table: the columns of the event, then the coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from schemas.arrow import schema_for
from schemas.batch import rows_to_batch
from sinks.columns import coordinates, log_epoch, one_chunk, repeated, repeated_text
from sinks.decoding import DecodedRecord
from sinks.records import LogId


def event_rows(items: Sequence[DecodedRecord], kind: str, log_id: LogId) -> pa.Table | None:
    """Rows of all batches and events of a kind, in the order of the log but batches first; None without any.

    No Python object per row of a batch; single events, which come as objects anyway, are gathered into one batch.
    """
    batches = [item for item in items if item.batch is not None and item.kind == kind and item.batch.num_rows]
    singles = [item for item in items if item.event is not None and item.kind == kind]
    if not batches and not singles:
        return None
    parts = [item.batch for item in batches]
    if singles:
        parts.append(rows_to_batch(kind, [item.event for item in singles if item.event is not None]))
    ordered = [*batches, *singles]
    counts = np.array([item.rows for item in ordered], dtype=np.int64)
    events = pa.Table.from_batches(parts, schema=schema_for(kind))
    numbered = [item.headers for item in ordered]
    columns: dict[str, pa.Array | pa.ChunkedArray] = dict(zip(events.schema.names, events.columns, strict=True))
    columns["batch_source"] = repeated_text([h.source if h is not None else "" for h in numbered], counts)
    columns["batch_epoch"] = repeated([h.epoch if h is not None else 0 for h in numbered], counts)
    columns["batch_number"] = repeated([h.number if h is not None else 0 for h in numbered], counts)
    columns["log_epoch"] = log_epoch(log_id, events.num_rows)
    columns.update(coordinates([item.record for item in ordered], log_id, counts))
    return one_chunk(columns)
