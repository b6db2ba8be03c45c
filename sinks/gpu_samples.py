"""gpu.samples.v1 as rows of gpu_samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from schemas.kinds import Kind
from sinks.decoding import DecodedRecord, decode_record
from sinks.event_rows import event_rows
from sinks.records import LogId, SourceRecord
from sinks.tables import GPU_SAMPLES, Table

KINDS = frozenset({Kind.GPU_UTILIZATION.value})
"""The kinds of events that the topic may hold."""


class GpuSampleSink:
    """Builds gpu_samples; what cannot be read is left to the dead letters."""

    tables: tuple[Table, ...] = (GPU_SAMPLES,)
    compacted = False

    def decode(self, record: SourceRecord) -> DecodedRecord:
        """Take one record apart."""
        return decode_record(record, KINDS)

    def build(self, items: Sequence[DecodedRecord], log_id: LogId) -> Mapping[Table, pa.Table]:
        """Rows of the one table."""
        rows = event_rows(items, Kind.GPU_UTILIZATION, log_id)
        return {} if rows is None else {GPU_SAMPLES: rows}

    def row_counts(self, item: DecodedRecord) -> Mapping[Table, int]:
        """Rows of one record."""
        return {} if item.problem else {GPU_SAMPLES: item.offered}
