"""What a sink tells its metrics: each insert, and twice a second how far its partitions are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import pyarrow as pa

from infra import metrics
from infra.metrics_recording import SinkMetrics, StoredPartition
from infra.metrics_server import Health
from sinks.buffer import PartitionBuffer
from sinks.delivery import Store, Totals
from sinks.errors import StoreUnavailableError
from sinks.records import LogId, TopicPartitionId
from sinks.tables import Table

_LOOK_S = 0.5


class Ends(Protocol):
    """Who knows where partitions end (a `KafkaLog`)."""

    def end(self, place: TopicPartitionId) -> int | None:
        """The end of a partition as last seen."""


class Watched(Protocol):
    """What is watched (a `Delivery`; the records taken apart are of any type)."""

    totals: Totals

    @property
    def partitions(self) -> Iterable[PartitionBuffer[Any]]:
        """The assigned partitions."""


class Observer:
    """Looks at a delivery from within its loop."""

    def __init__(
        self, log: Ends, delivery: Watched, health: Health, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log, self._delivery, self._health, self._clock = log, delivery, health, clock
        self._metrics = SinkMetrics()
        self._next_look = 0.0
        self._replayed = 0

    def look(self) -> None:
        """The loop goes round; renew the gauges when it is time."""
        self._health.beat()
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_S
        buffers = list(self._delivery.partitions)
        self._metrics.partitions(self._stored(buffer) for buffer in buffers)
        self._metrics.buffered(sum(each.rows for each in buffers), sum(each.size for each in buffers))
        replayed, self._replayed = self._replayed, self._delivery.totals.replayed_ranges
        metrics.SINK_REPLAYED.inc(self._replayed - replayed)

    def _stored(self, buffer: PartitionBuffer[Any]) -> StoredPartition:
        topic, partition = buffer.place
        end = self._log.end(buffer.place)
        # What follows the last record at the end of a partition are markers of transactions: nothing to store.
        done = max(buffer.next_offset, buffer.end_seen) if buffer.idle else buffer.next_offset
        behind = None if end is None else max(end - done, 0)
        return StoredPartition(topic, partition, buffer.next_offset, behind)


class MeasuredStore:
    """A `Store` whose inserts are counted and timed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def insert(self, table: Table, rows: pa.Table, token: str) -> None:
        """Insert, and tell how long it took."""
        began = time.monotonic()
        try:
            self._store.insert(table, rows, token)
        except StoreUnavailableError:
            SinkMetrics.postponed(table.name)
            raise
        SinkMetrics.inserted(table.name, rows.num_rows, time.monotonic() - began)

    def highest_offsets(self, table: Table, log_id: LogId) -> Mapping[int, int]:
        """As the store has it."""
        return self._store.highest_offsets(table, log_id)

    def count(self, table: Table, log_id: LogId, partition: int, first: int, last: int) -> int:
        """As the store has it."""
        return self._store.count(table, log_id, partition, first, last)
