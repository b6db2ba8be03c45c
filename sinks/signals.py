"""usage.signals.v1 as rows of signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import orjson
import pyarrow as pa

from schemas.errors import SchemaError
from schemas.signals import PolicySignal, decode_signal
from sinks.columns import MICROSECONDS, coordinates, one_chunk
from sinks.decoded_json import ReadRecord, unreadable_rows
from sinks.records import LogId, SourceRecord
from sinks.tables import SIGNALS, UNREADABLE, Table

_DICTIONARY: Final = pa.dictionary(pa.int32(), pa.string())


class SignalSink:
    """Builds signals: every signal that was ever said."""

    tables: tuple[Table, ...] = (SIGNALS, UNREADABLE)
    compacted = True

    def decode(self, record: SourceRecord) -> ReadRecord[PolicySignal]:
        """Read one signal; a problem where it is none."""
        try:
            return ReadRecord(record, decode_signal(record.value or b""))
        except SchemaError as error:
            return ReadRecord(record, None, error.message)

    def build(self, items: Sequence[ReadRecord[PolicySignal]], log_id: LogId) -> Mapping[Table, pa.Table]:
        """Rows in the order of the log."""
        built: dict[Table, pa.Table] = {}
        bad = unreadable_rows(items, log_id)
        if bad is not None:
            built[UNREADABLE] = bad
        good = [(item.content, item.record) for item in items if item.content is not None]
        if good:
            signals = [signal for signal, _ in good]
            data = [orjson.dumps(signal.data, option=orjson.OPT_SORT_KEYS).decode() for signal in signals]
            built[SIGNALS] = one_chunk(
                {
                    "tenant_id": pa.array([signal.tenant_id for signal in signals], _DICTIONARY),
                    "policy": pa.array([signal.policy for signal in signals], pa.string()),
                    "kind": pa.array([signal.kind for signal in signals], _DICTIONARY),
                    "time": pa.array([signal.time for signal in signals], MICROSECONDS),
                    "revision": pa.array([signal.revision for signal in signals], pa.uint64()),
                    "data": pa.array(data, pa.string()),
                    **coordinates([record for _, record in good], log_id),
                }
            )
        return built

    def row_counts(self, item: ReadRecord[PolicySignal]) -> Mapping[Table, int]:
        """Rows of one record."""
        return {UNREADABLE: 1} if item.content is None else {SIGNALS: 1}
