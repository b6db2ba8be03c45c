"""Reading partitions from an offset to their end, one after another, with one client."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from infra.config import Settings
from infra.errors import BrokerError
from infra.kafka import ask, broker_error, client_config
from infra.kafka_client import PASSING_ERRORS

_SILENCE_S = 30.0


class LogReader:
    """Reads committed records; it is no member of any group. A client costs more than a short read: use one for many.

    Ends are found by reading up to them, which is right on every broker (see `infra.kafka`).
    """

    def __init__(self, settings: Settings) -> None:
        self._consumer = Consumer(
            client_config(
                settings,
                group_id=f"{settings.deployment}.reader",
                isolation_level="read_committed",
                enable_auto_commit=False,
                enable_partition_eof=True,
                auto_offset_reset="error",  # never go on elsewhere than asked
                fetch_wait_max_ms=20,  # the answer "no more" should come at once
            )
        )

    def first_offset(self, topic: str, partition: int) -> int:
        """The first offset that a partition still holds. Raises BrokerError when the broker does not answer."""
        place = TopicPartition(topic, partition)
        low, _ = ask(
            f"cannot list the offsets of {topic}, partition {partition}",
            lambda s: self._consumer.get_watermark_offsets(place, timeout=s),
        )
        return int(low)

    def read(self, topic: str, partition: int, start: int | None = None) -> Iterator[Message]:
        """The records from `start` (default: the first one kept) to the end, or to where a transaction is open.

        Starting another read ends this one. Raises BrokerError: `offset_gone` when start is not kept any more,
        `broker_unreachable` after 30 s without an answer.
        """
        first = self.first_offset(topic, partition) if start is None else start
        self._consumer.assign([TopicPartition(topic, partition, first)])
        deadline = time.monotonic() + _SILENCE_S
        while True:
            message = self._consumer.poll(0.25)
            if message is not None and message.error() is None:
                deadline = time.monotonic() + _SILENCE_S
                yield message
            elif message is not None and message.error().code() == KafkaError._PARTITION_EOF:
                return
            elif message is not None:
                _raise_unless_passing(topic, partition, message.error())
            elif time.monotonic() > deadline:
                raise BrokerError(
                    f"{topic}, partition {partition}: no answer from the broker for {_SILENCE_S:g} s",
                    code="broker_unreachable",
                )

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _raise_unless_passing(topic: str, partition: int, error: KafkaError) -> None:
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise BrokerError(
            f"{topic}, partition {partition}: the log does not hold the offset to start from", code="offset_gone"
        )
    if not (error.retriable() or error.code() in PASSING_ERRORS):
        raise broker_error(f"cannot read {topic}, partition {partition}", error)
