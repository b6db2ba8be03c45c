"""Talking to Kafka: client configuration, identity of a log, offsets and readers that are right on every broker we run.

Two habits of brokers shape this module. The embedded broker answers "latest offset" with the base offset of the last
batch plus one, so an end is found by reading up to it (PARTITION_EOF), never by asking. And
`AdminClient.list_consumer_group_offsets` crashes the process while a coordinator moves (librdkafka issue 5040), so
committed offsets are read with a consumer that never joins.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from infra.config import Settings
from infra.errors import BrokerError
from infra.kafka_client import (
    MAX_MESSAGE_BYTES,
    PASSING_ERRORS,
    admin,
    ask,
    broker_error,
    client_config,
    log_client_error,
)

__all__ = [
    "MAX_MESSAGE_BYTES",
    "Isolation",
    "LogIdentity",
    "Record",
    "TopicShape",
    "Watermarks",
    "admin",
    "ask",
    "broker_count",
    "broker_error",
    "client_config",
    "cluster_id",
    "committed",
    "describe_topic",
    "end_offsets",
    "log_client_error",
    "log_identity",
    "read_all",
    "read_from",
    "read_to_end",
    "topic_partitions",
    "watermarks",
    "write",
]

Isolation = Literal["read_committed", "read_uncommitted"]


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Which log a topic is. Deleting and creating a topic makes another log, also with the same name and offsets."""

    cluster_id: str
    topic_id: str
    partitions: int

    def __str__(self) -> str:
        return f"{self.cluster_id}/{self.topic_id}"


class TopicShape(NamedTuple):
    """A topic as the broker has it: its id, number of partitions and (lowest) number of replicas of a partition."""

    topic_id: str
    partitions: int
    replicas: int


class Watermarks(NamedTuple):
    """The offsets that a partition holds: `low` is the first one, `high` the one after the last."""

    low: int
    high: int


def cluster_id(settings: Settings, client: AdminClient | None = None) -> str:
    """The id of the cluster. The embedded broker has a new one at each start, since its log is gone then."""
    client = client or admin(settings)
    described = ask("cannot describe the Kafka cluster", lambda s: client.describe_cluster(request_timeout=s).result())
    return str(described.cluster_id)


def broker_count(settings: Settings, client: AdminClient | None = None) -> int:
    """How many brokers are up."""
    client = client or admin(settings)
    described = ask("cannot describe the Kafka cluster", lambda s: client.describe_cluster(request_timeout=s).result())
    return len(described.nodes)


def log_identity(settings: Settings, topic: str, client: AdminClient | None = None) -> LogIdentity:
    """The identity of the log that `topic` is now. Raises BrokerError `unknown_topic` when there is none."""
    client = client or admin(settings)
    described = describe_topic(client, topic)
    return LogIdentity(cluster_id(settings, client), described.topic_id, described.partitions)


def topic_partitions(settings: Settings, topic: str, client: AdminClient | None = None) -> int:
    """The number of partitions of `topic`. Raises BrokerError `unknown_topic` when there is none."""
    return describe_topic(client or admin(settings), topic).partitions


def describe_topic(client: AdminClient, topic: str) -> TopicShape:
    """What the broker has under the name `topic`. Raises BrokerError `unknown_topic` when there is nothing.

    Asks for a description, not for metadata: a metadata request creates the topic on brokers that create on sight.
    """
    collection = TopicCollection([topic])
    described = ask(
        f"cannot describe topic {topic}",
        lambda s: client.describe_topics(collection, request_timeout=s)[topic].result(),
    )
    replicas = min((len(partition.replicas) for partition in described.partitions), default=0)
    return TopicShape(str(described.topic_id), len(described.partitions), replicas)


def watermarks(
    settings: Settings,
    topic: str,
    partitions: Iterable[int] | None = None,
    *,
    isolation: Isolation = "read_uncommitted",
    timeout_s: float = 30.0,
) -> dict[int, Watermarks]:
    """First offset and end of each of `partitions` (default: all of the topic).

    With `read_committed` the end is where an open transaction begins. Raises BrokerError when the topic is unknown or
    the broker does not answer within `timeout_s`.
    """
    client = admin(settings)
    wanted = sorted(range(topic_partitions(settings, topic, client)) if partitions is None else partitions)
    low = _offsets(client, topic, wanted, OffsetSpec.earliest(), isolation)
    latest = _offsets(client, topic, wanted, OffsetSpec.latest(), isolation)
    # "latest" may lie inside the last batch (embedded broker): reading from just before it finds the true end.
    starts = {partition: max(low[partition], latest[partition] - 1) for partition in wanted}
    high: dict[int, int] = {}
    for item in _read(settings, topic, starts, isolation, timeout_s):
        if isinstance(item, _End):
            high[item.partition] = item.offset
    return {partition: Watermarks(low[partition], high[partition]) for partition in wanted}


