"""Ticks: time goes on in a partition where nothing happens, so that its periods close (DESIGN D6)."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Protocol

from confluent_kafka import Producer

from infra.config import Settings
from infra.kafka import client_config
from infra.logs import get_logger
from schemas.control import Tick, encode_control
from schemas.instants import format_instant
from streams.controls import tick_source

log = get_logger(__name__)


class Quiet(Protocol):
    """What a ticker looks at: a partition and how far it was read."""

    partition: int
    position: int


class Ticker:
    """Writes a tick into each partition that had no record for `tick_after_s`, at most one per quiet spell.

    The worker's clock only decides when to write: what a tick does is decided by the time in the record, so a replay
    closes periods at the same places.
    """

    def __init__(self, settings: Settings, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """`now` is the clock, injected for tests."""
        self._after_s = settings.tick_after_s
        self._topic = settings.topics.usage_events
        self._source = tick_source(settings)
        self._now = now
        self._producer = Producer(client_config(settings) | {"enable.idempotence": True, "acks": "all"})
        self._seen: dict[int, tuple[int, datetime]] = {}

    def tick(self, partitions: Iterable[Quiet]) -> None:
        """Look at the partitions and write the ticks that are due."""
        now = self._now()
        for quiet in partitions:
            position, since = self._seen.get(quiet.partition, (-2, now))
            if position != quiet.position:
                self._seen[quiet.partition] = (quiet.position, now)
            elif (now - since).total_seconds() >= self._after_s:
                self._write(quiet.partition, now)
                self._seen[quiet.partition] = (position, now)
        self._producer.poll(0)

    def close(self) -> None:
        """Wait for the last ticks to be written."""
        self._producer.flush(5)

    def _write(self, partition: int, now: datetime) -> None:
        identity = f"tick/{partition}/{format_instant(now)}"
        value, headers = encode_control(Tick(time=now), identity, self._source, now)
        self._producer.produce(self._topic, value=value, headers=headers, partition=partition)
        log.info("partition.tick", partition=partition, time=format_instant(now))
