"""One partition's life: what is read connects to the position, what is committed is acknowledged, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from infra.kafka import LogIdentity
from infra.metrics_recording import Counted
from infra.topics import RegisteredLog
from streams import partition as module
from streams.errors import DeliveryStalled, LogTruncated
from streams.partition import Delivery, PartitionRunner, Shared, Stage
from streams.processor import SourceRecord
from streams.restore import Restored
from streams.transactions import OutgoingRecord
from tests.streams.support import settings

LOG = RegisteredLog("usage", LogIdentity("cluster", "topic", 1), 1)


@dataclass
class Acknowledged:
    """An event of Faust: notes that it was acknowledged."""

    offset: int
    noted: list[int]

    def ack(self) -> bool:
        self.noted.append(self.offset)
        return True


@dataclass
class Reading:
    """A processor that notes what it reads."""

    offsets: list[int] = field(default_factory=list)
    heavy: bool = False

    def restore(self, state: Iterable[tuple[bytes, bytes]], position: bytes | None) -> int | None:
        return None

    def relearn(self, records: Sequence[SourceRecord]) -> None:
        raise AssertionError("not here")

    def apply(self, records: Sequence[SourceRecord]) -> None:
        self.offsets += [record.offset for record in records]

    def snapshot(self, position: int) -> int:
        return position

    def outgoing(self, snapshot: int) -> list[OutgoingRecord]:
        return [OutgoingRecord("state", 0, b"position", b"%d" % snapshot)]

    def counted(self, snapshot: int) -> Counted:
        return Counted({}, {}, {}, {})

    def holdings(self) -> None:
        return None


@dataclass
class World:
    """A runner, and what happened around it."""

    restored: Restored = field(default_factory=lambda: Restored(-1, None))
    low: int = 0
    acknowledged: list[int] = field(default_factory=list)
    committed: list[int] = field(default_factory=list)
    reading: Reading = field(default_factory=Reading)
    broken: Exception | None = None
    fenced: int = 0
    closed: bool = False

    def runner(self) -> PartitionRunner[int]:
        stage: Stage[int] = Stage("usage", "state", lambda _: self.reading, LOG)
        shared = Shared(settings(), ThreadPoolExecutor(1), object(), self)  # type: ignore[arg-type]
        return PartitionRunner(shared, stage, 0)

    async def started(self) -> PartitionRunner[int]:
        runner = self.runner()
        await runner.start(nothing())
        return runner

    def deliveries(self, *offsets: int) -> list[Delivery]:
        return [
            Delivery(SourceRecord(offset, 0, None, b"", {}), Acknowledged(offset, self.acknowledged))
            for offset in offsets
        ]

    def first_offset(self, topic: str, partition: int) -> int:
        return self.low

    def commit(self, records: Iterable[OutgoingRecord], next_offset: int) -> None:
        if self.broken is not None:
            raise self.broken
        assert not set(self.acknowledged) & set(range(next_offset)) - {
            *self.committed,
            *range(self.restored.position + 1),
        }
        self.committed = list(range(next_offset))

    def close(self) -> None:
        self.closed = True


async def nothing() -> None:
    """The log is checked."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()

    def fence(*_: object) -> World:
        made.fenced += 1
        return made

    monkeypatch.setattr(module, "PartitionTransactions", fence)
    monkeypatch.setattr(module, "restore", lambda *_: made.restored)
    return made


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


def test_what_was_read_is_acknowledged_once_it_is_committed(world: World) -> None:
    async def test() -> None:
        runner = await world.started()
        await runner.take(world.deliveries(0, 1, 2))
        assert (world.reading.offsets, world.acknowledged) == ([0, 1, 2], [])
        await runner.flush()
        assert (world.acknowledged, world.committed) == ([0, 1, 2], [0, 1, 2])

    run(test())


def test_a_commit_that_fails_acknowledges_nothing(world: World) -> None:
    async def test() -> None:
        runner = await world.started()
        await runner.take(world.deliveries(0, 1))
        world.broken = RuntimeError("fenced")
        with pytest.raises(RuntimeError, match="fenced"):
            await runner.flush()
        assert world.acknowledged == []

    run(test())


