"""A Kafka log, its consumer group and ClickHouse as plain Python, with the habits that matter to a sink.

Kafka: offsets with holes (transaction markers), commits with notes that only the current generation may write.
ClickHouse: inserts under tokens, whole or absent; an insert that was sent can land after its writer died.
A `Fuse` breaks a process at its nth call, before or after the call took effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from sinks.buffer import Limits
from sinks.delivery import Commit, Delivery
from sinks.errors import OwnershipLostError, StoreUnavailableError
from sinks.records import EndOfPartition, LogId, SourceRecord, TopicPartitionId
from sinks.tables import Table

TOPIC = "events"
MANY = Table("many")
FEW = Table("few")
LOG_ID = LogId(TOPIC, "cluster", "topic-id")


class Crash(BaseException):
    """The process is gone: nothing of it goes on, so nothing may catch this."""


@dataclass
class Fuse:
    """Breaks at the call number `calls` from now (None: never). `mode`: before, after, or in_flight (inserts only)."""

    calls: int | None = None
    mode: str = "before"

    def burn(self) -> str | None:
        if self.calls is None:
            return None
        self.calls -= 1
        if self.calls > 0:
            return None
        self.calls = None
        return self.mode


@dataclass(frozen=True)
class Item:
    record: SourceRecord
    rows: int


class SimulatedSink:
    """Record with offset o: (o % 3) + 1 rows for table `many`, one row for `few` where o is even."""

    tables = (MANY, FEW)
    compacted = False

    def decode(self, record: SourceRecord) -> Item:
        return Item(record, record.offset % 3 + 1)

    def build(self, items: Sequence[Item], log_id: LogId) -> Mapping[Table, pa.Table]:
        many = [
            (item.record.partition, item.record.offset, row)
            for item in items
            for row in range(item.record.offset % 3 + 1)
        ]
        few = [(item.record.partition, item.record.offset, 0) for item in items if item.record.offset % 2 == 0]
        return {MANY: _places(many), FEW: _places(few)}

    def row_counts(self, item: Item) -> Mapping[Table, int]:
        return {MANY: item.rows, FEW: 1 - item.record.offset % 2}


def _places(places: Sequence[tuple[int, int, int]]) -> pa.Table:
    return pa.table({"place": pa.array([str(place) for place in places], pa.string())})


def expected(records: Sequence[SourceRecord], table: Table) -> list[str]:
    """What a table must hold of these records, sorted."""
    sink = SimulatedSink()
    rows = sink.build([sink.decode(record) for record in records], LOG_ID)[table]
    return sorted(rows["place"].to_pylist())


@dataclass
class SimulatedStore:
    """Tables with a deduplication window. `remembers_tokens` False: the guard is off, for negative controls."""

    remembers_tokens: bool = True
    tables: dict[str, list[str]] = field(default_factory=lambda: {MANY.name: [], FEW.name: []})
    tokens: set[str] = field(default_factory=set)
    in_flight: list[tuple[Table, list[str], str]] = field(default_factory=list)
    down: int = 0
    """The next inserts fail: odd ones before they took effect, even ones after."""

    def land(self, table: Table, places: list[str], token: str) -> None:
        if token not in self.tokens or not self.remembers_tokens:
            self.tables[table.name].extend(places)
        self.tokens.add(token)

    def land_late_inserts(self) -> None:
        for insert in self.in_flight:
            self.land(*insert)
        self.in_flight.clear()


@dataclass
class StorePort:
    """The store as one process sees it."""

    store: SimulatedStore
    fuse: Fuse

    def insert(self, table: Table, rows: pa.Table, token: str) -> None:
        places = rows["place"].to_pylist()
        broken = self.fuse.burn()
        if broken == "before":
            raise Crash
        if broken == "in_flight":
            self.store.in_flight.append((table, places, token))
            raise Crash
        if self.store.down:
            self.store.down -= 1
            if self.store.down % 2:
                self.store.land(table, places, token)
            raise StoreUnavailableError("down")
        self.store.land(table, places, token)
        if broken == "after":
            raise Crash

    def highest_offsets(self, table: Table, log_id: LogId) -> Mapping[int, int]:
        highest: dict[int, int] = {}
        for place in self.store.tables[table.name]:
            partition, offset, _ = _parse(place)
            highest[partition] = max(offset, highest.get(partition, -1))
        return highest

    def count(self, table: Table, log_id: LogId, partition: int, first: int, last: int) -> int:
        places = [_parse(place) for place in self.store.tables[table.name]]
        return sum(1 for where, offset, _ in places if where == partition and first <= offset <= last)


def _parse(place: str) -> tuple[int, int, int]:
    partition, offset, row = place.strip("()").split(",")
    return int(partition), int(offset), int(row)


@dataclass
class SimulatedKafka:
    """One topic and one consumer group. `keeps_notes` False: a broker that forgets commit metadata."""

    partitions: int = 2
    keeps_notes: bool = True
    records: dict[int, list[SourceRecord]] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    committed: dict[int, tuple[int, str]] = field(default_factory=dict)
    generation: int = 0
    members: list[LogPort] = field(default_factory=list)

    def produce(self, partition: int, count: int, *, marker: bool = False) -> None:
        log = self.records.setdefault(partition, [])
        end = self.ends.get(partition, 0)
        for offset in range(end, end + count):
            log.append(SourceRecord(TOPIC, partition, offset, 1_767_225_600_000 + offset, None, b"x", ()))
        self.ends[partition] = end + count + int(marker)

    def rebalance(self) -> None:
        """Everybody gives up everything; the partitions are dealt out anew at the members' next polls."""
        self.generation += 1
        for member in self.members:
            member.pending_rebalance = True

    def join(self, member: LogPort) -> None:
        self.members.append(member)
        self.rebalance()

    def leave(self, member: LogPort) -> None:
        """A member that died, or froze past its session."""
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def everything(self) -> list[SourceRecord]:
        return [record for log in self.records.values() for record in log]


