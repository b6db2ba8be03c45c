"""usage.events.v1 as rows: token usage, GPU usage and control records, each into its own table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from schemas.kinds import Kind
from sinks.control import control_rows
from sinks.decoding import DecodedRecord, decode_record
from sinks.event_rows import event_rows
from sinks.records import LogId, SourceRecord
from sinks.tables import CONTROL_RECORDS, GPU_USAGE_RAW, USAGE_RAW, Table

KINDS = frozenset({Kind.TOKEN_USAGE.value, Kind.GPU_USAGE.value})
"""The kinds of events that the topic may hold."""


class UsageSink:
    """Builds usage_raw, gpu_usage_raw and control_records; what cannot be read is left to the dead letters."""

    tables: tuple[Table, ...] = (USAGE_RAW, GPU_USAGE_RAW, CONTROL_RECORDS)
    compacted = False

    def decode(self, record: SourceRecord) -> DecodedRecord:
        """Take one record apart."""
        return decode_record(record, KINDS, control=True)

    def build(self, items: Sequence[DecodedRecord], log_id: LogId) -> Mapping[Table, pa.Table]:
        """Rows per table."""
        built = {
            USAGE_RAW: event_rows(items, Kind.TOKEN_USAGE, log_id),
            GPU_USAGE_RAW: event_rows(items, Kind.GPU_USAGE, log_id),
            CONTROL_RECORDS: control_rows(items, log_id),
        }
        return {table: rows for table, rows in built.items() if rows is not None}

    def row_counts(self, item: DecodedRecord) -> Mapping[Table, int]:
        """Rows of one record per table."""
        if item.control is not None:
            return {CONTROL_RECORDS: 1}
        if item.problem:
            return {}
        return {USAGE_RAW if item.kind == Kind.TOKEN_USAGE else GPU_USAGE_RAW: item.offered}
