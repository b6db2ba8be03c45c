"""What `tokenmill status` reads from Kafka: lag in records that are there, groups, event time, the identity of logs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from infra.cli.status.collect import look
from infra.cli.status.kafka_look import look_at_kafka
from infra.config import Settings
from infra.kafka import Record, client_config, write
from infra.topics import apply
from schemas.instants import from_microseconds
from sinks.kafka_log import group_of
from streams.restore import POSITION_KEY
from streams.transactions import group_id
from tests.conftest import MakeSettings
from tests.sinks.samples import signal
from tests.streams.support import LATER_US, Log, rate, usage
from tests.support import Broker

pytestmark = pytest.mark.kafka
AT = datetime(2026, 1, 10, 7, tzinfo=UTC)


def commit(settings: Settings, group: str, topic: str, offset: int, partition: int = 0) -> None:
    consumer = Consumer(client_config(settings, group_id=group, enable_auto_commit=False))
    consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
    consumer.close()


def real_position() -> bytes:
    """The position record that the rating stage writes after one event at AT."""
    log = Log(LATER_US)
    log.batch([usage("e", AT)])
    return rate(log.records).all().state[POSITION_KEY]


@pytest.fixture
def settings(broker: Broker, make_settings: MakeSettings) -> Settings:
    made = make_settings(broker, partitions="2")
    apply(made)
    return made


def test_lag_event_time_and_groups_are_those_of_the_broker(settings: Settings) -> None:
    topics = settings.topics
    write(settings, topics.usage_events, [Record(None, b"x", 0) for _ in range(5)])
    write(settings, topics.state, [Record(b'["other"]', b"[0]", 0), Record(POSITION_KEY, real_position(), 0)])
    commit(settings, group_id(settings), topics.usage_events, 3)
    commit(settings, group_of(settings), topics.usage_events, 5)
    found = look_at_kafka(settings)

    of_events = {(lag.group, lag.partition): lag for lag in found.lags if lag.topic == topics.usage_events}
    workers = of_events[group_id(settings), 0]
    assert (workers.lag, workers.position) == (2, 3)
    assert workers.oldest is not None
    assert abs((datetime.now(UTC) - workers.oldest).total_seconds()) < 600
    assert of_events[group_of(settings), 0].lag == 0
    assert found.lag_of(group_id(settings)) == 2
    assert len({lag.topic for lag in found.lags if lag.group == group_of(settings)}) == 6

    first, second = found.times
    assert (first.position, first.watermark) == (0, AT)
    assert first.last_record is not None
    assert (second.position, second.watermark, second.last_record) == (None, None, None)
    assert found.slowest == AT == from_microseconds(int(AT.timestamp() * 10**6))
    assert [group.alive for group in found.groups] == [False, False]
    assert found.other_logs == ()


def test_without_clickhouse_the_signals_are_read_from_their_topic(settings: Settings) -> None:
    value, headers = signal(7, partition=0, read=4, rated=3, duplicate=1, by_code={})
    write(settings, settings.topics.usage_signals, [Record(b"k", value, 0, headers), Record(b"j", b"nonsense", 1)])
    found = look(settings, timedelta(hours=24))
    assert found.store is None
    assert found.store_error
    assert found.signals is not None
    assert found.signals.balance is not None
    assert found.signals.balance.outcomes["duplicate"] == 1
    assert found.signals.balance.partitions[0].adds_up is None


@pytest.mark.apache
def test_transaction_markers_are_no_lag_and_hide_no_last_record(apache: Broker, make_settings: MakeSettings) -> None:
    settings = make_settings(apache, partitions="1")
    apply(settings)
    topic = settings.topics.usage_events
    producer = Producer(client_config(settings, transactional_id=f"{settings.deployment}.test"))
    producer.init_transactions(20)
    for aborted in (False, True, True, True, True):
        producer.begin_transaction()
        producer.produce(topic, b"x", partition=0)
        producer.flush(10)
        if aborted:
            producer.abort_transaction(10)
        else:
            producer.commit_transaction(10)
    commit(settings, group_id(settings), topic, 1)
    found = look_at_kafka(settings)
    assert found.lag_of(group_id(settings), topic) == 0
    assert found.times[0].last_record is not None


def test_a_topic_that_was_made_anew_is_named(settings: Settings) -> None:
    topic = settings.topics.usage_events
    client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap})
    client.delete_topics([topic], operation_timeout=20)[topic].result()
    for _ in range(100):
        if client.create_topics([NewTopic(topic, 2, 1)], operation_timeout=20)[topic].exception() is None:
            break
    (problem,) = look_at_kafka(settings).other_logs
    assert f"{topic} is not the log it was" in problem
