"""A deployment under test: settings of its own on a shared broker, its workers, and waiting until they have caught up."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from infra import topics
from infra.config import Settings
from infra.kafka import client_config
from producers.control import ControlWriter
from streams.transactions import group_id
from tests.exactly_once import oracle, results
from tests.exactly_once.processes import Fired, Worker, fired
from tests.support import delete_topics, eventually

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Deployment:
    """Topics and the card of `oracle` are there; workers are started by the test."""

    settings: Settings
    directory: Path
    workers: list[Worker] = field(default_factory=list)

    def prepare(self, tenants: Iterable[str] = ("*",)) -> None:
        """Create the topics, publish the card, and charge these tenants by it ("*": all)."""
        self.directory.mkdir(parents=True, exist_ok=True)
        topics.apply(self.settings)
        with ControlWriter(self.settings, "test") as writer:
            writer.publish_card(oracle.CARD)
            for tenant in tenants:
                writer.assign(tenant, "standard", EPOCH)

    def remove(self) -> None:
        """End what still runs, delete the topics."""
        for worker in self.workers:
            worker.__exit__(None, None, None)
        delete_topics(self.settings)

    @property
    def fault_log(self) -> Path:
        return self.directory / "faults.jsonl"

    def faults(self) -> list[Fired]:
        """The faults that happened so far."""
        return fired(self.fault_log)

    def worker(self, faults: str = "", *, without: str = "") -> Worker:
        """Start a worker with a plan of faults; `without` leaves one protection out."""
        name = chr(ord("a") + len(self.workers))
        log = self.directory / f"worker-{name}.log"
        worker = Worker(self.settings, name, log, self.fault_log, faults, without)
        self.workers.append(worker)
        return worker

    def await_caught_up(self, *workers: Worker, timeout: float = 90.0) -> None:
        """Wait until both input topics are read and committed to their ends, while these workers stay alive."""
        with _Progress(self.settings) as progress:

            def done() -> bool:
                for worker in workers:
                    assert worker.running, f"worker {worker.name} ended with {worker.exit_status}"
                # Samples first: metering them writes usage.
                return progress.done(self.settings.topics.gpu_samples) and progress.done(
                    self.settings.topics.usage_events
                )

            eventually(done, timeout, every=0.1, what="the workers' catching up")

    def await_quiet(self, seconds: float = 5.0, timeout: float = 60.0) -> None:
        """Wait until events were counted and no more have been for some time: what a broken worker leaves may never be done."""
        counts, since = 0, time.monotonic()

        def quiet() -> bool:
            nonlocal counts, since
            now = results.balance(self.settings)["read"]
            if now != counts:
                counts, since = now, time.monotonic()
            return counts > 0 and time.monotonic() - since > seconds

        eventually(quiet, timeout, every=0.5, what="the end of all reading")

    def committed(self) -> int:
        """How many records of usage are committed, over all partitions."""
        with _Progress(self.settings) as progress:
            found = eventually(lambda: progress.committed(self.settings.topics.usage_events), what="committed offsets")
            return sum(found.values())

    def check(self, rows: pa.RecordBatch, *, sent_times: int = 1) -> None:
        """Everything that was sent is in the totals once, in the balance as often as it was sent, and nowhere else."""
        results.check_revisions(self.settings)
        results.check_totals(self.settings, oracle.expected(rows))
        offered, different = rows.num_rows * sent_times, len(oracle.unique(rows))
        sources = tuple(rows.column("source").unique().to_pylist())
        counts = +results.balance(self.settings, sources)
        expected = {"read": offered, "rated": different, "duplicate": offered - different}
        assert counts == {name: number for name, number in expected.items() if number}, counts
        assert results.excluded(self.settings)["duplicate"] == offered - different
        assert results.dead_letters(self.settings) == {}


class _Progress:
    """How far the worker group has committed, and how far it could."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._partitions = range(settings.partitions)
        # Neither joins the group: both only ask.
        self._group = Consumer(client_config(settings, group_id=group_id(settings), enable_auto_commit=False))
        self._reader = Consumer(
            client_config(
                settings,
                group_id=f"{settings.deployment}.progress",
                isolation_level="read_uncommitted",
                enable_auto_commit=False,
                enable_partition_eof=True,
                auto_offset_reset="error",
                fetch_wait_max_ms=20,
            )
        )

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._group.close()
        self._reader.close()

    def committed(self, topic: str) -> dict[int, int]:
        """The next offset that the group will read, by partition (0 where nothing is committed).

        Empty while a transaction holds an offset open: the broker answers when it has ended.
        """
        wanted = [TopicPartition(topic, number) for number in self._partitions]
        try:
            places = self._group.committed(wanted, timeout=2)
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError._TIMED_OUT:
                raise
            return {}
        return {place.partition: max(place.offset, 0) for place in places}

    def done(self, topic: str) -> bool:
        """Whether nothing but the markers of transactions lies behind what is committed."""
        committed = self.committed(topic)
        if not committed:
            return False
        self._reader.assign([TopicPartition(topic, number, offset) for number, offset in committed.items()])
        waiting = set(self._partitions)
        while waiting:
            message = self._reader.poll(10)
            assert message is not None, f"no answer about {topic}"
            error = message.error()
            if error is None:
                return False
            if error.code() == KafkaError._PARTITION_EOF:
                waiting.discard(message.partition())
        return True
