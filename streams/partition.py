"""Running one partition of a source topic: fence, restore, read, flush in transactions, acknowledge (DESIGN D3)."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, Protocol

from infra.config import Settings
from infra.kafka import read_to_end
from infra.logs import get_logger
from infra.topics import RegisteredLog
from streams.processor import Processor, SnapshotT, SourceRecord
from streams.restore import restore
from streams.transactions import PartitionTransactions

log = get_logger(__name__)


class Acknowledgeable(Protocol):
    """A delivered record that is acknowledged once its effects are committed."""

    def ack(self) -> bool:
        """Tell Faust that the record is done."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A source record together with the way to acknowledge it."""

    record: SourceRecord
    event: Acknowledgeable


@dataclass(frozen=True, slots=True)
class Stage(Generic[SnapshotT]):
    """One of the stream's two stages: where it reads, where its state lives, and what processes a partition."""

    topic: str
    state_topic: str
    processor: Callable[[int], Processor[SnapshotT]]
    log: RegisteredLog
    """The log that the state must follow."""
    ticks: bool = False
    """Whether a quiet partition gets ticks, because periods close by its time."""


class PartitionRunner(Generic[SnapshotT]):
    """Owns one assigned partition, from the fencing of its last owner until it is revoked."""

    def __init__(self, settings: Settings, stage: Stage[SnapshotT], partition: int, threads: Executor) -> None:
        """Nothing is touched before `start`."""
        self._settings = settings
        self._stage = stage
        self.partition = partition
        self._threads = threads
        self._processor = stage.processor(partition)
        self._transactions: PartitionTransactions | None = None
        self._flushing = asyncio.Lock()
        self._ready = asyncio.Event()
        self._unacknowledged: list[Acknowledgeable] = []
        self._connected = False
        self._next_in_log: int | None = None
        self.position = -1
        self._flushed_position = -1
        self.closing = False

    async def start(self) -> None:
        """Fence the last owner, then take over its state. Raises a WorkerError when that can't be done exactly."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._take_over)
        self._ready.set()

    def _take_over(self) -> None:
        self._transactions = PartitionTransactions(self._settings, self._stage.topic, self.partition)
        self.position = restore(
            self._settings, self._stage.log, self._stage.state_topic, self.partition, self._processor
        )
        self._flushed_position = self.position
        upcoming = read_to_end(self._settings, self._stage.topic, self.partition, start=self.position + 1)
        first = next(iter(upcoming), None)
        self._next_in_log = first.offset() if first is not None else None
        log.info(
            "partition.restored",
            topic=self._stage.topic,
            partition=self.partition,
            position=self.position,
            next_in_log=self._next_in_log,
        )

    async def take(self, deliveries: Sequence[Delivery]) -> None:
        """Read delivered records in order; what was read before is acknowledged and skipped, what is stale is dropped."""
        await self._ready.wait()
        if self.closing:
            return
        fresh: list[SourceRecord] = []
        for delivery in deliveries:
            if delivery.record.offset <= self.position:
                delivery.event.ack()
            elif self._follows(delivery.record.offset):
                fresh.append(delivery.record)
                self.position = delivery.record.offset
                self._unacknowledged.append(delivery.event)
        if fresh:
            self._processor.apply(fresh)
        if self._processor.heavy:
            await self.flush()

    def _follows(self, offset: int) -> bool:
        """Whether `offset` is the next record of the log after the position.

        Faust may still hand over records that it fetched before the partition was given away and came back; taking one
        of those first would skip what lies between. Once one record connects, Faust delivers in order.
        """
        if not self._connected:
            self._connected = self._next_in_log is None or offset == self._next_in_log
        return self._connected

    @property
    def ready(self) -> bool:
        """Whether the state is taken over and records are read."""
        return self._ready.is_set() and not self.closing

    @property
    def dirty(self) -> bool:
        """Whether something was read that is not committed yet."""
        return self.ready and self.position != self._flushed_position

    async def flush(self) -> None:
        """Commit everything read so far in one transaction, then acknowledge it. Reading may go on meanwhile."""
        async with self._flushing:
            if not self._ready.is_set() or self.position == self._flushed_position or self._transactions is None:
                return
            position, acknowledge = self.position, self._unacknowledged
            self._unacknowledged = []
            snapshot = self._processor.snapshot(position)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, self._commit, snapshot, position)
            self._flushed_position = position
            for event in acknowledge:
                event.ack()

    def _commit(self, snapshot: SnapshotT, position: int) -> None:
        if self._transactions is None:
            raise RuntimeError("a partition is flushed only after it was taken over")
        self._transactions.commit(self._processor.outgoing(snapshot), position + 1)

    async def stop(self) -> None:
        """Flush what was read and let the partition go."""
        self.closing = True
        await self.flush()
        async with self._flushing:
            transactions, self._transactions = self._transactions, None
        if transactions is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, transactions.close)
        log.info("partition.released", topic=self._stage.topic, partition=self.partition, position=self.position)
