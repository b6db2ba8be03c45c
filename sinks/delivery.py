"""Exactly-once from a Kafka log into ClickHouse: the protocol of DESIGN D11, without knowing either client.

Per partition, for ever: fix a range of records, note it in Kafka (`sinks.intent`), insert its rows into each table
under the token `<log>/<partition>/<first>-<last>/<table>`, go on. Noting the next range says that the one before is
stored. A sink that

    dies before the note       has done nothing; its successor fixes a range of its own
    dies after the note        is finished by its successor, which reads exactly the noted range again and inserts it
                               under the same tokens
    wakes up after losing      has its commit refused by the group, and so inserts nothing; an insert that was already
    its partitions             under way has the rows and the token of its successor's, and ClickHouse drops one of them

Where the broker keeps no notes (the embedded one), what the tables hold is the only memory: each table's highest
offset of this log is its floor, and rows at or below it are not inserted again. Floors are kept with real Kafka too, as
a second guard against offsets that somebody reset.

Everything happens in one thread, so a rebalance can only come between two steps, never within one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import pyarrow as pa

from infra.faults import Fault, reach
from infra.logs import get_logger
from sinks import intent as notes
from sinks.buffer import Decoded, Limits, PartitionBuffer, SealedRange
from sinks.errors import CommitUnknownError, DataLostError, OwnershipLostError, StoreUnavailableError
from sinks.records import EndOfPartition, LogId, SourceRecord, TopicPartitionId
from sinks.tables import Table

log = get_logger(__name__)

D = TypeVar("D", bound=Decoded)

FIRST_RETRY_S, LAST_RETRY_S = 0.1, 10.0
BUFFERED_BYTES = 256 * 1024 * 1024
"""All partitions together hold at most about this many bytes of records before everything is inserted."""


class Commit(NamedTuple):
    """A committed offset with its note."""

    place: TopicPartitionId
    offset: int
    metadata: str


class Log(Protocol):
    """The Kafka side: a member of a consumer group that reads committed records only."""

    def poll(self, timeout_s: float) -> Sequence[SourceRecord | EndOfPartition]:
        """Wait for records; rebalances are reported from within this call and nowhere else."""

    def commit(self, commits: Sequence[Commit]) -> None:
        """Commit with the group's generation; OwnershipLostError when fenced, CommitUnknownError when unanswered."""

    def pause(self) -> None:
        """Deliver no records until `resume`, whatever is assigned meanwhile."""

    def resume(self) -> None:
        """Deliver records again."""


class Store(Protocol):
    """The ClickHouse side."""

    def insert(self, table: Table, rows: pa.Table, token: str) -> None:
        """Insert under a deduplication token; StoreUnavailableError when it is worth trying again."""

    def highest_offsets(self, table: Table, log_id: LogId) -> Mapping[int, int]:
        """Per partition of a log the highest offset that the table holds."""

    def count(self, table: Table, log_id: LogId, partition: int, first: int, last: int) -> int:
        """Rows that the table holds of a range of offsets."""


class TopicSink(Protocol[D]):
    """What one topic becomes: rows of one or several tables, a pure function of its records."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table that the topic can fill."""

    @property
    def compacted(self) -> bool:
        """The topic's cleanup policy may remove superseded records."""

    def decode(self, record: SourceRecord) -> D:
        """Take a record apart; what cannot be read becomes a row that says so, never an exception."""

    def build(self, items: Sequence[D], log_id: LogId) -> Mapping[Table, pa.Table]:
        """The rows of a range, per table; tables without rows may be left out."""

    def row_counts(self, item: D) -> Mapping[Table, int]:
        """How many rows `build` makes of one record, per table: what reconciliation expects to find."""


@dataclass(slots=True)
class Totals:
    """What a delivery did so far: rows and inserts that ClickHouse took, ranges replayed after a takeover."""

    rows: int = 0
    inserts: int = 0
    replayed_ranges: int = 0
    retries: int = 0


