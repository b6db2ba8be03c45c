"""Running the sinks: all topics in one process, any number of processes side by side."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from infra.clickhouse import connect
from infra.config import Settings
from infra.errors import ConfigurationError, TokenmillError
from infra.logs import get_logger
from infra.metrics_server import Health
from sinks.buffer import Limits
from sinks.dead_letters import DeadLetterSink
from sinks.delivery import Delivery, TopicSink, Totals
from sinks.exclusions import ExclusionSink
from sinks.gpu_samples import GpuSampleSink
from sinks.kafka_log import KafkaLog
from sinks.logs import LogRegistry
from sinks.observing import MeasuredStore, Observer
from sinks.rated import RatedSink
from sinks.signals import SignalSink
from sinks.store import ClickHouseStore
from sinks.usage import UsageSink

log = get_logger(__name__)


def topic_sinks(settings: Settings) -> dict[str, TopicSink[Any]]:
    """The sink of every topic that is stored. (Each has a type of its own for a record taken apart, hence Any.)"""
    topics = settings.topics
    return {
        topics.usage_events: UsageSink(),
        topics.gpu_samples: GpuSampleSink(),
        topics.usage_rated: RatedSink(),
        topics.usage_signals: SignalSink(),
        topics.usage_excluded: ExclusionSink(),
        topics.usage_dlq: DeadLetterSink(),
    }


def run_sink(
    settings: Settings,
    stop: threading.Event,
    topics: Sequence[str] | None = None,
    *,
    accept_new_logs: bool = False,
    health: Health | None = None,
) -> Totals:
    """Store the topics (default: all) until `stop` is set; returns what was stored.

    `health` is told that the loop goes round, and asks whether the group has given this sink its share.

    Raises StoreError when a table is missing or keeps no tokens, LogChangedError when a topic is another log than the
    database follows, DataLostError when the log no longer holds what must be stored next, BrokerError.
    """
    sinks = _chosen(topic_sinks(settings), topics)
    health = health or Health()
    client = connect(settings.clickhouse)
    try:
        store = ClickHouseStore(client)
        store.check()
        registry = LogRegistry(settings, client, accept_new=accept_new_logs)
        registry.identify(sorted(sinks))
        kafka = KafkaLog(settings, sorted(sinks), registry.confirm)
        health.is_ready = lambda: kafka.joined
        delivery = Delivery(
            kafka,
            MeasuredStore(store),
            sinks,
            limits=Limits(rows=settings.sink_rows),
            interval_s=settings.sink_interval_s,
        )
        observer = Observer(kafka, delivery, health)
        try:
            kafka.subscribe(delivery)
            log.info("sink.started", topics=sorted(sinks), database=settings.clickhouse.database)
            delivery.run(stop.is_set, observer.look)
        finally:
            kafka.close()
        log.info("sink.stopped", rows=delivery.totals.rows, inserts=delivery.totals.inserts)
        return delivery.totals
    except TokenmillError as error:
        log.error("sink.failed", code=error.code, reason=error.message, **error.data)
        raise
    finally:
        client.close()


def _chosen(sinks: Mapping[str, TopicSink[Any]], topics: Sequence[str] | None) -> dict[str, TopicSink[Any]]:
    unknown = sorted(set(topics or ()) - set(sinks))
    if unknown:
        raise ConfigurationError(f"no sink for topic {', '.join(unknown)}: there are {', '.join(sorted(sinks))}")
    return {topic: sink for topic, sink in sinks.items() if topics is None or topic in topics}


def run_until_signal(
    settings: Settings,
    topics: Sequence[str] | None = None,
    *,
    accept_new_logs: bool = False,
    health: Health | None = None,
) -> Totals:
    """`run_sink` until SIGTERM or SIGINT; call it from the main thread."""
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return run_sink(settings, stop, topics, accept_new_logs=accept_new_logs, health=health)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