def end_offsets(
    settings: Settings,
    topic: str,
    partitions: Iterable[int] | None = None,
    *,
    isolation: Isolation = "read_uncommitted",
    timeout_s: float = 30.0,
) -> dict[int, int]:
    """The offset after the last record of each partition (see `watermarks`). Not a count: markers use offsets too."""
    found = watermarks(settings, topic, partitions, isolation=isolation, timeout_s=timeout_s)
    return {partition: marks.high for partition, marks in found.items()}


def _offsets(
    client: AdminClient, topic: str, partitions: Sequence[int], spec: OffsetSpec, isolation: Isolation
) -> dict[int, int]:
    level = IsolationLevel.READ_COMMITTED if isolation == "read_committed" else IsolationLevel.READ_UNCOMMITTED
    request = {TopicPartition(topic, partition): spec for partition in partitions}

    def answer(timeout_s: float) -> dict[int, int]:
        futures = client.list_offsets(request, isolation_level=level, request_timeout=timeout_s)
        return {where.partition: future.result().offset for where, future in futures.items()}

    return ask(f"cannot list offsets of {topic}", answer) if partitions else {}


def read_to_end(
    settings: Settings,
    topic: str,
    partition: int,
    *,
    isolation: Isolation = "read_committed",
    start: int | None = None,
    until: int | None = None,
    timeout_s: float = 30.0,
) -> Iterator[Message]:
    """The records of one partition from `start` (default: the first one kept) to its end, then stops.

    The end is where the partition ends when the reader gets there; with `read_committed` also where a transaction
    begins that is still open. Give `until` (an offset as from `end_offsets`) to wait for such a transaction: the reader
    stops only once it is past `until`. Raises BrokerError: `unknown_topic`, `offset_gone` (start is not kept any more),
    `broker_unreachable` or, with `until`, `open_transaction` after `timeout_s` without progress.
    """
    low = _offsets(admin(settings), topic, [partition], OffsetSpec.earliest(), isolation)[partition]
    if start is not None and start < low:
        raise BrokerError(
            f"{topic}, partition {partition}: offset {start} is not kept any more, the first one is {low}",
            code="offset_gone",
            start=start,
            low=low,
        )
    starts = {partition: low if start is None else start}
    for item in _read(settings, topic, starts, isolation, timeout_s, until):
        if not isinstance(item, _End):
            yield item


def read_all(
    settings: Settings, topic: str, *, isolation: Isolation = "read_committed", timeout_s: float = 30.0
) -> Iterator[Message]:
    """The records of all partitions of `topic`, each to its end. Ordered within a partition only."""
    client = admin(settings)
    partitions = range(topic_partitions(settings, topic, client))
    starts = _offsets(client, topic, partitions, OffsetSpec.earliest(), isolation)
    for item in _read(settings, topic, starts, isolation, timeout_s):
        if not isinstance(item, _End):
            yield item


def read_from(
    settings: Settings,
    topic: str,
    starts: Mapping[int, int],
    *,
    isolation: Isolation = "read_committed",
    timeout_s: float = 30.0,
) -> Iterator[Message]:
    """The records of several partitions side by side, each from its start to its end; ordered within a partition only.

    Raises BrokerError `offset_gone` when a start is not kept any more, `broker_unreachable` after `timeout_s` of silence.
    """
    for item in _read(settings, topic, starts, isolation, timeout_s):
        if not isinstance(item, _End):
            yield item


class _End(NamedTuple):
    """A partition was read to its end: `offset` is the one after the last record or marker."""

    partition: int
    offset: int


