"""usage.excluded.v1 as rows of exclusions: rows that were read and not counted, with their place in the source log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from schemas.arrow import EXCLUSION
from schemas.errors import SchemaError
from schemas.exclusions import decode_exclusions
from sinks.columns import coordinates, one_chunk
from sinks.decoded_json import ReadRecord, unreadable_rows
from sinks.records import LogId, SourceRecord
from sinks.tables import EXCLUSIONS, UNREADABLE, Table

_RENAMED: Final = {
    "log_epoch": "source_log_epoch",
    "partition": "source_partition",
    "offset": "source_offset",
    "row": "source_row",
}


class ExclusionSink:
    """Builds exclusions."""

    tables: tuple[Table, ...] = (EXCLUSIONS, UNREADABLE)
    compacted = False

    def decode(self, record: SourceRecord) -> ReadRecord[pa.RecordBatch]:
        """Read one batch of exclusions; a problem where it is none."""
        try:
            batch = decode_exclusions(record.value or b"")
        except SchemaError as error:
            return ReadRecord(record, None, error.message)
        return ReadRecord(record, batch, rows=max(1, batch.num_rows))

    def build(self, items: Sequence[ReadRecord[pa.RecordBatch]], log_id: LogId) -> Mapping[Table, pa.Table]:
        """Rows in the order of the log, no Python object per row."""
        built: dict[Table, pa.Table] = {}
        bad = unreadable_rows(items, log_id)
        if bad is not None:
            built[UNREADABLE] = bad
        good = [(item.content, item.record) for item in items if item.content is not None and item.content.num_rows]
        if good:
            rows = pa.Table.from_batches([batch for batch, _ in good], schema=EXCLUSION)
            counts = np.array([batch.num_rows for batch, _ in good], dtype=np.int64)
            columns = {
                _RENAMED.get(name, name): column for name, column in zip(rows.schema.names, rows.columns, strict=True)
            }
            built[EXCLUSIONS] = one_chunk({**columns, **coordinates([record for _, record in good], log_id, counts)})
        return built

    def row_counts(self, item: ReadRecord[pa.RecordBatch]) -> Mapping[Table, int]:
        """Rows of one record."""
        return {UNREADABLE: 1} if item.content is None else {EXCLUSIONS: int(item.content.num_rows)}
