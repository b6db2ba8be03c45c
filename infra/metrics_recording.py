"""Writing the metrics of `infra.metrics`: what a worker's partition and a sink have to say, one call per flush or insert."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import Counter

from infra import metrics


@dataclass(frozen=True, slots=True)
class Counted:
    """What the rows of one flush were: by where they ended, and by code or outcome where they were not counted."""

    outcomes: Mapping[str, int]
    unrated: Mapping[str, int] = field(default_factory=dict)
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    exclusions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a partition of usage holds. `watermark_us` None: no event yet; `evicted_minutes` counts since the log began."""

    watermark_us: int | None
    usage_keys: int
    window_bytes: int
    window_events: int
    evicted_minutes: int
    missing_batches: int


class PartitionMetrics:
    """The series of one partition of a worker, from its assignment until it is given away. For one thread at a time."""

    def __init__(self, topic: str, partition: int) -> None:
        self._topic, self._partition = topic, str(partition)
        self._place = (topic, self._partition)
        self._records = metrics.WORKER_RECORDS.labels(*self._place)
        self._events = metrics.WORKER_EVENTS.labels(*self._place)
        self._offset = metrics.WORKER_OFFSET.labels(*self._place)
        self._lag = metrics.WORKER_LAG.labels(*self._place)
        self._evicted: int | None = None
        self._owned = True
        metrics.WORKER_PARTITIONS.labels(topic).inc()

    def read(self, records: int) -> None:
        """Records were taken in."""
        self._records.inc(records)

    def restored(self, seconds: float, next_offset: int, holdings: Holdings | None) -> None:
        """The partition was taken over."""
        metrics.WORKER_RESTORE.labels(self._topic).observe(seconds)
        self._offset.set(next_offset)
        self._holds(holdings)

    def transaction(self, seconds: float, records: int) -> None:
        """A transaction was committed."""
        metrics.WORKER_TRANSACTION.labels(self._topic).observe(seconds)
        metrics.WORKER_WRITTEN.labels(self._topic).inc(records)

    def flushed(self, seconds: float, next_offset: int, counted: Counted, holdings: Holdings | None) -> None:
        """A flush is committed and acknowledged."""
        metrics.WORKER_FLUSH.labels(self._topic).observe(seconds)
        self._offset.set(next_offset)
        self._events.inc(sum(counted.outcomes.values()))
        _add(metrics.WORKER_OUTCOMES, counted.outcomes, self._topic)
        _add(metrics.WORKER_UNRATED, counted.unrated)
        _add(metrics.WORKER_DEAD_LETTERS, counted.dead_letters, self._topic)
        _add(metrics.WORKER_EXCLUSIONS, counted.exclusions, self._topic)
        self._holds(holdings)

    def behind(self, records: int) -> None:
        """How far the end of the partition is away."""
        self._lag.set(records)

    def released(self) -> None:
        """The partition is another worker's now: what stands here would only grow stale."""
        if not self._owned:
            return
        self._owned = False
        metrics.WORKER_PARTITIONS.labels(self._topic).dec()
        for gauge in (metrics.WORKER_OFFSET, metrics.WORKER_LAG):
            gauge.remove(*self._place)
        if self._evicted is not None:
            for gauge in _HELD:
                gauge.remove(self._partition)

    def _holds(self, holdings: Holdings | None) -> None:
        if holdings is None:
            return
        if holdings.watermark_us is not None:
            metrics.WORKER_WATERMARK.labels(self._partition).set(holdings.watermark_us / 1_000_000)
        metrics.WORKER_USAGE_KEYS.labels(self._partition).set(holdings.usage_keys)
        metrics.WORKER_WINDOW_BYTES.labels(self._partition).set(holdings.window_bytes)
        metrics.WORKER_WINDOW_EVENTS.labels(self._partition).set(holdings.window_events)
        metrics.WORKER_MISSING.labels(self._partition).set(holdings.missing_batches)
        # What was given up before this process had the partition is its last owner's to tell.
        before = holdings.evicted_minutes if self._evicted is None else self._evicted
        metrics.WORKER_WINDOW_EVICTED.labels(self._partition).inc((holdings.evicted_minutes - before) * 60)
        self._evicted = holdings.evicted_minutes


_HELD = (
    metrics.WORKER_WATERMARK,
    metrics.WORKER_USAGE_KEYS,
    metrics.WORKER_WINDOW_BYTES,
    metrics.WORKER_WINDOW_EVENTS,
    metrics.WORKER_MISSING,
)


def _add(counter: Counter, numbers: Mapping[str, int], *labels: str) -> None:
    for name, number in numbers.items():
        if number:
            counter.labels(*labels, name).inc(number)


@dataclass(frozen=True, slots=True)
class StoredPartition:
    """How far one partition of a sink is: the next offset to store, and how many are between it and the end (None: unknown)."""

    topic: str
    partition: int
    next_offset: int
    behind: int | None


class SinkMetrics:
    """The series of a sink's partitions; those that it no longer owns go."""

    def __init__(self) -> None:
        self._shown: set[tuple[str, str]] = set()
        self._topics: set[str] = set()

    def partitions(self, owned: Iterable[StoredPartition]) -> None:
        """The partitions that the sink owns now."""
        shown: set[tuple[str, str]] = set()
        counts: dict[str, int] = {}
        for each in owned:
            place = (each.topic, str(each.partition))
            shown.add(place)
            counts[each.topic] = counts.get(each.topic, 0) + 1
            metrics.SINK_OFFSET.labels(*place).set(each.next_offset)
            if each.behind is not None:
                metrics.SINK_LAG.labels(*place).set(each.behind)
        for gone in self._shown - shown:
            for gauge in (metrics.SINK_OFFSET, metrics.SINK_LAG):
                gauge.remove(*gone)
        for topic in self._topics | counts.keys():
            metrics.SINK_PARTITIONS.labels(topic).set(counts.get(topic, 0))
        self._shown, self._topics = shown, self._topics | counts.keys()

    @staticmethod
    def buffered(rows: int, size: int) -> None:
        """Rows and bytes that were read and are not stored."""
        metrics.SINK_BUFFERED_ROWS.set(rows)
        metrics.SINK_BUFFERED_BYTES.set(size)

    @staticmethod
    def inserted(table: str, rows: int, seconds: float) -> None:
        """ClickHouse took an insert."""
        metrics.SINK_ROWS.labels(table).inc(rows)
        metrics.SINK_INSERTS.labels(table).inc()
        metrics.SINK_INSERT.labels(table).observe(seconds)

    @staticmethod
    def postponed(table: str) -> None:
        """ClickHouse could not take an insert."""
        metrics.SINK_POSTPONED.labels(table).inc()