def _read(
    settings: Settings,
    topic: str,
    starts: Mapping[int, int],
    isolation: Isolation,
    timeout_s: float,
    until: int | None = None,
) -> Iterator[Message | _End]:
    """Messages of the partitions in `starts`, an `_End` for each at its end; ends when all have ended.

    Starts are offsets, not "beginning": with those the client waits half a second before its first request.
    """
    if not starts:
        return
    consumer = Consumer(
        client_config(
            settings,
            group_id=f"{settings.deployment}.reader",  # required by the client; this consumer neither joins nor commits
            isolation_level=isolation,
            enable_auto_commit=False,
            enable_partition_eof=True,
            auto_offset_reset="error",  # never go on elsewhere than asked
            fetch_wait_max_ms=20,  # the answer "no more" should come at once
            topic_metadata_propagation_max_ms=5000,
        )
    )
    try:
        consumer.assign([TopicPartition(topic, partition, start) for partition, start in starts.items()])
        yield from _poll_to_end(consumer, topic, set(starts), timeout_s, until)
    finally:
        consumer.close()


def _poll_to_end(
    consumer: Consumer, topic: str, open_partitions: set[int], timeout_s: float, until: int | None
) -> Iterator[Message | _End]:
    deadline = time.monotonic() + timeout_s
    waiting_for_transaction = False
    while open_partitions:
        message = consumer.poll(0.25)
        if message is None:
            if time.monotonic() > deadline:
                raise _silence(topic, open_partitions, timeout_s, waiting_for_transaction)
            continue
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            _raise_unless_passing(topic, message.partition(), error)
            continue
        deadline = time.monotonic() + timeout_s
        if error is None:
            yield message
        elif until is not None and message.offset() < until:
            waiting_for_transaction = True  # the client reports the end again once it has moved
        elif message.partition() in open_partitions:
            open_partitions.discard(message.partition())
            yield _End(message.partition(), message.offset())


def _silence(topic: str, partitions: set[int], timeout_s: float, waiting_for_transaction: bool) -> BrokerError:
    where = f"{topic}, partition {', '.join(str(partition) for partition in sorted(partitions))}"
    if waiting_for_transaction:
        return BrokerError(
            f"{where}: a transaction has been open for {timeout_s:g} s; its writer is alive elsewhere or "
            "the broker has yet to end it: try again later",
            code="open_transaction",
        )
    return BrokerError(f"{where}: no answer from the broker for {timeout_s:g} s", code="broker_unreachable")


def _raise_unless_passing(topic: str, partition: int, error: KafkaError) -> None:
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise BrokerError(
            f"{topic}, partition {partition}: the log does not hold the offset to start from", code="offset_gone"
        )
    if not (error.retriable() or error.code() in PASSING_ERRORS):
        raise broker_error(f"cannot read {topic}, partition {partition}", error)


def committed(settings: Settings, group: str, topic: str, *, timeout_s: float = 15.0) -> dict[int, int]:
    """The next offset that `group` will read, by partition; partitions without a committed offset are left out."""
    partitions = range(topic_partitions(settings, topic))
    consumer = Consumer(client_config(settings, group_id=group, enable_auto_commit=False))
    try:
        wanted = [TopicPartition(topic, partition) for partition in partitions]
        found = ask(
            f"cannot read the committed offsets of group {group}",
            lambda s: consumer.committed(wanted, timeout=s),
            timeout_s=timeout_s,
        )
    finally:
        consumer.close()
    return {place.partition: place.offset for place in found if place.offset >= 0}


class Record(NamedTuple):
    """A record to write: without a partition the client chooses one by the key."""

    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes]] = ()


def write(settings: Settings, topic: str, records: Iterable[Record], *, timeout_s: float = 30.0) -> int:
    """Write records and wait until the broker has them; returns how many. For commands, not for the data path.

    Raises BrokerError when any was not delivered within `timeout_s`.
    """
    producer = Producer(client_config(settings, enable_idempotence=True, message_timeout_ms=int(timeout_s * 1000)))
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    count = 0
    for record in records:
        place = {} if record.partition is None else {"partition": record.partition}
        while True:
            try:
                producer.produce(
                    topic, record.value, record.key, headers=list(record.headers), on_delivery=delivered, **place
                )
                break
            except BufferError:  # the client's queue is full: let some be delivered
                producer.poll(0.1)
        producer.poll(0)
        count += 1
    left = producer.flush(timeout_s + 1)
    if failures:
        raise broker_error(f"{len(failures)} of {count} records were not written to {topic}", failures[0])
    if left:
        raise BrokerError(f"{left} of {count} records were not written to {topic} in time", code="broker_unreachable")
    return count
