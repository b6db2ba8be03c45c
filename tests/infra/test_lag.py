"""How far a group is behind: records that are there, not offsets, and waiting that ends."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from infra import topics
from infra.config import Settings
from infra.errors import BrokerError
from infra.kafka import Record, client_config, write
from infra.lag import consumer_lag, wait_until_read
from tests.conftest import MakeSettings
from tests.support import Broker

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(broker: Broker, make_settings: MakeSettings) -> Settings:
    made = make_settings(broker, partitions="2")
    topics.apply(made)
    return made


def _commit(settings: Settings, partition: int, offset: int) -> None:
    consumer = Consumer(client_config(settings, group_id="g", enable_auto_commit=False))
    place = TopicPartition(settings.topics.usage_events, partition, offset)
    consumer.commit(offsets=[place], asynchronous=False)
    consumer.close()


def test_lag_counts_what_is_not_committed(settings: Settings) -> None:
    topic = settings.topics.usage_events
    assert consumer_lag(settings, "g", topic) == {0: 0, 1: 0}
    write(settings, topic, [Record(None, b"x", partition=0)] * 100 + [Record(None, b"x", partition=1)] * 3)
    assert consumer_lag(settings, "g", topic) == {0: 100, 1: 3}
    _commit(settings, 0, 100)
    _commit(settings, 1, 1)
    assert consumer_lag(settings, "g", topic) == {0: 0, 1: 2}


@pytest.mark.apache
def test_the_markers_of_transactions_are_no_lag(apache: Broker, make_settings: MakeSettings) -> None:
    settings = make_settings(apache, partitions="1")
    topics.apply(settings)
    topic = settings.topics.usage_events
    producer = Producer(client_config(settings, transactional_id=f"{settings.deployment}.test"))
    producer.init_transactions(20)
    for _ in range(3):
        producer.begin_transaction()
        producer.produce(topic, b"x", partition=0)
        producer.commit_transaction(20)
    # Three records and three markers: offset 5 is behind the last record.
    assert consumer_lag(settings, "g", topic) == {0: 3}
    _commit(settings, 0, 5)
    assert consumer_lag(settings, "g", topic) == {0: 0}


def test_waiting_ends_with_what_is_still_behind(settings: Settings) -> None:
    topic = settings.topics.usage_events
    write(settings, topic, [Record(None, b"x", partition=0)] * 2)
    seen: list[int] = []
    with pytest.raises(BrokerError, match=rf"still behind after 0 s: g on {topic}: 2") as failure:
        wait_until_read(settings, [("g", topic)], timeout_s=0.2, progress=seen.append)
    assert failure.value.code == "still_behind"
    assert set(seen) == {2}
    _commit(settings, 0, 2)
    wait_until_read(settings, [("g", topic), ("g", settings.topics.gpu_samples)], timeout_s=5, progress=seen.append)
    assert seen[-1] == 0


def test_waiting_stops_when_the_reader_has_died(settings: Settings) -> None:
    write(settings, settings.topics.usage_events, [Record(None, b"x", partition=0)])

    def check() -> None:
        raise RuntimeError("the worker has ended")

    with pytest.raises(RuntimeError, match="the worker has ended"):
        wait_until_read(settings, [("g", settings.topics.usage_events)], timeout_s=30, check=check)
