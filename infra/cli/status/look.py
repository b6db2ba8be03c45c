"""What a look at a running installation finds: plain values, taken at one moment. No rule about good and bad is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from infra.metrics_reading import Durations


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far a group is behind in a partition: records it has not committed; `position` is the next one it will read.

    `oldest` is when the log got the first of those records (None: there is none).
    """

    group: str
    topic: str
    partition: int
    lag: int
    position: int
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group: whether any process is in it, and how many; None where the broker does not say."""

    name: str
    alive: bool | None
    members: int | None


@dataclass(frozen=True, slots=True)
class PartitionTime:
    """Time in a partition of the usage topic: event time that the worker has reached, and when the log got its last record.

    `watermark` is None before the first event, `last_record` where the partition is empty.
    """

    partition: int
    position: int | None
    watermark: datetime | None
    last_record: datetime | None


@dataclass(frozen=True, slots=True)
class KafkaLook:
    """What Kafka says. `other_logs` has one line for each topic that is not the log it should be."""

    lags: tuple[PartitionLag, ...]
    groups: tuple[Group, ...]
    times: tuple[PartitionTime, ...]
    other_logs: tuple[str, ...] = ()

    @property
    def slowest(self) -> datetime | None:
        """The watermark of the partition that is furthest behind in event time; None before the first event."""
        return min((each.watermark for each in self.times if each.watermark is not None), default=None)

    def lag_of(self, group: str, topic: str | None = None) -> int:
        """Records that a group has not committed, of one topic or of all."""
        return sum(each.lag for each in self.lags if each.group == group and topic in (None, each.topic))


@dataclass(frozen=True, slots=True)
class NotCounted:
    """Dead letters of one code, or excluded rows of one outcome: rows in all, and those since the time looked at."""

    name: str
    rows: int
    recent: int
    last: datetime | None


@dataclass(frozen=True, slots=True)
class Gap:
    """Batches of a source that have numbers and never arrived: a proven loss until they do."""

    partition: int
    source: str
    epoch: int
    missing: int
    ranges: tuple[tuple[int, int], ...]
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Usage of a tenant that no price covers, as text of an exact decimal."""

    tenant: str
    meter: str
    quantity: str
    windows: int


@dataclass(frozen=True, slots=True)
class PartitionBalance:
    """The worker's count of one partition beside the rows that ClickHouse holds of the same stretch of the log.

    `read` and the outcomes are the worker's, up to offset `position`; `stored` are rows and unreadable records up to there.
    None: not compared, because the sinks have not come that far yet.
    """

    partition: int
    position: int
    read: int
    ended: int
    not_rated: int
    stored: int | None
    put_aside: int | None

    @property
    def adds_up(self) -> bool | None:
        """Whether every row ended somewhere and both sides agree; None where it could not be compared."""
        if self.read != self.ended:
            return False
        if self.stored is None or self.put_aside is None:
            return None
        return self.stored == self.read and self.put_aside == self.not_rated


@dataclass(frozen=True, slots=True)
class BalanceLook:
    """Where all rows that were read have ended, and whether that adds up partition by partition."""

    read: int
    outcomes: Mapping[str, int]
    codes: Mapping[str, int]
    partitions: tuple[PartitionBalance, ...]

    @property
    def adds_up(self) -> bool | None:
        """False if any partition does not, None if some could not be compared, else True."""
        found = [each.adds_up for each in self.partitions]
        if False in found:
            return False
        return None if None in found else True


@dataclass(frozen=True, slots=True)
class Inserts:
    """Inserts that ClickHouse finished in the last ten minutes: how many, rows, and seconds at the median and the 99th."""

    inserts: int
    rows: int
    p50_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table: rows and bytes on disk."""

    name: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """A billing period: tenants with rated records, and when the last one was rated."""

    period: str
    tenants: int
    last_rated: datetime | None


@dataclass(frozen=True, slots=True)
class Signals:
    """What the signals say that hold now, from ClickHouse or from the topic itself."""

    gaps: tuple[Gap, ...] = ()
    unpriced: tuple[Unpriced, ...] = ()
    cut_windows: tuple[int, ...] = ()
    """Partitions whose window of event ids had to forget early."""
    balance: BalanceLook | None = None


@dataclass(frozen=True, slots=True)
class StoreLook:
    """What ClickHouse says. `inserts` is None where it keeps no query log."""

    dead_letters: tuple[NotCounted, ...]
    exclusions: tuple[NotCounted, ...]
    unreadable: int
    signals: Signals
    inserts: Inserts | None
    periods: tuple[BillingPeriod, ...]
    """The newest ones, newest first."""
    tables: tuple[TableSize, ...]
    missing_migrations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessTimes:
    """How long a worker's transactions and a sink's inserts take, since it started, as its metrics say.

    `answers` is false where nothing answered at the address.
    """

    address: str
    answers: bool
    transactions: Durations | None = None
    inserts: Durations | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """One look. `kafka` or `store` is None where it does not answer, and its error says why."""

    at: datetime
    kafka: KafkaLook | None = None
    kafka_error: str = ""
    store: StoreLook | None = None
    store_error: str = ""
    topic_signals: Signals | None = None
    """From the topic, where ClickHouse does not answer."""
    usage_rows: int | None = None
    """Rows of token usage in ClickHouse."""
    processes: tuple[ProcessTimes, ...] = ()
    """The processes whose addresses are configured."""

    @property
    def signals(self) -> Signals | None:
        """From wherever they could be had."""
        return self.store.signals if self.store is not None else self.topic_signals


@dataclass(frozen=True, slots=True)
class Rate:
    """Records per second that a group committed of a topic between two looks."""

    group: str
    topic: str
    per_second: float


def rates(before: Look | None, now: Look) -> tuple[Rate, ...]:
    """How fast each group went through each topic between two looks; nothing without two."""
    if before is None or before.kafka is None or now.kafka is None:
        return ()
    seconds = (now.at - before.at).total_seconds()
    if seconds <= 0:
        return ()
    then = {(each.group, each.topic, each.partition): each.position for each in before.kafka.lags}
    moved: dict[tuple[str, str], int] = {}
    for each in now.kafka.lags:
        start = then.get((each.group, each.topic, each.partition))
        step = 0 if start is None else max(each.position - start, 0)
        moved[each.group, each.topic] = moved.get((each.group, each.topic), 0) + step
    return tuple(Rate(group, topic, steps / seconds) for (group, topic), steps in moved.items())


def events_per_second(before: Look | None, now: Look) -> float | None:
    """Token usage events per second that reached ClickHouse between two looks; None without two."""
    if before is None or before.usage_rows is None or now.usage_rows is None:
        return None
    seconds = (now.at - before.at).total_seconds()
    return max(now.usage_rows - before.usage_rows, 0) / seconds if seconds > 0 else None
