"""The Kafka side of a sink: a confluent-kafka consumer that is a member of a group (DESIGN D11).

`subscribe`, not `assign`: a commit then carries the group's generation, and the broker refuses it from a member that
was put out of the group. That refusal is the fence of the whole protocol. Partitions are handed over in the eager way:
everybody gives up everything and takes a new share, so that there is one state to reason about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.config import Settings
from infra.errors import TokenmillError
from infra.kafka import ask, broker_error, client_config, log_client_error
from infra.logs import get_logger
from infra.metrics import SINK_REBALANCES
from sinks.delivery import Commit
from sinks.errors import CommitUnknownError, DataLostError, OwnershipLostError
from sinks.records import EndOfPartition, LogId, SourceRecord, TopicPartitionId

log = get_logger(__name__)

MAX_POLL_RECORDS = 500
PREFETCH_KBYTES = 65_536
REQUEST_TIMEOUT_S = 30.0

_FENCED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError._FENCED,
        KafkaError._ASSIGNMENT_LOST,
    }
)
_HARMLESS = frozenset({KafkaError._MAX_POLL_EXCEEDED})  # the group is joined again; what was lost comes as a rebalance


class Listener(Protocol):
    """Who is told about the share of partitions (a `Delivery`)."""

    def assigned(
        self, committed: Mapping[TopicPartitionId, tuple[int | None, str]], logs: Mapping[str, LogId]
    ) -> dict[TopicPartitionId, int | None]:
        """Partitions come, with their committed offset and note; answers where to read from."""

    def revoked(self, places: Sequence[TopicPartitionId], *, lost: bool) -> None:
        """Partitions go."""


def group_of(settings: Settings) -> str:
    """The consumer group of all sinks of a deployment."""
    return f"{settings.deployment}.sink"


class KafkaLog:
    """Implements `sinks.delivery.Log`. `identify` gives the identity of topics, and refuses a log that is not ours."""

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        identify: Callable[[Sequence[str]], Mapping[str, LogId]],
    ) -> None:
        self._identify = identify
        self._topics = list(topics)
        self._listener: Listener | None = None
        self._paused = False
        self._failure: TokenmillError | None = None
        self.joined = False
        """Whether the group has given this member its share of the partitions, if only none."""
        self._consumer = Consumer(
            client_config(
                settings,
                group_id=group_of(settings),
                isolation_level="read_committed",
                enable_auto_commit=False,
                enable_auto_offset_store=False,
                enable_partition_eof=True,
                auto_offset_reset="error",
                partition_assignment_strategy="roundrobin",
                session_timeout_ms=int(settings.session_timeout_s * 1000),
                heartbeat_interval_ms=max(int(settings.session_timeout_s * 1000 / 6), 100),
                max_poll_interval_ms=max(300_000, int(settings.session_timeout_s * 1000)),
                queued_max_messages_kbytes=PREFETCH_KBYTES,
                fetch_wait_max_ms=100,
                error_cb=log_client_error,
            )
        )

    def subscribe(self, listener: Listener) -> None:
        """Join the group. The listener is called from within `poll`."""
        self._listener = listener
        self._consumer.subscribe(
            self._topics,
            on_assign=lambda _, places: self._guarded(lambda: self._assigned(places)),
            on_revoke=lambda _, places: self._guarded(lambda: self._revoked(places, lost=False)),
            on_lost=lambda _, places: self._guarded(lambda: self._revoked(places, lost=True)),
        )

    def _guarded(self, action: Callable[[], None]) -> None:
        # An exception must not travel through librdkafka's callback: `poll` raises it instead.
        try:
            action()
        except TokenmillError as error:
            self._failure = error

    def _assigned(self, places: Sequence[TopicPartition]) -> None:
        if self._listener is None:
            raise AssertionError("not subscribed")
        SINK_REBALANCES.inc()
        if not places:
            self._consumer.assign([])
            self.joined = True
            return
        found = ask(
            "cannot read the committed offsets of the sinks",
            lambda s: self._consumer.committed(list(places), timeout=s),
            timeout_s=REQUEST_TIMEOUT_S,
        )
        committed: dict[TopicPartitionId, tuple[int | None, str]] = {}
        for each in found:
            if each.error is not None:
                raise broker_error(f"cannot read the committed offset of {each.topic}/{each.partition}", each.error)
            offset = each.offset if each.offset >= 0 else None
            committed[TopicPartitionId(each.topic, each.partition)] = (offset, each.metadata or "")
        logs = self._identify(sorted({place.topic for place in committed}))
        starts = self._listener.assigned(committed, logs)
        wanted = [
            TopicPartition(place.topic, place.partition, OFFSET_BEGINNING if start is None else start)
            for place, start in starts.items()
        ]
        self._consumer.assign(wanted)
        if self._paused:
            self._consumer.pause(wanted)
        self.joined = True

    def _revoked(self, places: Sequence[TopicPartition], *, lost: bool) -> None:
        if self._listener is None:
            raise AssertionError("not subscribed")
        self.joined = False
        self._listener.revoked([TopicPartitionId(place.topic, place.partition) for place in places], lost=lost)
        self._consumer.unassign()

    def poll(self, timeout_s: float) -> Sequence[SourceRecord | EndOfPartition]:
        """Records in order per partition. Raises DataLostError when an offset is not kept any more."""
        messages = self._consumer.consume(MAX_POLL_RECORDS, timeout_s)
        if self._failure is not None:
            raise self._failure
        events = (self._event(message) for message in messages)
        return [event for event in events if event is not None]

    def _event(self, message: Message) -> SourceRecord | EndOfPartition | None:
        error = message.error()
        if error is None:
            return SourceRecord(
                message.topic(),
                message.partition(),
                message.offset(),
                max(message.timestamp()[1], 0),
                message.key(),
                message.value(),
                message.headers() or (),
            )
        if error.code() == KafkaError._PARTITION_EOF:
            return EndOfPartition(message.topic(), message.partition(), message.offset())
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            place = f"{message.topic()}/{message.partition()}"
            raise DataLostError(
                f"{place}: the records to be stored next are not in the log any more ({error.str()}): retention "
                f"removed them before they were stored. `tokenmill reconcile` says what is missing; to accept the gap, "
                f"set the consumer group's offset of this partition to the first one kept",
                topic=message.topic(),
                partition=message.partition(),
            )
        if error.fatal() or not (error.retriable() or error.code() in _HARMLESS):
            raise broker_error(f"cannot read {message.topic() or 'from the group'}", error)
        log.warning("sink.read_error", topic=message.topic(), code=error.name(), reason=error.str())
        return None

    def commit(self, commits: Sequence[Commit]) -> None:
        """Commit offsets with notes, and wait for the broker's answer."""
        offsets = [TopicPartition(c.place.topic, c.place.partition, c.offset, c.metadata) for c in commits]
        try:
            answers = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as failure:
            raise _commit_error(failure.args[0]) from failure
        for answer in answers or ():
            if answer.error is not None:
                raise _commit_error(answer.error)

    def end(self, place: TopicPartitionId) -> int | None:
        """The end of an assigned partition as the last fetch saw it, None before the first one. Asks nobody."""
        try:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        except KafkaException:  # the partition has just been given away
            return None
        return int(high) if high >= 0 else None

    def pause(self) -> None:
        """Stop the delivery of records, now and for whatever is assigned later."""
        self._paused = True
        self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        """Deliver again."""
        self._paused = False
        self._consumer.resume(self._consumer.assignment())

    def close(self) -> None:
        """Leave the group, so that others take the partitions over at once."""
        self._consumer.close()


def _commit_error(error: KafkaError) -> TokenmillError:
    if error.code() in _FENCED or error.fatal():
        return OwnershipLostError(f"the group refused the commit: {error.str()}", error=error.name())
    if error.retriable() or broker_error("", error).code == "broker_unreachable":
        return CommitUnknownError(f"no answer to the commit: {error.str()}", error=error.name())
    return broker_error("the broker refused the commit", error)
