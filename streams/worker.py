"""One worker process: the partitions it owns, their flushes, and a clean or a loud end."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faust
from faust.types import TP

from infra import metrics
from infra.config import Settings
from infra.errors import BrokerError, TokenmillError
from infra.logs import get_logger
from streams.delivery import source_record
from streams.log_reader import LogReader
from streams.partition import Delivery, PartitionRunner, Shared, Stage
from streams.restore import check_log
from streams.ticks import Ticker
from streams.transactions import group_metadata

log = get_logger(__name__)

_TAKE_CHUNK = 32
"""Records handed to a partition at a time: bounds what is read between two looks at how much is pending."""
_MAX_THREADS = 32
_CHECK_LOGS_S = 10.0


class Worker:
    """Runs the partitions that the consumer group gives to this process.

    Anything that is not an event's own fault ends the process at once and acknowledges nothing: the next owner goes on
    from the last committed transaction.
    """

    def __init__(self, settings: Settings, stages: Iterable[Stage[Any]], ticker: Ticker | None = None) -> None:
        """`stages` by the topic each reads."""
        self._settings = settings
        self._stages: Mapping[str, Stage[Any]] = {stage.topic: stage for stage in stages}
        self._ticker = ticker
        threads = ThreadPoolExecutor(min(_MAX_THREADS, 2 * settings.partitions + 2), "partition")
        self._shared = Shared(settings, threads, group_metadata(settings), LogReader(settings))
        self._runners: dict[TP, PartitionRunner[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._joined = False
        self._behind: Callable[[TP, int], int | None] = lambda tp, read: None

    @property
    def ready(self) -> bool:
        """Whether this worker has its share of the partitions, if only none, and has restored them."""
        return self._joined and all(runner.ready for runner in self._runners.values())

    def observe(self) -> None:
        """Tell the metrics how far the partitions are behind."""
        for tp, runner in self._runners.items():
            runner.observe(self._behind(tp, runner.position))

    async def on_assigned(self, app: faust.App, assigned: set[TP], **_: object) -> None:
        """Take over the partitions of an assignment, side by side and in the background."""
        # Faust delivers records before this returns: the runners have to be there at once, and make them wait.
        checked = asyncio.ensure_future(self._check_logs())
        self._spawn(checked)
        for tp in sorted(assigned):
            stage = self._stages.get(tp.topic)
            if stage is not None and tp not in self._runners and not self._draining:
                runner = self._runners[tp] = PartitionRunner(self._shared, stage, tp.partition)
                self._spawn(runner.start(checked))
        self._joined, self._behind = True, app.consumer.behind
        metrics.WORKER_REBALANCES.inc()
        log.info("worker.assigned", partitions=_by_topic(assigned))

    async def on_revoked(self, app: faust.App, revoked: set[TP], **_: object) -> None:
        """Flush and release the partitions before another worker gets them."""
        self._joined = False
        log.info("worker.revoked", partitions=_by_topic(revoked))
        await self._release(revoked)

    async def take(self, events: Iterable[faust.Event]) -> None:
        """Read delivered events, partition by partition, in the order of the log."""
        by_partition: dict[TP, list[Delivery]] = {}
        for event in events:
            by_partition.setdefault(event.message.tp, []).append(Delivery(source_record(event), event))
        try:
            for tp, deliveries in by_partition.items():
                for first in range(0, len(deliveries), _TAKE_CHUNK):
                    runner = self._runners.get(tp)
                    # A partition that was given away: its new owner reads these.
                    if runner is not None:
                        await runner.take(deliveries[first : first + _TAKE_CHUNK])
                    await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - an exception that leaves an agent would acknowledge and lose events
            self.fail(error)

    async def check_logs_regularly(self) -> None:
        """Look every now and then whether the topics still are the logs that the state follows, until cancelled.

        Faust would not say: of a topic that was created anew it drops the first records, since it read that far before.
        """
        while True:
            await asyncio.sleep(_CHECK_LOGS_S)
            await self._check_logs()

    async def _check_logs(self) -> None:
        for stage in self._stages.values():
            try:
                await asyncio.get_running_loop().run_in_executor(
                    self._shared.threads, check_log, self._settings, stage.log
                )
            except BrokerError as error:
                if error.code != "broker_unreachable":
                    raise
                log.warning("worker.broker_unreachable", topic=stage.topic, reason=error.message)

    async def flush_regularly(self) -> None:
        """Flush every partition with something to commit, each flush interval, until cancelled."""
        under_way: set[TP] = set()

        async def flush(tp: TP, runner: PartitionRunner[Any]) -> None:
            try:
                await runner.flush()
            finally:
                under_way.discard(tp)

        while True:
            await asyncio.sleep(self._settings.flush_interval_s)
            for tp, runner in list(self._runners.items()):
                runner.check_delivery()
                if runner.due and tp not in under_way:
                    under_way.add(tp)
                    self._spawn(flush(tp, runner))
            if self._ticker is not None:
                self._ticker.tick(
                    runner for tp, runner in self._runners.items() if self._stages[tp.topic].ticks and runner.ready
                )

    async def drain(self) -> None:
        """Stop reading, commit what was read, let every partition go."""
        self._draining = True
        await self._release(set(self._runners))
        self._shared.offsets.close()

    def fail(self, error: BaseException) -> None:
        """End the process now, without acknowledging anything."""
        if isinstance(error, TokenmillError):
            log.error("worker.failed", code=error.code, reason=error.message, **error.data)
        else:
            log.error("worker.failed", code="internal", reason=f"{type(error).__name__}: {error}", exc_info=error)
        sys.stderr.flush()
        os._exit(error.exit_code if isinstance(error, TokenmillError) else 1)

    async def _release(self, partitions: Iterable[TP]) -> None:
        runners = [runner for tp in partitions if (runner := self._runners.pop(tp, None)) is not None]
        try:
            await asyncio.gather(*(runner.stop() for runner in runners))
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be acknowledged after it
            self.fail(error)

    def _spawn(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - an error in the background must end the process, not vanish
                self.fail(error)

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _by_topic(partitions: Iterable[TP]) -> dict[str, list[int]]:
    topics: dict[str, list[int]] = {}
    for tp in sorted(partitions):
        topics.setdefault(tp.topic, []).append(tp.partition)
    return topics
