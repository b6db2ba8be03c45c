"""One partition's share of a sink: records gathered, the range sealed for insertion, and what Kafka knows of it.

Pure: no clock, no I/O. The states of a partition:

    filling    records are gathered
    sealed     a range is fixed; its boundaries never change again until it is stored or the partition is lost
    replaying  the range was fixed by an earlier owner; records are gathered until it is complete
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from sinks.errors import DataLostError
from sinks.intent import Intent
from sinks.records import LogId, SourceRecord, TopicPartitionId


class Decoded(Protocol):
    """A record taken apart by its topic's sink: how many rows it gives, in any table."""

    @property
    def record(self) -> SourceRecord:
        """The record itself, with its coordinates."""

    @property
    def rows(self) -> int:
        """Rows it gives over all tables together, for the bounds on an insert; at least 1."""


D = TypeVar("D", bound=Decoded)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one range: rows, and bytes of the records' values."""

    rows: int = 100_000
    bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SealedRange(Generic[D]):
    """A range with its records, in offset order. `replayed`: it was fixed by an earlier owner."""

    intent: Intent
    items: tuple[D, ...]
    rows: int
    replayed: bool


def _month(timestamp_ms: int) -> int:
    # Civil month of a UTC instant, counted from 1970-01 (days -> months after Howard Hinnant's date algorithms).
    days = timestamp_ms // 86_400_000 + 719_468
    era, day = divmod(days, 146_097)
    year_of_era = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day_of_year = day - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    return (era * 400 + year_of_era) * 12 + shifted


@dataclass(slots=True)
class PartitionBuffer(Generic[D]):
    """What one assigned partition has gathered. `compacted`: the topic may drop superseded records within a range."""

    place: TopicPartitionId
    log: LogId
    limits: Limits
    compacted: bool = False
    replay: Intent | None = None
    committed: int | None = None
    """The offset that Kafka holds for the group, None for none."""
    noted: bool = False
    """Kafka holds a note beside it: about the sealed range, or about one that is stored by now."""
    next_offset: int = 0
    """Everything before this offset is stored, or holds no record."""
    sealed: SealedRange[D] | None = None
    items: list[D] = field(default_factory=list)
    rows: int = 0
    size: int = 0
    end_seen: int = 0
    """Where the log ended when its end was last reached."""

    @property
    def idle(self) -> bool:
        """Nothing is gathered or under way."""
        return not self.items and self.sealed is None and self.replay is None

    def add(self, item: D) -> None:
        """Take a record in. Raises DataLostError when a replayed range no longer begins where it began."""
        record = item.record
        if self.items and record.offset <= self.items[-1].record.offset:
            return  # a client that reconnects may deliver a record again
        if self.replay is not None and not self.compacted and not self.items and record.offset != self.replay.first:
            raise self._gone(record.offset)
        self.items.append(item)
        self.rows += item.rows
        self.size += len(record.value or b"")

    @property
    def full(self) -> bool:
        """A range can be sealed at once: a limit is reached, or a replayed range is complete."""
        if self.replay is not None:
            return bool(self.items) and self.items[-1].record.offset >= self.replay.last
        return self.rows >= self.limits.rows or self.size >= self.limits.bytes

    def end_reached(self, offset: int) -> None:
        """The log holds no record below `offset` that was not delivered: a replayed compacted range may be complete."""
        self.end_seen = offset
        replay = self.replay
        if replay is None:
            if not self.items and self.sealed is None:
                self.next_offset = max(self.next_offset, offset)  # over the markers of transactions
            return
        if offset <= replay.last or self.full:
            return
        if not self.compacted:
            raise self._gone(offset)
        self._seal_replay(replay, len(self.items))

    @property
    def settling_offset(self) -> int | None:
        """What to commit without a note, so that a successor has nothing to replay; None while that would be wrong."""
        if self.replay is not None or self.sealed is not None:
            return None
        return self.next_offset if self.noted or self.next_offset > (self.committed or 0) else None

    def seal(self) -> SealedRange[D] | None:
        """Fix the next range: the oldest records within the limits and within one month of append time.

        One month, because the raw tables are partitioned by it: an insert is then one part, whole or absent. None when
        there is nothing to fix, or when a replayed range is not complete yet.
        """
        if self.sealed is not None:
            return self.sealed
        if self.replay is not None:
            if not self.full:
                return None
            last = self.replay.last
            return self._seal_replay(self.replay, sum(1 for item in self.items if item.record.offset <= last))
        if not self.items:
            return None
        return self._seal(self._cut(), replayed=False)

    def _cut(self) -> int:
        rows, size, count = 0, 0, 0
        month = _month(self.items[0].record.timestamp_ms)
        for item in self.items:
            rows += item.rows
            size += len(item.record.value or b"")
            over = rows > self.limits.rows or size > self.limits.bytes
            if count and (over or _month(item.record.timestamp_ms) != month):
                break
            count += 1
        return count

    def _seal_replay(self, replay: Intent, count: int) -> SealedRange[D] | None:
        complete = count == replay.records and count > 0 and self.items[count - 1].record.offset == replay.last
        if not complete and not self.compacted:
            raise self._gone(self.items[0].record.offset)
        self.replay = None
        if count == 0:  # compaction removed every record of the range: each was superseded, nothing is left to store
            self.next_offset = replay.last + 1
            return None
        sealed = self._seal(count, replayed=True)
        self.sealed = SealedRange(replay, sealed.items, sealed.rows, replayed=True)
        return self.sealed

    def _seal(self, count: int, *, replayed: bool) -> SealedRange[D]:
        taken, self.items = tuple(self.items[:count]), self.items[count:]
        rows = sum(item.rows for item in taken)
        self.rows -= rows
        self.size -= sum(len(item.record.value or b"") for item in taken)
        intent = Intent(taken[0].record.offset, taken[-1].record.offset, count, self.log.topic_id)
        self.sealed = SealedRange(intent, taken, rows, replayed)
        return self.sealed

    def stored(self) -> None:
        """The sealed range is in every table."""
        if self.sealed is None:
            raise AssertionError("nothing is sealed")
        self.next_offset, self.sealed = self.sealed.intent.last + 1, None

    def _gone(self, offset: int) -> DataLostError:
        replay = self.replay
        return DataLostError(
            f"{self.place}: records {replay.first} to {replay.last} were about to be stored and the log now gives "
            f"offset {offset}: retention removed them, or the topic was made anew. `tokenmill reconcile` says what is "
            f"missing; to accept the gap set the consumer group's offset of this partition by hand"
            if replay is not None
            else f"{self.place}: offset {offset} was not expected",
            topic=self.place.topic,
            partition=self.place.partition,
            offset=offset,
        )
