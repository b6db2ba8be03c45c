"""Running one partition of a source topic: fence, restore, read, flush in transactions, acknowledge (DESIGN D3)."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, Protocol

from infra.config import Settings
from infra.logs import get_logger
from infra.metrics_recording import PartitionMetrics
from infra.topics import RegisteredLog
from streams.errors import DeliveryStalled, LogTruncated
from streams.log_reader import LogReader
from streams.processor import Processor, SnapshotT, SourceRecord
from streams.restore import restore
from streams.transactions import PartitionTransactions

log = get_logger(__name__)

_STALE_LIMIT_S = 15.0
"""Records that Faust still held from before a rebalance are through within moments."""
_LONGEST_REST_S = 5.0
_COMPUTING = threading.Semaphore(1)
"""One flush computes at a time: threads share one interpreter, so several at once would only starve the reading."""


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


@dataclass(frozen=True, slots=True)
class Shared:
    """What the partitions of a worker share: a client each would cost more than their work."""

    settings: Settings
    threads: Executor
    """Runs what blocks."""
    group: object
    """See `transactions.group_metadata`."""
    offsets: LogReader
    """Asked for first offsets only, which is safe from several threads."""


class PartitionRunner(Generic[SnapshotT]):
    """Owns one assigned partition, from the fencing of its last owner until it is revoked."""

    def __init__(self, shared: Shared, stage: Stage[SnapshotT], partition: int) -> None:
        """Nothing is touched before `start`."""
        self._shared = shared
        self._stage = stage
        self.partition = partition
        self._processor = stage.processor(partition)
        self._transactions: PartitionTransactions | None = None
        self._flushing = asyncio.Lock()
        self._ready = asyncio.Event()
        self._started = asyncio.Event()
        self._unacknowledged: list[Acknowledgeable] = []
        self._connected = False
        self._next_in_log: int | None = None
        self.position = -1
        self._flushed_position = -1
        self._read_before_hole: int | None = None
        self._stale_since: float | None = None
        self._rests_until = 0.0
        self._metrics = PartitionMetrics(stage.topic, partition)
        self.closing = False

    async def start(self, checked: Awaitable[None]) -> None:
        """Once `checked` is done, fence the last owner and take over its state.

        Raises a WorkerError when that can't be done exactly.
        """
        try:
            await checked
            if not self.closing:
                began = time.monotonic()
                await self._in_thread(self._take_over)
                self._ready.set()
                seconds = time.monotonic() - began
                self._metrics.restored(seconds, self.position + 1, self._processor.holdings())
        finally:
            self._started.set()

    def _take_over(self) -> None:
        settings, stage = self._shared.settings, self._stage
        self._transactions = PartitionTransactions(settings, stage.topic, self.partition, self._shared.group)
        restored = restore(settings, stage.log, stage.state_topic, self.partition, self._processor)
        self.position = self._flushed_position = restored.position
        self._next_in_log = restored.next_in_log

    async def _in_thread(self, call: Callable[..., None], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._shared.threads, call, *arguments)

    async def take(self, deliveries: Sequence[Delivery]) -> None:
        """Read delivered records in order; what was read before is acknowledged and skipped, what is stale is dropped."""
        await self._started.wait()
        if not self.ready:
            return
        fresh: list[SourceRecord] = []
        for delivery in deliveries:
            offset = delivery.record.offset
            if offset <= self.position:
                delivery.event.ack()
            elif self._follows(offset):
                if offset > self.position + 1 and self._read_before_hole is None:
                    self._read_before_hole = self.position
                fresh.append(delivery.record)
                self.position = offset
                self._unacknowledged.append(delivery.event)
        if fresh:
            self._processor.apply(fresh)
            self._metrics.read(len(fresh))
        if self._processor.heavy:
            await self.flush()

    def _follows(self, offset: int) -> bool:
        """Whether `offset` is the next record of the log after the position.

        Faust may still hand over records that it fetched before the partition was given away and came back; taking one
        of those first would skip what lies between. Once one record connects, Faust delivers in order.
        """
        if not self._connected:
            self._connected = self._next_in_log is None or offset == self._next_in_log
            if not self._connected and self._stale_since is None:
                self._stale_since = time.monotonic()
        return self._connected

    def check_delivery(self) -> None:
        """Raise DeliveryStalled when only records behind the next one have been delivered for long."""
        if self._connected or self._stale_since is None or self.closing:
            return
        if time.monotonic() - self._stale_since > _STALE_LIMIT_S:
            raise DeliveryStalled(self._stage.topic, self.partition, self.position, self._next_in_log)

    @property
    def ready(self) -> bool:
        """Whether the state is taken over and records are read."""
        return self._ready.is_set() and not self.closing

    @property
    def due(self) -> bool:
        """Whether something was read that is not committed yet, and the last flush is over for as long as it took.

        A flush costs by the usage keys that changed: where it takes long, more reading between two of them makes it
        cheaper per event.
        """
        return self.ready and self.position != self._flushed_position and time.monotonic() >= self._rests_until

    async def flush(self) -> None:
        """Commit everything read so far in one transaction, then acknowledge it. Reading may go on meanwhile."""
        async with self._flushing:
            if not self._ready.is_set() or self.position == self._flushed_position or self._transactions is None:
                return
            began = time.monotonic()
            position, acknowledge = self.position, self._unacknowledged
            self._unacknowledged = []
            snapshot = self._processor.snapshot(position)
            before_hole, self._read_before_hole = self._read_before_hole, None
            await self._in_thread(self._commit, snapshot, position, before_hole)
            self._flushed_position = position
            for event in acknowledge:
                event.ack()
            ended = time.monotonic()
            counted = self._processor.counted(snapshot)
            self._metrics.flushed(ended - began, position + 1, counted, self._processor.holdings())
            self._rests_until = ended + min(ended - began, _LONGEST_REST_S)

    def _commit(self, snapshot: SnapshotT, position: int, before_hole: int | None) -> None:
        if self._transactions is None:
            raise RuntimeError("a partition is flushed only after it was taken over")
        if before_hole is not None:
            self._check_hole(before_hole)
        with _COMPUTING:
            records = self._processor.outgoing(snapshot)
        began = time.monotonic()
        self._transactions.commit(records, position + 1)
        self._metrics.transaction(time.monotonic() - began, len(records))

    def _check_hole(self, position: int) -> None:
        """Offsets behind `position` were skipped: markers of transactions, unless the log no longer begins before them.

        A consumer that falls behind the retention goes on at the first record that is left, without a word.
        """
        low = self._shared.offsets.first_offset(self._stage.topic, self.partition)
        if low > position + 1:
            raise LogTruncated(self._stage.topic, self.partition, position, low)

    def observe(self, behind: int | None) -> None:
        """Tell the metrics how many offsets lie between the position and the end of the partition, where that is known."""
        if self.ready and behind is not None:
            self._metrics.behind(behind)

    async def stop(self) -> None:
        """Flush what was read and let the partition go."""
        self.closing = True
        # A take-over under way has to end first: finished later, it would fence the next owner.
        await self._started.wait()
        await self.flush()
        async with self._flushing:
            transactions, self._transactions = self._transactions, None
        if transactions is not None:
            await self._in_thread(transactions.close)
        self._metrics.released()
        log.info("partition.released", topic=self._stage.topic, partition=self.partition, position=self.position)
