"""The emitter: takes events, sends them as numbered batches, and says of every one whether it reached the log.

One emitter stands for one `source` and one kind of event. Its batches are numbered from 1 per (source, epoch,
partition); a number is used for one batch only, so the worker can tell a batch that came twice from a batch that never
came. The epoch is new at each start.

Sending never waits for the broker as long as the buffer has room. What is in the buffer when the process dies is lost,
unless whoever feeds the emitter keeps it until `flush` says it was delivered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Literal, Self

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.config import Settings
from infra.faults import Fault, reach
from infra.kafka import client_config, log_client_error
from infra.logs import get_logger
from producers.batching import Packed, Packer
from producers.errors import BufferFullError, DeliveryError, EmitterClosedError
from schemas.events import Event
from schemas.headers import BatchHeaders, RecordHeaders
from schemas.kinds import Kind
from schemas.partitioning import partition_for
from schemas.source_rejects import SourceReject, encode_source_reject

DEFAULT_BUFFER_BYTES = 64 * 1024 * 1024
_POLL_S = 0.05
_KEPT_REASONS = 8
_log = get_logger("producers.emitter")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of the events given to an emitter since it was made, in events.

    `delivered`: the broker has them. `failed`: the broker refused them or was not there in time. `pending`: not
    confirmed; after `close` nobody will know any more. `reasons`: the first few different errors, in words.
    `delivered_bytes`: size of the delivered records' values.
    """

    delivered: int
    failed: int
    pending: int
    reasons: tuple[str, ...] = ()
    delivered_bytes: int = 0

    @property
    def complete(self) -> bool:
        """Whether every event reached the log."""
        return self.failed == 0 and self.pending == 0

    def require(self) -> Self:
        """This delivery if it is complete. Raises DeliveryError otherwise."""
        if self.complete:
            return self
        why = f": {'; '.join(self.reasons)}" if self.reasons else ""
        raise DeliveryError(
            f"{self.failed + self.pending} of {self.delivered + self.failed + self.pending} events were not delivered "
            f"({self.failed} failed, {self.pending} not confirmed){why}",
            code="not_delivered",
            delivered=self.delivered,
            failed=self.failed,
            pending=self.pending,
        )


_last_epochs: dict[str, int] = {}
_epoch_lock = threading.Lock()