def test_what_was_read_before_the_assignment_is_skipped_and_acknowledged(world: World) -> None:
    world.restored = Restored(4, 5)

    async def test() -> None:
        runner = await world.started()
        await runner.take(world.deliveries(3, 4, 5, 6))
        assert (world.reading.offsets, world.acknowledged) == ([5, 6], [3, 4])

    run(test())


def test_records_that_do_not_connect_to_the_position_are_dropped_unacknowledged(world: World) -> None:
    world.restored = Restored(4, 7)

    async def test() -> None:
        runner = await world.started()
        await runner.take(world.deliveries(9, 10))
        assert (world.reading.offsets, runner.position) == ([], 4)
        await runner.take(world.deliveries(7, 9, 10))
        assert (world.reading.offsets, world.acknowledged) == ([7, 9, 10], [])

    run(test())


def test_deliveries_that_never_connect_end_the_worker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.restored = Restored(4, 7)
    monkeypatch.setattr(module, "_STALE_LIMIT_S", -1.0)

    async def test() -> None:
        runner = await world.started()
        runner.check_delivery()
        await runner.take(world.deliveries(9))
        with pytest.raises(DeliveryStalled):
            runner.check_delivery()
        await runner.take(world.deliveries(7))
        runner.check_delivery()

    run(test())


@pytest.mark.parametrize(("low", "lost"), [(2, False), (3, True)])
def test_a_hole_that_retention_made_ends_the_worker_before_it_commits(world: World, low: int, lost: bool) -> None:
    async def test() -> None:
        runner = await world.started()
        await runner.take(world.deliveries(0, 1, 5))
        world.low = low
        if lost:
            with pytest.raises(LogTruncated):
                await runner.flush()
        else:
            await runner.flush()
        assert (world.acknowledged == []) == lost

    run(test())


def test_a_partition_that_is_given_away_commits_what_it_read_and_takes_no_more(world: World) -> None:
    async def test() -> None:
        runner = await world.started()
        await runner.take(world.deliveries(0, 1))
        await runner.stop()
        await runner.take(world.deliveries(2))
        assert (world.reading.offsets, world.acknowledged, world.closed) == ([0, 1], [0, 1], True)

    run(test())


def test_a_partition_given_away_before_it_was_taken_over_touches_nothing(world: World) -> None:
    async def test() -> None:
        runner = world.runner()
        checked = asyncio.Event()

        async def wait() -> None:
            await checked.wait()

        starting = asyncio.create_task(runner.start(wait()))
        taking = asyncio.create_task(runner.take(world.deliveries(0)))
        stopping = asyncio.create_task(runner.stop())
        await asyncio.sleep(0.01)
        assert not stopping.done(), "a take-over under way has to end first"
        checked.set()
        await asyncio.gather(starting, taking, stopping)
        assert (world.reading.offsets, world.committed, world.fenced, runner.ready) == ([], [], 0, False)

    run(test())


def test_nothing_is_taken_when_the_take_over_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Restored:
        raise LogTruncated("usage", 0, 4, 9)

    monkeypatch.setattr(module, "restore", fail)

    async def test() -> None:
        runner = world.runner()
        with pytest.raises(LogTruncated):
            await runner.start(nothing())
        await runner.take(world.deliveries(0))
        assert (world.reading.offsets, world.acknowledged) == ([], [])

    run(test())


def test_much_that_is_pending_is_flushed_without_waiting_for_the_clock(world: World) -> None:
    async def test() -> None:
        runner = await world.started()
        world.reading.heavy = True
        await runner.take(world.deliveries(0))
        assert world.acknowledged == [0]

    run(test())


def test_a_flush_is_due_only_when_something_new_was_read_and_the_last_one_has_rested(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    async def test() -> None:
        nonlocal now
        runner = await world.started()

        def due() -> bool:
            return runner.due

        assert not due()
        await runner.take(world.deliveries(0))
        assert due()
        commit = world.commit

        def slow(records: Iterable[OutgoingRecord], next_offset: int) -> None:
            nonlocal now
            now += 2.0
            commit(records, next_offset)

        monkeypatch.setattr(world, "commit", slow)
        await runner.flush()
        assert not due()
        await runner.take(world.deliveries(1))
        assert not due(), "it rests for as long as it took"
        now += 2.0
        assert due()

    run(test())
