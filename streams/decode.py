"""From source records to rows in columns, control records, and what can't be used (DESIGN D1, D8).

An Arrow record is one batch of rows. Single JSON events that follow each other are gathered into a batch of the same
columns, so that everything after this page has one path.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schemas import cloudevents
from schemas.batch import decode_batch, rows_to_batch
from schemas.control import CONTROL_TYPES, ControlRecord, control_from_event
from schemas.errors import UNDECODABLE, DecodeError, SchemaError
from schemas.events import Event
from schemas.headers import ARROW_STREAM, REJECTED_JSON, BatchHeaders, header_texts, media_type, parse_batch_headers
from schemas.kinds import Kind
from schemas.source_rejects import decode_source_reject
from streams.columns import with_small_dictionaries
from streams.kernels import I32, I64
from streams.processor import SourceRecord

_GATHERED = 1_000
"""Single events in one batch at most."""
_LAST_LOG_TIME_US = 1 << 61
"""Where a broker keeps the producers' own timestamps, they may be anything."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one kind in canonical columns, with each row's place in the log and its record's log time in microseconds.

    `numbered` identifies the batch of an Arrow record; gathered single events have none, but the records they came in.
    """

    kind: str
    batch: pa.RecordBatch
    offsets: I64
    indexes: I32
    log_times_us: I64
    numbered: BatchHeaders | None
    singles: Sequence[SourceRecord] = ()


@dataclass(frozen=True, slots=True)
class Control:
    """One control record."""

    source: SourceRecord
    record: ControlRecord


@dataclass(frozen=True, slots=True)
class Unusable:
    """A record of which nothing can be used: it becomes a dead letter whole, and counts as one event unless a control."""

    record: SourceRecord
    source: str
    code: str
    reason: str
    control: bool = False


Segment = Rows | Control | Unusable


def segments(records: Iterable[SourceRecord], kinds: frozenset[str], *, control: bool = False) -> Iterator[Segment]:
    """Decode records in order. `kinds`: the event types that belong on this topic, and control records if `control`."""
    singles: list[tuple[SourceRecord, Event]] = []
    for record in records:
        decoded = _decode(record, kinds, control)
        if isinstance(decoded, Event):
            if singles and (singles[-1][1].kind != decoded.kind or len(singles) == _GATHERED):
                yield from _gather(singles)
                singles = []
            singles.append((record, decoded))
            continue
        if singles:
            yield from _gather(singles)
            singles = []
        yield decoded
    if singles:
        yield from _gather(singles)


def _decode(record: SourceRecord, kinds: frozenset[str], control: bool) -> Segment | Event:
    source, kind = "", ""
    try:
        texts = header_texts(record.headers)
        content = media_type(texts)
        if content == ARROW_STREAM:
            headers = parse_batch_headers(texts)
            source = headers.source
            _expect(headers.type, kinds)
            return _whole(record, headers, decode_batch(headers.type, record.value))
        if content == REJECTED_JSON:
            rejected = decode_source_reject(record.value)
            reason = f"{rejected.file}, line {rejected.line}: {rejected.reason}"
            return Unusable(record, f"trace/{rejected.file}", UNDECODABLE, reason)
        event = cloudevents.decode(record.value, record.headers)
        source, kind = event.source, event.type
        if control and kind in CONTROL_TYPES:
            return Control(record, control_from_event(event))
        _expect(kind, kinds)
        return cloudevents.to_event(event)
    except SchemaError as error:
        return Unusable(record, source, error.code, error.message, control and kind in CONTROL_TYPES)


def _expect(kind: str, kinds: frozenset[str]) -> None:
    if kind not in kinds:
        expected = ", ".join(sorted(kinds))
        raise DecodeError(f"type {kind[:80]!r} does not belong on this topic, expected {expected}", {"type": kind})


def _whole(record: SourceRecord, headers: BatchHeaders, batch: pa.RecordBatch) -> Rows:
    rows = batch.num_rows
    return Rows(
        headers.type,
        with_small_dictionaries(batch),
        np.full(rows, record.offset, dtype=np.int64),
        np.arange(rows, dtype=np.int32),
        np.full(rows, _log_time_us(record), dtype=np.int64),
        headers,
    )


def _gather(singles: list[tuple[SourceRecord, Event]]) -> Iterator[Rows | Unusable]:
    kind = str(singles[0][1].kind)
    try:
        batch = rows_to_batch(kind, [event for _, event in singles])
    except SchemaError as error:
        if len(singles) == 1:
            yield Unusable(singles[0][0], singles[0][1].source, error.code, error.message)
            return
        middle = len(singles) // 2
        yield from _gather(singles[:middle])
        yield from _gather(singles[middle:])
        return
    yield Rows(
        kind,
        batch,
        np.array([record.offset for record, _ in singles], dtype=np.int64),
        np.zeros(len(singles), dtype=np.int32),
        np.array([_log_time_us(record) for record, _ in singles], dtype=np.int64),
        None,
        [record for record, _ in singles],
    )


def _log_time_us(record: SourceRecord) -> int:
    return min(max(record.log_time_us, 0), _LAST_LOG_TIME_US)


USAGE_KINDS = frozenset({str(Kind.TOKEN_USAGE), str(Kind.GPU_USAGE)})
SAMPLE_KINDS = frozenset({str(Kind.GPU_UTILIZATION)})