class Delivery(Generic[D]):
    """The state of one sink process. `assigned` and `revoked` are called by the log while it is polled."""

    def __init__(
        self,
        kafka: Log,
        store: Store,
        sinks: Mapping[str, TopicSink[D]],
        *,
        limits: Limits | None = None,
        interval_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kafka, self._store, self._sinks = kafka, store, sinks
        self._limits = limits or Limits()
        self._interval_s = interval_s
        self._clock = clock
        self._buffers: dict[TopicPartitionId, PartitionBuffer[D]] = {}
        self._floors: dict[tuple[str, LogId], Mapping[int, int]] = {}
        self._next_cycle = 0.0
        self._stopping: Callable[[], bool] = lambda: False
        self._watch: Callable[[], None] = lambda: None
        self.totals = Totals()

    # -- what the group tells us --------------------------------------------------------------------------------------

    def assigned(
        self, committed: Mapping[TopicPartitionId, tuple[int | None, str]], logs: Mapping[str, LogId]
    ) -> dict[TopicPartitionId, int | None]:
        """Take partitions over. Gives the offset to read each from; None means from the beginning of the log."""
        starts: dict[TopicPartitionId, int | None] = {}
        for place, (offset, metadata) in committed.items():
            log_id = logs[place.topic]
            note = notes.decode(metadata) if offset is not None else None
            if note is not None and note.topic_id != log_id.topic_id:
                raise DataLostError(
                    f"{place}: the consumer group's note is about another log ({note.topic_id}) than the topic is now "
                    f"({log_id.topic_id}): the topic was made anew. Delete the consumer group's offsets to start over",
                    topic=place.topic,
                    partition=place.partition,
                )
            sink = self._sinks[place.topic]
            self._buffers[place] = PartitionBuffer(
                place, log_id, self._limits, sink.compacted, replay=note, committed=offset, noted=note is not None
            )
            starts[place] = note.first if note is not None else offset
        # What the tables hold may have grown since this process last looked: the partitions had another owner.
        self._floors.clear()
        log.info("sink.assigned", partitions=len(starts), to_replay=sum(1 for b in self._buffers.values() if b.replay))
        return starts

    def revoked(self, places: Iterable[TopicPartitionId], *, lost: bool) -> None:
        """Give partitions up. What is not stored yet is left to the successor; its note tells it what to do."""
        gone = [self._buffers.pop(place) for place in places if place in self._buffers]
        if not lost:
            self._settle(gone)
        log.info("sink.revoked", partitions=len(gone), lost=lost)

    def _settle(self, buffers: Iterable[PartitionBuffer[D]]) -> None:
        try:
            self._commit([], list(buffers))
        except (OwnershipLostError, CommitUnknownError) as error:
            # Harmless: the successor replays a range that is stored, and ClickHouse drops it.
            log.info("sink.settling_failed", error=str(error))

    def _commit(self, sealed: Sequence[PartitionBuffer[D]], idle: Sequence[PartitionBuffer[D]]) -> None:
        """One commit for the notes of sealed ranges and for what has become settled, if there is anything to say."""
        settling = [(buffer, offset) for buffer in idle if (offset := buffer.settling_offset) is not None]
        commits = [_noting(buffer) for buffer in sealed]
        commits += [Commit(buffer.place, offset, notes.SETTLED) for buffer, offset in settling]
        if commits:
            self._kafka.commit(commits)
        for buffer in sealed:
            buffer.noted = True
        for buffer, offset in settling:
            buffer.committed, buffer.noted = offset, False

    # -- the loop -----------------------------------------------------------------------------------------------------

    @property
    def partitions(self) -> Iterable[PartitionBuffer[D]]:
        """What is assigned, for those who watch."""
        return self._buffers.values()

    def run(self, stopping: Callable[[], bool], watch: Callable[[], None] = lambda: None) -> None:
        """Deliver until `stopping()`; then settle what is stored. Buffered records are simply read again next time.

        `watch` is called at every turn, also while ClickHouse is waited for.
        """
        self._stopping, self._watch = stopping, watch
        self._next_cycle = self._clock() + self._interval_s
        while not stopping():
            self.step()
        self._settle(self._buffers.values())

    def step(self) -> None:
        """One turn: take records in, and insert when it is time or when a partition is full."""
        self._watch()
        wait = max(0.0, min(self._next_cycle - self._clock(), 0.25))
        self._take_in(self._kafka.poll(wait))
        due = self._clock() >= self._next_cycle
        crowded = sum(buffer.size for buffer in self._buffers.values()) >= BUFFERED_BYTES
        if due or crowded:
            started = self._clock()
            self._deliver(list(self._buffers.values()))
            # Many small inserts must not take more than half of the time: the busier it is, the larger they grow.
            self._next_cycle = self._clock() + max(self._interval_s, self._clock() - started)
        else:
            full = [buffer for buffer in self._buffers.values() if buffer.full]
            if full:
                self._deliver(full)

    def _take_in(self, events: Sequence[SourceRecord | EndOfPartition]) -> None:
        for event in events:
            buffer = self._buffers.get(TopicPartitionId(event.topic, event.partition))
            if buffer is None:
                continue
            if isinstance(event, EndOfPartition):
                buffer.end_reached(event.offset)
            else:
                buffer.add(self._sinks[event.topic].decode(event))

    def _deliver(self, buffers: Sequence[PartitionBuffer[D]]) -> None:
        sealed = [buffer for buffer in buffers if buffer.seal() is not None]
        idle = [buffer for buffer in buffers if buffer.sealed is None and not buffer.items]
        try:
            self._commit(sealed, idle)
        except OwnershipLostError as error:
            # Nothing may be inserted. The next poll reports the rebalance, which drops these ranges.
            log.warning("sink.commit_refused", error=str(error))
            return
        except CommitUnknownError as error:
            # The ranges stay fixed, so the next turn sends the very same notes.
            log.warning("sink.commit_unanswered", error=str(error))
            return
        if sealed:
            reach(Fault.SINK_AFTER_INTENT)
        for buffer in sealed:
            if not self._store_range(buffer):
                return

    def _store_range(self, buffer: PartitionBuffer[D]) -> bool:
        """Insert the sealed range of a partition, however long ClickHouse takes. False: the loop has to start over."""
        sealed = buffer.sealed
        if sealed is None or self._buffers.get(buffer.place) is not buffer:
            return False
        delay = FIRST_RETRY_S
        waiting = False
        try:
            while True:
                try:
                    self._insert(buffer, sealed)
                    break
                except StoreUnavailableError as error:
                    self.totals.retries += 1
                    log.warning("sink.insert_postponed", partition=str(buffer.place), seconds=delay, error=str(error))
                if not waiting:
                    self._kafka.pause()
                    waiting = True
                if not self._wait(buffer, delay):
                    return False
                delay = min(delay * 2, LAST_RETRY_S)
        finally:
            if waiting:
                self._kafka.resume()
        reach(Fault.SINK_AFTER_INSERT)
        buffer.stored()
        return True

    def _wait(self, buffer: PartitionBuffer[D], seconds: float) -> bool:
        """Keep the group membership alive for a while. False when stopping or when the partition was taken away."""
        until = self._clock() + seconds
        while self._clock() < until:
            self._watch()
            self._take_in(self._kafka.poll(min(0.1, seconds)))
            if self._stopping() or self._buffers.get(buffer.place) is not buffer:
                return False
        return True

    def _insert(self, buffer: PartitionBuffer[D], sealed: SealedRange[D]) -> None:
        sink = self._sinks[buffer.place.topic]
        whole = sink.build(sealed.items, buffer.log)
        filled = [table for table in sink.tables if table in whole and whole[table].num_rows]
        for number, table in enumerate(filled):
            if number:
                reach(Fault.SINK_DURING_INSERT)
            rows, first = whole[table], sealed.intent.first
            floor = self._floor(table, buffer)
            if floor >= first and not (sealed.replayed and self._broken(table, buffer, sealed, floor)):
                above = sink.build([item for item in sealed.items if item.record.offset > floor], buffer.log)
                if table not in above:
                    continue
                rows, first = above[table], floor + 1
            self._store.insert(table, rows, token(buffer.log, buffer.place.partition, first, sealed.intent.last, table))
            self.totals.rows += rows.num_rows
            self.totals.inserts += 1
        self.totals.replayed_ranges += sealed.replayed

    def _floor(self, table: Table, buffer: PartitionBuffer[D]) -> int:
        """The table holds the partition up to this offset, -1 for nothing; as it was when the partition came here."""
        if table.replaces:
            return -1
        known = (table.name, buffer.log)
        if known not in self._floors:
            self._floors[known] = self._store.highest_offsets(table, buffer.log)
        return self._floors[known].get(buffer.place.partition, -1)

    def _broken(self, table: Table, buffer: PartitionBuffer[D], sealed: SealedRange[D], floor: int) -> bool:
        """An insert that its writer did not survive left some rows of the range and not others.

        Cannot happen while an insert is one part. If it did, the same rows under the same token complete it.
        """
        first, last = sealed.intent.first, min(sealed.intent.last, floor)
        below = [item for item in sealed.items if item.record.offset <= last]
        rows = self._sinks[buffer.place.topic].build(below, buffer.log).get(table)
        have = self._store.count(table, buffer.log, buffer.place.partition, first, last)
        return have != (0 if rows is None else rows.num_rows)


def token(log_id: LogId, partition: int, first: int, last: int, table: Table) -> str:
    """The deduplication token of one insert: names one range of one log for one table, for ever."""
    return f"{log_id}/{partition}/{first}-{last}/{table.name}"


def _noting(buffer: PartitionBuffer[D]) -> Commit:
    if buffer.sealed is None:
        raise AssertionError("nothing is sealed")
    intent = buffer.sealed.intent
    return Commit(buffer.place, intent.first, notes.encode(intent))
