"""What each process tells Prometheus: every metric is declared here, and `docs/metrics.md` is made from these declarations.

A process is a worker or a sink; `registry(role)` holds the metrics of its role, those of every process, and what the
system knows about it (`process_*`). Metrics are written once per flush, insert or look at the clock, never per event.
Names follow Prometheus' conventions: base units, `_total` for what only rises, labels with few values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Literal, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics import MetricWrapperBase

# When a series began is of no use to anybody here, and doubles the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]

Role = Literal["worker", "sink"]
Kind = Literal["counter", "gauge", "histogram"]
MetricT = TypeVar("MetricT", bound=MetricWrapperBase)

_TRANSACTION_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0)
_INSERT_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_RESTORE_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Declaration:
    """One metric: the name of its series (of a histogram without `_bucket`, `_sum`, `_count`), and what it says."""

    role: Role | None
    """Which process has it; None: every one."""
    kind: Kind
    name: str
    help: str
    labels: tuple[str, ...]
    metric: MetricWrapperBase = field(repr=False, compare=False)


DECLARATIONS: Final[list[Declaration]] = []
"""All metrics, in the order of the documentation."""


def _declared(role: Role | None, kind: Kind, name: str, labels: Sequence[str], metric: MetricT, text: str) -> MetricT:
    DECLARATIONS.append(Declaration(role, kind, name, text, tuple(labels), metric))
    return metric


def _counter(role: Role | None, name: str, text: str, *labels: str) -> Counter:
    return _declared(role, "counter", name, labels, Counter(name, text, labels, registry=None), text)


def _gauge(role: Role | None, name: str, text: str, *labels: str) -> Gauge:
    return _declared(role, "gauge", name, labels, Gauge(name, text, labels, registry=None), text)


def _histogram(role: Role | None, name: str, buckets: Sequence[float], text: str, *labels: str) -> Histogram:
    made = Histogram(name, text, labels, registry=None, buckets=buckets)
    return _declared(role, "histogram", name, labels, made, text)


# -- every process ----------------------------------------------------------------------------------------------------

BUILD: Final = _gauge(None, "tokenmill_build_info", "Always 1; the labels say what runs.", "version", "role")
READY: Final = _gauge(None, "tokenmill_ready", "1 when /readyz says yes: the process does its part of the work.")

# -- workers ----------------------------------------------------------------------------------------------------------

WORKER_RECORDS: Final = _counter(
    "worker",
    "tokenmill_worker_records_total",
    "Kafka records read; a record may hold up to 1,000 events.",
    "topic",
    "partition",
)
WORKER_EVENTS: Final = _counter(
    "worker", "tokenmill_worker_events_total", "Events and samples read and committed.", "topic", "partition"
)
WORKER_OUTCOMES: Final = _counter(
    "worker",
    "tokenmill_worker_outcomes_total",
    "Where each event or sample that was read ended: rated, unrated, duplicate, dead_letter, quarantined or rerouted; "
    "samples: metered, stale_sample, dead_letter, quarantined or rerouted. The sum is that of the events read.",
    "topic",
    "outcome",
)
WORKER_UNRATED: Final = _counter(
    "worker",
    "tokenmill_worker_unrated_events_total",
    "Events with usage that no price covers, by code: no_price or no_account.",
    "code",
)
WORKER_DEAD_LETTERS: Final = _counter(
    "worker",
    "tokenmill_worker_dead_letters_total",
    "Rows and records sent to the dead letters, by code; future_event is a quarantine.",
    "topic",
    "code",
)
WORKER_EXCLUSIONS: Final = _counter(
    "worker",
    "tokenmill_worker_exclusions_total",
    "Rows read and not counted where they were read, by outcome: duplicate, rerouted, stale_sample.",
    "topic",
    "outcome",
)
WORKER_WRITTEN: Final = _counter(
    "worker",
    "tokenmill_worker_written_records_total",
    "Records committed in transactions, of every kind: rated usage, signals, state, dead letters; by the topic read.",
    "topic",
)
WORKER_LAG: Final = _gauge(
    "worker",
    "tokenmill_worker_lag_records",
    "Offsets between the last record read and the end of the partition; 0 when everything committed was read. "
    "Markers of transactions count as records while something is unread.",
    "topic",
    "partition",
)
WORKER_OFFSET: Final = _gauge(
    "worker", "tokenmill_worker_next_offset", "The offset committed for the partition.", "topic", "partition"
)
WORKER_WATERMARK: Final = _gauge(
    "worker",
    "tokenmill_worker_watermark_timestamp_seconds",
    "The highest accepted event time of the partition, as Unix time; absent before its first event.",
    "partition",
)
WORKER_FLUSH: Final = _histogram(
    "worker",
    "tokenmill_worker_flush_seconds",
    _TRANSACTION_S,
    "One flush of a partition: pricing what changed, and its transaction.",
    "topic",
)
WORKER_TRANSACTION: Final = _histogram(
    "worker",
    "tokenmill_worker_transaction_seconds",
    _TRANSACTION_S,
    "The Kafka transaction of a flush, from begin to the broker's answer to the commit.",
    "topic",
)
WORKER_RESTORE: Final = _histogram(
    "worker",
    "tokenmill_worker_restore_seconds",
    _RESTORE_S,
    "Taking a partition over: fencing its last owner and reading the state back.",
    "topic",
)
WORKER_PARTITIONS: Final = _gauge(
    "worker", "tokenmill_worker_partitions", "Partitions that this worker owns, restored or not.", "topic"
)
WORKER_REBALANCES: Final = _counter(
    "worker", "tokenmill_worker_rebalances_total", "How often the group gave this worker a new share of the partitions."
)
WORKER_USAGE_KEYS: Final = _gauge(
    "worker",
    "tokenmill_worker_usage_keys",
    "Totals held in memory: one per usage key and window of the periods that are kept.",
    "partition",
)
WORKER_WINDOW_BYTES: Final = _gauge(
    "worker", "tokenmill_worker_event_window_bytes", "Memory of the window that finds duplicates.", "partition"
)
WORKER_WINDOW_EVENTS: Final = _gauge(
    "worker", "tokenmill_worker_event_window_events", "Events that the duplicate window remembers.", "partition"
)
WORKER_WINDOW_EVICTED: Final = _counter(
    "worker",
    "tokenmill_worker_event_window_evicted_seconds_total",
    "Seconds of event time that the duplicate window had to forget early, because its bound in bytes was reached.",
    "partition",
)
WORKER_MISSING: Final = _gauge(
    "worker",
    "tokenmill_worker_missing_batches",
    "Numbered batches of sources known to exist and not read: open gaps, a proven loss until they are filled.",
    "partition",
)

# -- sinks ------------------------------------------------------------------------------------------------------------

SINK_ROWS: Final = _counter("sink", "tokenmill_sink_rows_total", "Rows that ClickHouse took.", "table")
SINK_INSERTS: Final = _counter("sink", "tokenmill_sink_inserts_total", "Inserts that ClickHouse took.", "table")
SINK_INSERT: Final = _histogram(
    "sink", "tokenmill_sink_insert_seconds", _INSERT_S, "One insert, until ClickHouse confirmed it.", "table"
)
SINK_POSTPONED: Final = _counter(
    "sink",
    "tokenmill_sink_inserts_postponed_total",
    "Inserts that ClickHouse could not take now and that are tried again under the same token.",
    "table",
)
SINK_REPLAYED: Final = _counter(
    "sink",
    "tokenmill_sink_replayed_ranges_total",
    "Ranges that an earlier owner had begun and that were stored again under the same tokens.",
)
SINK_OFFSET: Final = _gauge(
    "sink",
    "tokenmill_sink_next_offset",
    "Everything before this offset is stored, or holds no record.",
    "topic",
    "partition",
)
SINK_LAG: Final = _gauge(
    "sink",
    "tokenmill_sink_lag_records",
    "Offsets between what is stored and the end of the partition; 0 when everything committed is stored. "
    "Markers of transactions count as records while something is not stored.",
    "topic",
    "partition",
)
SINK_BUFFERED_ROWS: Final = _gauge("sink", "tokenmill_sink_buffered_rows", "Rows read and not stored yet.")
SINK_BUFFERED_BYTES: Final = _gauge(
    "sink", "tokenmill_sink_buffered_bytes", "Bytes of records read and not stored yet."
)
SINK_PARTITIONS: Final = _gauge("sink", "tokenmill_sink_partitions", "Partitions that this sink owns.", "topic")
SINK_REBALANCES: Final = _counter(
    "sink", "tokenmill_sink_rebalances_total", "How often the group gave this sink a new share of the partitions."
)


def registry(role: Role) -> CollectorRegistry:
    """The metrics of a process of this role, with what the system knows about the process."""
    made = CollectorRegistry()
    for each in DECLARATIONS:
        if each.role in (None, role):
            made.register(each.metric)
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    try:
        ours = version("tokenmill")
    except PackageNotFoundError:  # run from a checkout that was not installed
        ours = "unknown"
    BUILD.labels(ours, role).set(1)
    return made
