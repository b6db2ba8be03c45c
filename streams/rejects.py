"""What was read but not counted, on its way out: dead letters, exclusions, rerouted rows (DESIGN D2, D8).

Collecting is cheap and happens while reading; encoding happens when a flush writes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from infra.config import Settings
from infra.topics import RegisteredLog
from schemas.batch import encode_batch
from schemas.dead_letters import Coordinates, dead_letter_headers, encode_rejected_rows, encode_undecodable
from schemas.exclusions import Outcome, encode_exclusions, exclusion_rows
from schemas.headers import BatchHeaders, Numbering
from schemas.kinds import Kind
from streams.decode import Rows, Unusable
from streams.kernels import I32, I64
from streams.transactions import OutgoingRecord

_HEAVY_ROWS = 100_000
_HEAVY_BYTES = 32 * 1024 * 1024
_EXCLUSIONS_PER_RECORD = 5_000


@dataclass(frozen=True, slots=True)
class _Place:
    """The chosen rows of one source record: its offset, its rows as a batch, and their indexes in that batch."""

    offset: int
    batch: pa.RecordBatch
    indexes: I64
    positions: I64


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

    @property
    def heavy(self) -> bool:
        """Whether so much has come together that it should be written now."""
        return self._pending_rows > _HEAVY_ROWS or self._pending_bytes > _HEAVY_BYTES

    def add_unusable(self, unusable: Unusable) -> None:
        """A whole record becomes a dead letter."""
        self._unusable.append(unusable)
        self._pending_bytes += len(unusable.record.value)

    def add_rows(self, rows: Rows, reasons: Mapping[int, tuple[str, str]]) -> None:
        """Single rows become dead letters, each with its code and reason."""
        self._rows.append((rows, reasons))
        self._pending_rows += len(reasons)

    def add_excluded(self, rows: Rows, chosen: I64, outcome: Outcome) -> None:
        """Rows were read and not counted here, for a reason that is no fault of theirs."""
        self._excluded.append((rows, chosen, outcome))
        self._pending_rows += len(chosen)

    def add_rerouted(self, rows: Rows, chosen: I64, targets: I32) -> None:
        """Rows go to the partition they belong to (`targets` by row)."""
        self._rerouted.append((rows, chosen, targets))

    def outgoing(self) -> Iterator[OutgoingRecord]:
        """The records to write, in the order of the log within each topic."""
        for unusable in self._unusable:
            yield self._undecodable(unusable)
        for rows, reasons in self._rows:
            for place in _places(rows, np.array(sorted(reasons), dtype=np.int64)):
                yield self._dead_letter(rows, place, reasons)
        yield from self._exclusions()
        for rows, chosen, targets in self._rerouted:
            for place in _places(rows, chosen):
                yield from self._reroutes(rows, place, targets)

    def _undecodable(self, unusable: Unusable) -> OutgoingRecord:
        record = unusable.record
        value, headers = encode_undecodable(record.value)
        place = Coordinates(self._source.topic, self._partition, record.offset)
        headers = [*dead_letter_headers(place, [unusable.code], unusable.reason, original=record.headers), *headers]
        return OutgoingRecord(self._settings.topics.usage_dlq, self._partition, record.key, value, headers)

    def _dead_letter(self, rows: Rows, place: _Place, reasons: Mapping[int, tuple[str, str]]) -> OutgoingRecord:
        codes, texts = zip(*(reasons[position] for position in place.positions.tolist()), strict=True)
        value = encode_rejected_rows(rows.kind, place.batch, place.indexes, codes, texts)
        coordinates = Coordinates(self._source.topic, self._partition, place.offset)
        original = rows.numbered.encode() if rows.numbered else ()
        headers = dead_letter_headers(coordinates, codes, texts[0], kind=rows.kind, original=original)
        return OutgoingRecord(self._settings.topics.usage_dlq, self._partition, None, value, headers)

    def _exclusions(self) -> Iterator[OutgoingRecord]:
        pending: list[pa.RecordBatch] = []
        number = 0
        for rows, chosen, outcome in self._excluded:
            for place in _places(rows, chosen):
                pending.append(self._excluded_rows(rows, place, outcome))
                number = place.offset
                if sum(batch.num_rows for batch in pending) >= _EXCLUSIONS_PER_RECORD:
                    yield self._exclusion_record(pending, number)
                    pending = []
        if pending:
            yield self._exclusion_record(pending, number)

    def _excluded_rows(self, rows: Rows, place: _Place, outcome: Outcome) -> pa.RecordBatch:
        return exclusion_rows(
            rows.kind,
            place.batch,
            place.indexes,
            outcome,
            log_epoch=self._source.epoch,
            partition=self._partition,
            offset=place.offset,
            window_us=self._settings.window_minutes * 60_000_000,
        )

    def _exclusion_record(self, batches: list[pa.RecordBatch], number: int) -> OutgoingRecord:
        rows = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]
        headers = BatchHeaders(
            str(Kind.EXCLUSION), f"{self._source.topic}/{self._partition}", self._source.epoch, number, Numbering.OFFSET
        ).encode()
        return OutgoingRecord(
            self._settings.topics.usage_excluded, self._partition, None, encode_exclusions(rows), headers
        )

    def _reroutes(self, rows: Rows, place: _Place, targets: I32) -> Iterator[OutgoingRecord]:
        wanted = targets[place.positions]
        headers = BatchHeaders(
            rows.kind, f"reroute/{self._partition}", self._source.epoch, place.offset, Numbering.OFFSET
        ).encode()
        for target in np.unique(wanted).tolist():
            batch = place.batch.take(pa.array(place.indexes[wanted == target]))
            yield OutgoingRecord(self._source.topic, int(target), None, encode_batch(batch), headers)


def _places(rows: Rows, chosen: I64) -> Iterator[_Place]:
    """The chosen rows by source record. Rows of one Arrow record stay together; gathered events are records of their own."""
    if rows.numbered is not None:
        if len(chosen):
            yield _Place(int(rows.offsets[0]), rows.batch, chosen, chosen)
        return
    for position in chosen.tolist():
        only = np.zeros(1, dtype=np.int64)
        yield _Place(int(rows.offsets[position]), rows.batch.slice(position, 1), only, np.array([position]))
