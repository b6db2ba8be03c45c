"""How fast a process works through a backlog: its committed offsets, looked at from outside."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, TopicPartition

from infra.config import Settings
from infra.embedded.process import ChildProcess
from infra.errors import BrokerError, EmbeddedError
from infra.kafka import ask, client_config, read_all
from producers.workload.draws import Ints
from schemas.headers import ARROW_STREAM, CONTENT_TYPE, header_texts

_LOOK_S = 0.02

PartitionId = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was done in a stretch of time: rows, seconds, and the processor seconds of the process (None: not known)."""

    rows: int
    seconds: float
    cpu_seconds: float | None = None

    @property
    def per_second(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def cpu_us_per_row(self) -> float | None:
        """Microseconds of processor time a row costs the process."""
        return None if self.cpu_seconds is None or not self.rows else self.cpu_seconds / self.rows * 1e6


class Backlog:
    """The rows that lie in some topics, by offset: what a committed offset means in rows."""

    def __init__(self, rows: Mapping[PartitionId, Sequence[tuple[int, int]]]) -> None:
        """`rows`: offset and number of rows of each record, in order of the offsets."""
        self._offsets: dict[PartitionId, Ints] = {}
        self._before: dict[PartitionId, Ints] = {}
        for place, records in rows.items():
            counts = np.array([count for _, count in records], dtype=np.int64)
            self._offsets[place] = np.array([offset for offset, _ in records], dtype=np.int64)
            self._before[place] = np.concatenate(([0], np.cumsum(counts)))
        self.records = sum(sum(1 for _, count in records if count) for records in rows.values())
        self.total = sum(int(before[-1]) for before in self._before.values())

    @classmethod
    def read(cls, settings: Settings, rows_of_topic: Mapping[str, int]) -> Backlog:
        """Read topics to their ends. `rows_of_topic`: rows that a record means that is no batch of events."""
        found: dict[PartitionId, list[tuple[int, int]]] = {}
        for topic, plain_rows in rows_of_topic.items():
            for message in read_all(settings, topic):
                batch = header_texts(message.headers()).get(CONTENT_TYPE) == ARROW_STREAM
                rows = _batch_rows(message.value()) if batch else plain_rows
                found.setdefault((topic, message.partition()), []).append((message.offset(), rows))
        return cls(found)

    @property
    def places(self) -> Iterable[PartitionId]:
        """The partitions with something in them."""
        return self._offsets.keys()

    def rows_below(self, committed: Mapping[PartitionId, int]) -> int:
        """How many rows lie before the committed offsets."""
        return sum(
            int(self._before[place][np.searchsorted(self._offsets[place], offset)])
            for place, offset in committed.items()
        )


def _batch_rows(value: bytes) -> int:
    with pa.ipc.open_stream(value) as reader:
        return sum(int(batch.num_rows) for batch in reader)


def measure(
    settings: Settings,
    group: str,
    backlog: Backlog,
    process: ChildProcess,
    show: Callable[[int, int], None],
    timeout_s: float = 900.0,
) -> Sample:
    """Wait until `group` has committed all of the backlog; what was done from the first commit of rows to the last.

    Everything before the first commit is left out: the start of the process, the group's join, the first flush.
    `show` gets rows done and rows in all. Raises EmbeddedError when the process ends, BrokerError after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    began: tuple[int, float, float | None] | None = None
    places = [TopicPartition(topic, partition) for topic, partition in backlog.places]
    # Uncommitted: else the broker would refuse to answer while a transaction that holds offsets is open.
    consumer = Consumer(client_config(settings, group_id=group, isolation_level="read_uncommitted"))
    try:
        while True:
            rows = backlog.rows_below(_committed(consumer, group, places))
            now, cpu = time.monotonic(), cpu_seconds(process.pid)
            if rows and began is None:
                began = rows, now, cpu
            show(rows, backlog.total)
            if rows == backlog.total and began is not None:
                spent = None if cpu is None or began[2] is None else cpu - began[2]
                return Sample(rows - began[0], now - began[1], spent)
            if not process.running:
                raise EmbeddedError(f"{process.name} ended while it was measured: {process.log_tail()[-500:]}")
            if now > deadline:
                raise BrokerError(f"{process.name} is at {rows} of {backlog.total} rows after {timeout_s:.0f} s")
            time.sleep(_LOOK_S)
    finally:
        consumer.close()


def _committed(consumer: Consumer, group: str, places: list[TopicPartition]) -> dict[PartitionId, int]:
    found = ask(f"cannot read the offsets of {group}", lambda s: consumer.committed(places, timeout=s))
    return {(place.topic, place.partition): place.offset for place in found if place.offset >= 0}


def cpu_seconds(pid: int) -> float | None:
    """Processor time that a process has used so far, its threads included; None where /proc does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return None
    # The name in parentheses may hold spaces; user and system ticks are the 12th and 13th fields after it (proc(5)).
    after = text.rpartition(")")[2].split()
    return (int(after[11]) + int(after[12])) / os.sysconf("SC_CLK_TCK")
