"""What was read but not counted, on its way out: dead letters, exclusions, rerouted rows (DESIGN D2, D8).

Collecting is cheap and happens while reading; encoding happens when a flush writes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from infra.config import Settings
from infra.topics import RegisteredLog
from schemas.arrow import EXCLUSION, schema_for
from schemas.batch import encode_batch
from schemas.dead_letters import Coordinates, dead_letter_headers, encode_rejected_rows, encode_undecodable
from schemas.events import EVENT_TIME_COLUMN
from schemas.exclusions import Outcome, encode_exclusions, exclusion_rows
from schemas.headers import BatchHeaders, Numbering
from schemas.kinds import Kind
from streams.decode import Rows, Unusable
from streams.kernels import I32, I64
from streams.sizes import MAX_VALUE_BYTES, clipped, encoded_parts
from streams.transactions import OutgoingRecord

_HEAVY_ROWS = 100_000
_HEAVY_BYTES = 32 * 1024 * 1024
_LARGE_BATCH_BYTES = 4 * 1024 * 1024
_EXCLUSIONS_PER_RECORD = 5_000
_KEPT_KEY_BYTES = 4 * 1024
_KEPT_HEADER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Place:
    """The chosen rows of one source record: its offset, its rows as a batch, and their indexes in that batch."""

    offset: int
    batch: pa.RecordBatch
    indexes: I64
    positions: I64

    def part(self, first: int, end: int | None) -> "_Place":
        """Some of the rows."""
        return _Place(self.offset, self.batch, self.indexes[first:end], self.positions[first:end])


class Rejects:
    """Rows and records of one partition that were not counted since the last flush."""

    def __init__(self, settings: Settings, source: RegisteredLog, partition: int) -> None:
        """`source`: the log that is read; dead letters and exclusions name their place in it."""
        self._settings = settings
        self._source = source
        self._partition = partition
        self._unusable: list[Unusable] = []
        self._rows: list[tuple[Rows, Mapping[int, tuple[str, str]]]] = []
        self._excluded: list[tuple[Rows, I64, Outcome]] = []
        self._rerouted: list[tuple[Rows, I64, I32]] = []
        self._pending_rows = 0
        self._pending_bytes = 0
        self.dead_letters: Counter[str] = Counter()
        """How many rows and whole records by code."""
        self.exclusions: Counter[str] = Counter()
        """How many rows by outcome."""

    @property
    def heavy(self) -> bool:
        """Whether so much has come together that it should be written now."""
        return self._pending_rows > _HEAVY_ROWS or self._pending_bytes > _HEAVY_BYTES

    def add_unusable(self, unusable: Unusable) -> None:
        """A whole record becomes a dead letter."""
        self._unusable.append(unusable)
        self.dead_letters[unusable.code] += 1
        self._pending_bytes += len(unusable.record.value)

    def add_rows(self, rows: Rows, reasons: Mapping[int, tuple[str, str]]) -> None:
        """Single rows become dead letters, each with its code and reason."""
        self._rows.append((rows, reasons))
        self.dead_letters.update(code for code, _ in reasons.values())
        self._weigh(rows, len(reasons))

    def add_excluded(self, rows: Rows, chosen: I64, outcome: Outcome) -> None:
        """Rows were read and not counted here, for a reason that is no fault of theirs."""
        self._excluded.append((rows, chosen, outcome))
        self.exclusions[outcome] += len(chosen)
        self._weigh(rows, len(chosen))

    def add_rerouted(self, rows: Rows, chosen: I64, targets: I32) -> None:
        """Rows go to the partition they belong to (`targets` by row)."""
        self._rerouted.append((rows, chosen, targets))
        self._weigh(rows, len(chosen))

    def _weigh(self, rows: Rows, chosen: int) -> None:
        self._pending_rows += chosen
        # The whole batch is held until it is written, however few of its rows are wanted. The columns that a sender left
        # out share their memory, so only batches far beyond them are weighed.
        held = rows.batch.get_total_buffer_size() + sum(len(record.value) for record in rows.singles)
        self._pending_bytes += held if held > _LARGE_BATCH_BYTES else 0

    def outgoing(self) -> Iterator[OutgoingRecord]:
        """The records to write, in the order of the log within each topic."""
        for unusable in self._unusable:
            yield self._undecodable(unusable)
        for rows, reasons in self._rows:
            for place in _places(rows, np.array(sorted(reasons), dtype=np.int64)):
                yield from self._dead_letters(rows, place, reasons)
        yield from self._exclusions()
        for rows, chosen, targets in self._rerouted:
            if rows.numbered is None:
                yield from self._forwards(rows, chosen, targets)
            elif len(chosen):
                yield from self._reroutes(rows, chosen, targets)

    def _undecodable(self, unusable: Unusable) -> OutgoingRecord:
        record = unusable.record
        value, headers = encode_undecodable(record.value)
        place = Coordinates(self._source.topic, self._partition, record.offset)
        original = _bounded(record.headers)
        headers = [*dead_letter_headers(place, [unusable.code], unusable.reason, original=original), *headers]
        key = record.key if record.key is not None and len(record.key) <= _KEPT_KEY_BYTES else None
        return OutgoingRecord(self._settings.topics.usage_dlq, self._partition, key, value, headers)

    def _dead_letters(
        self, rows: Rows, place: _Place, reasons: Mapping[int, tuple[str, str]]
    ) -> Iterator[OutgoingRecord]:
        """One record; more where the rows are too large for one."""
        codes, texts = zip(*(reasons[position] for position in place.positions.tolist()), strict=True)
        value = encode_rejected_rows(rows.kind, place.batch, place.indexes, codes, texts)
        if len(value) > MAX_VALUE_BYTES:
            middle = len(place.indexes) // 2
            if middle:
                yield from self._dead_letters(rows, place.part(0, middle), reasons)
                yield from self._dead_letters(rows, place.part(middle, None), reasons)
                return
            value = encode_rejected_rows(rows.kind, _clipped_at(place), place.indexes, codes, texts)
        coordinates = Coordinates(self._source.topic, self._partition, place.offset)
        original = rows.numbered.encode() if rows.numbered else ()
        headers = dead_letter_headers(coordinates, codes, texts[0], kind=rows.kind, original=original)
        yield OutgoingRecord(self._settings.topics.usage_dlq, self._partition, None, value, headers)

    def _exclusions(self) -> Iterator[OutgoingRecord]:
        pending: list[pa.RecordBatch] = []
        number = 0
        for rows, chosen, outcome in self._excluded:
            if not len(chosen):
                continue
            pending.append(self._excluded_rows(rows, chosen, outcome))
            number = int(rows.offsets[chosen[-1]])
            if sum(batch.num_rows for batch in pending) >= _EXCLUSIONS_PER_RECORD:
                yield from self._exclusion_records(pending, number)
                pending = []
        if pending:
            yield from self._exclusion_records(pending, number)

    def _excluded_rows(self, rows: Rows, chosen: I64, outcome: Outcome) -> pa.RecordBatch:
        return exclusion_rows(
            rows.kind,
            rows.batch.select(_excluded_columns(rows.kind)),
            chosen,
            outcome,
            log_epoch=self._source.epoch,
            partition=self._partition,
            offset=rows.offsets[chosen],
            indexes=rows.indexes[chosen],
            window_us=self._settings.window_minutes * 60_000_000,
        )

    def _exclusion_records(self, batches: list[pa.RecordBatch], number: int) -> Iterator[OutgoingRecord]:
        rows = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]
        headers = BatchHeaders(
            str(Kind.EXCLUSION), f"{self._source.topic}/{self._partition}", self._source.epoch, number, Numbering.OFFSET
        ).encode()
        for value in encoded_parts(rows, _encode_exclusions):
            yield OutgoingRecord(self._settings.topics.usage_excluded, self._partition, None, value, headers)

    def _forwards(self, rows: Rows, chosen: I64, targets: I32) -> Iterator[OutgoingRecord]:
        """Single events go on as they came."""
        for position in chosen.tolist():
            record = rows.singles[position]
            headers = [(name, value) for name, value in record.headers.items() if value is not None]
            yield OutgoingRecord(self._source.topic, int(targets[position]), record.key, record.value, headers)

    def _reroutes(self, rows: Rows, chosen: I64, targets: I32) -> Iterator[OutgoingRecord]:
        """The rows of one record: one record for each partition they belong to."""
        wanted, offset = targets[chosen], int(rows.offsets[chosen[0]])
        for target in np.unique(wanted).tolist():
            batch = rows.batch.take(pa.array(chosen[wanted == target]))
            for part, value in enumerate(encoded_parts(batch, encode_batch)):
                # Each part is a source of its own: a number may come only once, or the second part would be a duplicate.
                source = f"reroute/{self._partition}/{part}" if part else f"reroute/{self._partition}"
                headers = BatchHeaders(rows.kind, source, self._source.epoch, offset, Numbering.OFFSET).encode()
                yield OutgoingRecord(self._source.topic, int(target), None, value, headers)


def _places(rows: Rows, chosen: I64) -> Iterator[_Place]:
    """The chosen rows by source record. Rows of one Arrow record stay together; gathered events are records of their own."""
    if rows.numbered is not None:
        if len(chosen):
            yield _Place(int(rows.offsets[0]), rows.batch, chosen, chosen)
        return
    for position in chosen.tolist():
        only = np.zeros(1, dtype=np.int64)
        yield _Place(int(rows.offsets[position]), rows.batch.slice(position, 1), only, np.array([position]))


def _clipped_at(place: _Place) -> pa.RecordBatch:
    """The one row of a place with short texts, at its index; what comes before it is of no interest."""
    row = int(place.indexes[0])
    return clipped(place.batch.slice(row, 1)).take(pa.array([None] * row + [0], pa.int64()))


def _encode_exclusions(rows: pa.RecordBatch) -> bytes:
    value = encode_exclusions(rows)
    # Rows of a repeated batch were not validated.
    return encode_exclusions(clipped(rows)) if rows.num_rows == 1 and len(value) > MAX_VALUE_BYTES else value


@lru_cache(maxsize=8)
def _excluded_columns(kind: str) -> list[str]:
    """The columns of a kind that an exclusion keeps; the others need not be copied."""
    names = {*EXCLUSION.names, EVENT_TIME_COLUMN[kind]}
    return [name for name in schema_for(kind).names if name in names]


def _bounded(headers: Mapping[str, bytes]) -> dict[str, bytes]:
    """The headers of a record as far as they fit beside what a dead letter adds to each."""
    kept: dict[str, bytes] = {}
    size = 0
    for name, value in headers.items():
        size += len(name) + len(value or b"") + 64
        if size > _KEPT_HEADER_BYTES:
            break
        kept[name] = value
    return kept