@dataclass
class LogPort:
    """Kafka as one process sees it."""

    kafka: SimulatedKafka
    fuse: Fuse
    batch: int = 7
    generation: int = -1
    pending_rebalance: bool = False
    paused: bool = False
    delivery: Delivery[Item] | None = None
    positions: dict[int, int] = field(default_factory=dict)

    def poll(self, timeout_s: float) -> Sequence[SourceRecord | EndOfPartition]:
        if self.fuse.burn():
            raise Crash
        if self.pending_rebalance:
            self._rebalance()
            return []
        events: list[SourceRecord | EndOfPartition] = []
        if self.paused:
            return events
        for partition, position in self.positions.items():
            waiting = [record for record in self.kafka.records.get(partition, []) if record.offset >= position]
            taken = waiting[: self.batch]
            events.extend(taken)
            if taken:
                self.positions[partition] = taken[-1].offset + 1
            if len(taken) == len(waiting):
                events.append(EndOfPartition(TOPIC, partition, self.kafka.ends.get(partition, 0)))
        return events

    def _rebalance(self) -> None:
        assert self.delivery is not None
        self.pending_rebalance = False
        lost = self not in self.kafka.members
        self.delivery.revoked([TopicPartitionId(TOPIC, each) for each in self.positions], lost=lost)
        self.positions = {}
        self.generation = self.kafka.generation
        if lost:
            return
        mine = [
            p for p in range(self.kafka.partitions) if p % len(self.kafka.members) == self.kafka.members.index(self)
        ]
        committed: dict[TopicPartitionId, tuple[int | None, str]] = {}
        for partition in mine:
            offset, note = self.kafka.committed.get(partition, (None, ""))
            committed[TopicPartitionId(TOPIC, partition)] = (offset, note)
        starts = self.delivery.assigned(committed, {TOPIC: LOG_ID})
        self.positions = {place.partition: start or 0 for place, start in starts.items()}

    def commit(self, commits: Sequence[Commit]) -> None:
        broken = self.fuse.burn()
        if broken == "before":
            raise Crash
        if self.generation != self.kafka.generation or self not in self.kafka.members:
            raise OwnershipLostError("illegal generation")
        for commit in commits:
            note = commit.metadata if self.kafka.keeps_notes else ""
            self.kafka.committed[commit.place.partition] = (commit.offset, note)
        if broken:
            raise Crash

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


@dataclass
class Clock:
    """Time that passes a little at every look."""

    now: float = 0.0

    def __call__(self) -> float:
        self.now += 0.05
        return self.now


@dataclass
class Process:
    """One sink process: a delivery with its two ports and its fuse."""

    kafka: SimulatedKafka
    store: SimulatedStore
    limits: Limits = field(default_factory=lambda: Limits(rows=10))
    fuse: Fuse = field(default_factory=Fuse)

    def __post_init__(self) -> None:
        self.log = LogPort(self.kafka, self.fuse)
        store = StorePort(self.store, self.fuse)
        self.delivery = Delivery(
            self.log, store, {TOPIC: SimulatedSink()}, limits=self.limits, interval_s=0.3, clock=Clock()
        )
        self.log.delivery = self.delivery
        self.kafka.join(self.log)

    def step(self, times: int = 1) -> bool:
        """Take some turns; False: the process died, and left the group."""
        try:
            for _ in range(times):
                self.delivery.step()
        except Crash:
            self.kafka.leave(self.log)
            return False
        return True
