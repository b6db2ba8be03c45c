"""From source records to rows in columns, control records, and what can't be used (DESIGN D1, D8).

An Arrow record is one batch of rows. Single JSON events that follow each other are gathered into a batch of the same
columns, so that everything after this page has one path.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa

from schemas import cloudevents
from schemas.batch import decode_batch, rows_to_batch
from schemas.control import ControlRecord, decode_control
from schemas.errors import UNDECODABLE, DecodeError, SchemaError
from schemas.events import Event
from schemas.headers import (
    ARROW_STREAM,
    REJECTED_JSON,
    TYPE,
    BatchHeaders,
    header_texts,
    media_type,
    parse_batch_headers,
)
from schemas.kinds import Kind
from streams.kernels import I32, I64
from streams.processor import SourceRecord

_CONTROL_PREFIX = "io.tokenmill.control."


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one kind in canonical columns, with each row's place in the log and its record's log time in microseconds.

    `numbered` identifies the batch of an Arrow record; gathered single events have none.
    """

    kind: str
    batch: pa.RecordBatch
    offsets: I64
    indexes: I32
    log_times_us: I64
    numbered: BatchHeaders | None


@dataclass(frozen=True, slots=True)
class Control:
    """One control record."""

    source: SourceRecord
    record: ControlRecord


@dataclass(frozen=True, slots=True)
class Unusable:
    """A record of which nothing can be used: it counts as one event and becomes a dead letter whole."""

    record: SourceRecord
    source: str
    code: str
    reason: str


Segment = Rows | Control | Unusable


def segments(records: Iterable[SourceRecord], kinds: frozenset[str]) -> Iterator[Segment]:
    """Decode records in order. `kinds`: the event types that belong on this topic; others are refused."""
    singles: list[tuple[SourceRecord, Event]] = []
    for record in records:
        decoded = _decode(record, kinds)
        if isinstance(decoded, Event):
            if singles and singles[-1][1].kind != decoded.kind:
                yield _gather(singles)
                singles = []
            singles.append((record, decoded))
            continue
        if singles:
            yield _gather(singles)
            singles = []
        yield decoded
    if singles:
        yield _gather(singles)


def _decode(record: SourceRecord, kinds: frozenset[str]) -> Segment | Event:
    source = ""
    try:
        texts = header_texts(record.headers)
        content = media_type(texts)
        if content == ARROW_STREAM:
            headers = parse_batch_headers(texts)
            source = headers.source
            _expect(headers.type, kinds)
            return _whole(record, headers, decode_batch(headers.type, record.value))
        if content == REJECTED_JSON:
            return _rejected_at_source(record)
        if texts.get("ce_type", texts.get(TYPE, "")).startswith(_CONTROL_PREFIX):
            return Control(record, decode_control(record.value, record.headers))
        event = cloudevents.decode(record.value, record.headers)
        source = event.source
        _expect(event.type, kinds)
        return cloudevents.to_event(event)
    except SchemaError as error:
        return Unusable(record, source, error.code, error.message)


def _expect(kind: str, kinds: frozenset[str]) -> None:
    if kind not in kinds:
        expected = ", ".join(sorted(kinds))
        raise DecodeError(f"type {kind[:80]!r} does not belong on this topic, expected {expected}", {"type": kind})


def _whole(record: SourceRecord, headers: BatchHeaders, batch: pa.RecordBatch) -> Rows:
    rows = batch.num_rows
    return Rows(
        headers.type,
        batch,
        np.full(rows, record.offset, dtype=np.int64),
        np.arange(rows, dtype=np.int32),
        np.full(rows, record.log_time_us, dtype=np.int64),
        headers,
    )


def _gather(singles: list[tuple[SourceRecord, Event]]) -> Rows:
    kind = str(singles[0][1].kind)
    return Rows(
        kind,
        rows_to_batch(kind, [event for _, event in singles]),
        np.array([record.offset for record, _ in singles], dtype=np.int64),
        np.zeros(len(singles), dtype=np.int32),
        np.array([record.log_time_us for record, _ in singles], dtype=np.int64),
        None,
    )


def _rejected_at_source(record: SourceRecord) -> Unusable:
    """A row that its producer could not read; the producer says which and why."""
    try:
        content = orjson.loads(record.value)
        file, line, reason = str(content["file"]), int(content["line"]), str(content["reason"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return Unusable(
            record, "", UNDECODABLE, "a record rejected at its source, but not as {file, line, reason, text}"
        )
    return Unusable(record, f"trace/{file}", UNDECODABLE, f"{file}, line {line}: {reason}")


USAGE_KINDS = frozenset({str(Kind.TOKEN_USAGE), str(Kind.GPU_USAGE)})
SAMPLE_KINDS = frozenset({str(Kind.GPU_UTILIZATION)})
