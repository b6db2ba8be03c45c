"""One Kafka transaction per flush of a partition (DESIGN D3)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from infra.config import Settings
from infra.faults import Fault, reach
from infra.kafka import client_config
from streams.errors import PartitionLost, TransactionFailed

Headers = Sequence[tuple[str, bytes]]

_CALL_TIMEOUT_S = 15.0
_QUEUE_RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """One record to be written inside a transaction; `value` None is a tombstone."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class PartitionTransactions:
    """The transactional producer of one source partition; its id makes a new owner fence the old one.

    Calls block (they run in a worker thread) and only one may run at a time.
    """

    def __init__(self, settings: Settings, topic: str, partition: int, group: object) -> None:
        """Fence whoever owned the partition before, and end what it left open. `group` is from `group_metadata`.

        Raises TransactionFailed when the broker does not answer.
        """
        self._source = TopicPartition(topic, partition)
        self.transactional_id = f"{settings.deployment}.{topic}.{partition}"
        config = client_config(
            settings,
            **{
                "transactional.id": self.transactional_id,
                "transaction.timeout.ms": int(settings.transaction_timeout_s * 1000),
                "acks": "all",
                "linger.ms": 5,
                "compression.type": "lz4",
                "retry.backoff.ms": 5,
                "message.max.bytes": 4 * 1024 * 1024,
                "queue.buffering.max.messages": 1_000_000,
            },
        )
        self._producer = Producer(config)
        self._group = group
        try:
            self._producer.init_transactions(_CALL_TIMEOUT_S * 2)
        except KafkaException as error:
            raise self._translate(error, "init_transactions") from error

    def commit(self, records: Iterable[OutgoingRecord], next_offset: int) -> None:
        """Write the records and the group's offset in one transaction.

        Raises PartitionLost when another worker owns the partition, TransactionFailed when the outcome is not known or
        the broker refused: either way nothing may be acknowledged and the process ends.
        """
        step = "begin_transaction"
        try:
            self._producer.begin_transaction()
            step = "produce"
            for record in records:
                self._produce(record)
            reach(Fault.WORKER_BEFORE_SEND_OFFSETS)
            step = "send_offsets_to_transaction"
            offset = TopicPartition(self._source.topic, self._source.partition, next_offset)
            self._producer.send_offsets_to_transaction([offset], self._group, _CALL_TIMEOUT_S)
            step = "flush"
            if self._producer.flush(_CALL_TIMEOUT_S):
                raise TransactionFailed(self.transactional_id, step, "the broker did not take all records in time")
            reach(Fault.WORKER_IN_TRANSACTION)
            step = "commit_transaction"
            self._commit()
        except (KafkaException, SystemError) as error:
            raise self._translate(error, step) from error
        reach(Fault.WORKER_AFTER_COMMIT)

    def close(self) -> None:
        """Let go of the connections; an open transaction is left to the next owner, which ends it."""
        del self._producer

    def _produce(self, record: OutgoingRecord) -> None:
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    partition=record.partition,
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers) or None,
                )
            except BufferError:
                self._producer.poll(_QUEUE_RETRY_S)
                continue
            return

    def _commit(self) -> None:
        try:
            self._producer.commit_transaction(_CALL_TIMEOUT_S)
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
            # A commit that timed out may be called again and then says how it ended.
            self._producer.commit_transaction(_CALL_TIMEOUT_S)

    def _translate(self, error: BaseException, step: str) -> PartitionLost | TransactionFailed:
        cause = error.__cause__ if isinstance(error, SystemError) and error.__cause__ else error
        detail = cause.args[0] if isinstance(cause, KafkaException) else None
        if isinstance(detail, KafkaError) and detail.code() in _FENCED:
            return PartitionLost(self.transactional_id, step)
        return TransactionFailed(self.transactional_id, step, str(detail or cause))


_FENCED = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError._FATAL})


def group_metadata(settings: Settings) -> object:
    """What `send_offsets_to_transaction` wants to know of the group.

    It is that of a consumer which never joins: the broker takes it while Faust's consumer is the member.
    """
    consumer = KafkaConsumer(client_config(settings) | {"group.id": group_id(settings)})
    try:
        return consumer.consumer_group_metadata()
    finally:
        consumer.close()


def group_id(settings: Settings) -> str:
    """The consumer group of a deployment's workers; also Faust's application id."""
    return f"{settings.deployment}.workers"