def new_epoch(source: str) -> int:
    """Milliseconds since 1970, and in any case more than this process used for the source before."""
    with _epoch_lock:
        epoch = max(time.time_ns() // 1_000_000, _last_epochs.get(source, 0) + 1)
        _last_epochs[source] = epoch
        return epoch


class Emitter:
    """Sends events of one kind from one source. Safe to use from several threads; use as a context manager or close it.

    `linger_s`, `max_rows` and `max_bytes` bound a batch (defaults: the settings), `buffer_bytes` what waits and what is
    on its way. At a full buffer a call waits (`on_full="block"`) or raises BufferFullError (`"raise"`). An event that
    the broker does not take within `delivery_timeout_s` counts as failed. Leave `epoch` out unless a spool is continued.
    """

    def __init__(
        self,
        settings: Settings,
        source: str,
        *,
        kind: Kind = Kind.TOKEN_USAGE,
        topic: str | None = None,
        linger_s: float | None = None,
        max_rows: int | None = None,
        max_bytes: int | None = None,
        epoch: int | None = None,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
        on_full: Literal["block", "raise"] = "block",
        delivery_timeout_s: float = 120.0,
    ) -> None:
        topics = settings.topics
        self.source = source
        self.kind = kind
        self.epoch = new_epoch(source) if epoch is None else epoch
        self.topic = topic or (topics.gpu_samples if kind == Kind.GPU_UTILIZATION else topics.usage_events)
        self._linger_s = settings.linger_s if linger_s is None else linger_s
        self._buffer_bytes = buffer_bytes
        self._on_full = on_full
        self._packer = Packer(
            kind, settings.partitions, max_rows or settings.batch_events, max_bytes or settings.batch_bytes
        )
        self._partitions = settings.partitions
        self._numbers = [0] * settings.partitions
        self._ledger = _Ledger()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._stopped = threading.Event()
        self._producer = Producer(_producer_config(settings, buffer_bytes, delivery_timeout_s))
        self._background = threading.Thread(target=self._run, name=f"emitter {source}", daemon=True)
        self._background.start()

    def emit(self, event: Event) -> None:
        """Take one event (a model of this emitter's kind).

        Raises TypeError for another kind, BufferFullError, EmitterClosedError; then the event was not taken.
        """
        self._wait_for_room()
        with self._lock:
            self._refuse_if_closed()
            self._send(self._packer.add_event(event, time.monotonic()))

    def emit_batch(self, rows: pa.RecordBatch) -> None:
        """Take a batch of events (columns of `schemas.arrow` in canonical types, any subset that has `id`).

        Rows keep their order within a partition. Raises SchemaError for other columns or types, BufferFullError,
        EmitterClosedError; then nothing was taken.
        """
        self._wait_for_room()
        with self._lock:
            self._refuse_if_closed()
            self._send(self._packer.add_batch(rows, time.monotonic()))

    def emit_rejected(self, rejected: SourceReject) -> None:
        """Send input that is no event, so that it becomes a dead letter and is counted as one event offered.

        It has no tenant: file and line decide on the partition. It has no number either; only batches have.
        """
        self._wait_for_room()
        value, headers = encode_source_reject(rejected)
        partition = partition_for(f"{rejected.file}:{rejected.line}", self._partitions)
        with self._lock:
            self._refuse_if_closed()
            self._produce(partition, value, headers, 1)

    def flush(self, timeout: float = 30.0) -> Delivery:
        """Send everything that was taken so far and wait up to `timeout` seconds until the broker has confirmed it."""
        deadline = time.monotonic() + timeout
        with self._lock:
            self._send(self._packer.drain())
        while self._ledger.outstanding and (left := deadline - time.monotonic()) > 0:
            self._poll(min(_POLL_S, left))
        return self.delivery()

    def delivery(self) -> Delivery:
        """What is known now, without waiting. Events that wait for their batch are pending."""
        with self._lock:
            return self._ledger.report(self._packer.rows)

    def close(self, timeout: float = 30.0) -> Delivery:
        """Take nothing more, flush, and say what was delivered. What is not confirmed by then is given up (`pending`).

        Closing again changes nothing and says the same.
        """
        if not self._closed.is_set():
            self._closed.set()
            self.flush(timeout)
            self._stopped.set()
            self._background.join()
            # Not confirmed in time: nothing may reach the log after this emitter has said that it did not.
            self._producer.purge()
            self._ledger.close()
            self._poll(0)
        return self.delivery()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; raises DeliveryError when an event was not delivered, unless another error is on its way."""
        delivery = self.close()
        if error is None:
            delivery.require()

    def _refuse_if_closed(self) -> None:
        if self._closed.is_set():
            raise EmitterClosedError

    def _wait_for_room(self) -> None:
        """Return once the buffer has room. Checked before anything is taken, so it is exceeded by one call at most."""
        while self._ledger.bytes + self._packer.size >= self._buffer_bytes:
            self._refuse_if_closed()
            if self._on_full == "raise":
                raise BufferFullError(self._buffer_bytes)
            with self._lock:
                self._send(self._packer.drain())  # what lingers takes room too, and only the broker can make more
            self._poll(_POLL_S)

    def _send(self, batches: Iterable[Packed]) -> None:
        """Number and produce batches. The lock is held, so numbers rise in the order of the log."""
        for batch in batches:
            self._numbers[batch.partition] += 1
            headers = BatchHeaders(self.kind, self.source, self.epoch, self._numbers[batch.partition]).encode()
            self._produce(batch.partition, batch.data, headers, batch.rows)
            reach(Fault.EMITTER_AFTER_PRODUCE)

    def _produce(self, partition: int, value: bytes, headers: RecordHeaders, events: int) -> None:
        self._ledger.sent(events, len(value))
        confirm = partial(self._ledger.confirmed, events, len(value))
        while True:
            try:
                self._producer.produce(
                    self.topic, value, partition=partition, headers=list(headers), on_delivery=confirm
                )
            except BufferError:
                self._poll(_POLL_S)  # the client's own queue is full: the same record, with its number, again
            except KafkaException as error:
                confirm(error.args[0], None)
                return
            else:
                return

    def _poll(self, timeout: float) -> None:
        """Let delivery reports be called. A fatal error of the client comes out here, and again with each record."""
        try:
            self._producer.poll(timeout)
        except (KafkaException, SystemError) as error:
            # SystemError: confluent-kafka's form of an error raised beside a delivery report.
            self._ledger.note(str(error.__cause__ or error))
            self._stopped.wait(timeout)

    def _run(self) -> None:
        """The background thread: delivery reports, and batches that have lingered long enough."""
        while not self._stopped.is_set():
            self._poll(min(_POLL_S, max(self._linger_s, 0.001)))
            with self._lock:
                self._send(self._packer.due(time.monotonic() - self._linger_s))


class _Ledger:
    """Counts what was sent and what became of it. Its methods are called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._delivered = self._failed = self._delivered_bytes = self.outstanding = self.bytes = 0
        self._reasons: dict[str, None] = {}
        self._is_closed = False

    def sent(self, events: int, size: int) -> None:
        with self._lock:
            self.outstanding += events
            self.bytes += size

    def confirmed(self, events: int, size: int, error: KafkaError | None, _: Message | None) -> None:
        with self._lock:
            if self._is_closed:
                return  # given up already: these stay pending
            self.outstanding -= events
            self.bytes -= size
            if error is None:
                self._delivered += events
                self._delivered_bytes += size
                return
            self._failed += events
        self.note(error.str())
        _log.warning("emitter.batch_not_delivered", events=events, reason=error.str())

    def note(self, reason: str) -> None:
        with self._lock:
            if len(self._reasons) < _KEPT_REASONS:
                self._reasons[reason] = None

    def close(self) -> None:
        with self._lock:
            self._is_closed = True

    def report(self, waiting: int) -> Delivery:
        with self._lock:
            pending = self.outstanding + waiting
            return Delivery(self._delivered, self._failed, pending, tuple(self._reasons), self._delivered_bytes)


def _producer_config(settings: Settings, buffer_bytes: int, delivery_timeout_s: float) -> dict[str, object]:
    return client_config(
        settings,
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        linger_ms=5,  # batches linger in the packer; this only lets neighbours share a request
        message_timeout_ms=max(1, int(delivery_timeout_s * 1000)),
        queue_buffering_max_kbytes=max(1024, 2 * buffer_bytes // 1024),
        error_cb=log_client_error,
    )
