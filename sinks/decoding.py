"""Taking the records of the two ingest topics apart, by the same codecs as the workers use.

A record is a batch of events, one event, a control record, or it cannot be read. What cannot be read gives no rows
here: the worker writes it to the dead letters, with the reason.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa

from schemas.batch import decode_batch
from schemas.cloudevents import CloudEvent, decode, to_event
from schemas.control import CONTROL_TYPES
from schemas.errors import SchemaError
from schemas.events import GpuUsage, GpuUtilization, TokenUsage
from schemas.headers import ARROW_STREAM, REJECTED_JSON, BatchHeaders, header_texts, media_type, parse_batch_headers
from sinks.records import SourceRecord


@dataclass(frozen=True, slots=True)
class DecodedRecord:
    """One record taken apart; exactly one of `batch`, `event`, `control` and `problem` is set.

    `kind` is the CloudEvents type, empty where there is none. `headers` belong to a batch.
    """

    record: SourceRecord
    kind: str = ""
    batch: pa.RecordBatch | None = None
    headers: BatchHeaders | None = None
    event: TokenUsage | GpuUsage | GpuUtilization | None = None
    control: CloudEvent | None = None
    problem: str = ""

    @property
    def rows(self) -> int:
        """Rows it gives; at least 1, so that any number of records is bounded."""
        return max(1, self.batch.num_rows) if self.batch is not None else 1

    @property
    def offered(self) -> int:
        """Events that the record offers: the rows of a batch, else 1; a control record offers none."""
        if self.batch is not None:
            return int(self.batch.num_rows)
        return 0 if self.control is not None else 1


def decode_record(record: SourceRecord, kinds: Collection[str], *, control: bool = False) -> DecodedRecord:
    """Take a record apart. Only events of the given kinds, and control records if `control`, can be read."""
    try:
        texts = header_texts(record.headers)
        content_type = media_type(texts)
        if content_type == ARROW_STREAM:
            headers = parse_batch_headers(texts)
            _expect(headers.type, kinds)
            batch = decode_batch(headers.type, record.value or b"")
            return DecodedRecord(record, headers.type, batch=batch, headers=headers)
        if content_type == REJECTED_JSON:
            return DecodedRecord(record, problem="rejected by its source")
        event = decode(record.value, record.headers)
        if control and event.type in CONTROL_TYPES:
            return DecodedRecord(record, event.type, control=event)
        _expect(event.type, kinds)
        return DecodedRecord(record, event.type, event=to_event(event))
    except SchemaError as error:
        return DecodedRecord(record, problem=error.message)


def _expect(kind: str, kinds: Collection[str]) -> None:
    if kind not in kinds:
        raise SchemaError("invalid_type", f"type {kind[:80]!r} does not belong into this topic")
