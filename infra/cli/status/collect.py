"""Taking a look: Kafka and ClickHouse, each allowed to be away."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from infra.cli.reach import require_topics
from infra.cli.status.kafka_look import look_at_kafka
from infra.cli.status.look import KafkaLook, Look, TableSize
from infra.cli.status.processes_look import look_at_processes
from infra.cli.status.signals_look import interpret, topic_signals
from infra.cli.status.store_look import compared, look_at_signals, look_at_store, tables
from infra.clickhouse import connect
from infra.config import Settings
from infra.errors import BrokerError, ConfigurationError, StoreError


def look(settings: Settings, recent: timedelta, *, now: datetime | None = None) -> Look:
    """One look. What does not answer is named in the look, it is no error."""
    at = now or datetime.now(UTC)
    found = Look(at, processes=look_at_processes(settings.metrics_targets))
    signals = None
    try:
        client = connect(settings.clickhouse)
        signals, epoch = look_at_signals(client)
    except StoreError as error:
        found = replace(found, store_error=error.message)
    kafka, kafka_error = _kafka(settings)
    found = replace(found, kafka=kafka, kafka_error=kafka_error)
    if signals is None:
        return _from_the_topic(settings, found)
    try:
        store = look_at_store(client, settings, signals, at, recent)
        if signals.balance is not None and kafka is not None:
            balance = compared(client, settings, signals.balance, epoch, kafka, store.tables)
            store = replace(store, signals=replace(signals, balance=balance))
        return replace(found, store=store, usage_rows=_usage_rows(store.tables))
    except StoreError as error:
        return _from_the_topic(settings, replace(found, store_error=error.message))
    finally:
        client.close()


def two_looks(settings: Settings, recent: timedelta, apart_s: float) -> tuple[Look, Look]:
    """A short look at Kafka, and a whole one at least `apart_s` later: throughput needs two."""
    began = time.monotonic()
    kafka, error = _kafka(settings)
    first = Look(datetime.now(UTC), kafka, error, usage_rows=_stored_usage(settings))
    if kafka is not None:
        time.sleep(max(0.0, apart_s - (time.monotonic() - began)))
    return first, look(settings, recent)


def _kafka(settings: Settings) -> tuple[KafkaLook | None, str]:
    try:
        require_topics(settings, *settings.topics.all())
        return look_at_kafka(settings), ""
    except (BrokerError, ConfigurationError) as error:
        return None, error.message


def _stored_usage(settings: Settings) -> int | None:
    try:
        client = connect(settings.clickhouse)
        try:
            return _usage_rows(tables(client))
        finally:
            client.close()
    except StoreError:
        return None  # the look itself says why


def _usage_rows(sizes: Iterable[TableSize]) -> int | None:
    return next((size.rows for size in sizes if size.name == "usage_raw"), None)


def _from_the_topic(settings: Settings, found: Look) -> Look:
    """Without ClickHouse the signals are read where they come from."""
    if found.kafka is None:
        return found
    try:
        return replace(found, topic_signals=interpret(topic_signals(settings)))
    except BrokerError as error:
        return replace(found, kafka_error=error.message)
