"""Faust's Kafka transport, reading committed records only and committing nothing (DESIGN D3).

Faust ties the consumer's isolation level to its own `exactly_once`, and commits offsets by a clock of its own. Here the
position of a partition moves only inside the partition's transaction, so Faust's consumer must hide aborted records and
leave the group's offsets alone.
"""

from typing import ClassVar

from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, Message


class _CommittedOnlyThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: driver.Transport) -> object:
        # The driver reads the isolation level off this flag, and only here.
        self.consumer.in_transaction = True
        try:
            return super()._create_worker_consumer(transport)
        finally:
            self.consumer.in_transaction = False


class CommittedOnlyConsumer(driver.Consumer):
    """A Faust consumer that sees committed records and never commits."""

    def _new_consumer_thread(self) -> _CommittedOnlyThread:
        return _CommittedOnlyThread(self, loop=self.loop, beacon=self.beacon)

    async def commit(self, topics: object = None, start_new_transaction: bool = True) -> bool:
        """Do nothing: offsets are committed by the transaction of their partition."""
        return False

    async def force_commit(self, topics: object = None, start_new_transaction: bool = True) -> bool:
        """Do nothing, as `commit`."""
        return False

    def ack(self, message: Message) -> bool:
        """Mark a record as done, and no more: Faust's list of what to commit would only grow."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: the gaps, one for each marker of a transaction, are kept for commits too, and sorted each time."""

    def behind(self, tp: TP, read: int) -> int | None:
        """Offsets between the last record read, at offset `read`, and the end of the partition as the last fetch saw it.

        Once everything was fetched, what follows the last delivered record are markers of transactions, which nobody
        reads. None while it is not known.
        """
        client = self._thread._consumer
        subscription = None if client is None else client._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        state = None if assignment is None else assignment.state_value(tp)
        if state is None or state.highwater is None or not state.has_valid_position:
            return None
        end = int(state.highwater)
        if state.position < end:
            return max(end - read - 1, 0)
        # Faust's own mark is the last record it handed over; at the start the first one it will.
        waiting = (self._read_offset.get(tp) or 0) - read
        return waiting if waiting > 1 else 0

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Skip Faust's livelock warnings: they judge by its own commits, which are off."""


class CommittedOnlyTransport(driver.Transport):
    """The transport that gives Faust the consumer above."""

    Consumer: ClassVar[type[driver.Consumer]] = CommittedOnlyConsumer


def use_committed_only(app: AppT) -> None:
    """Make `app` read committed records and commit nothing."""
    app.transport = CommittedOnlyTransport(app.conf.broker_consumer, app)
