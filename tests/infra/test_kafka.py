"""Readers, offsets and transactions on Apache Kafka and on the embedded broker."""

from __future__ import annotations

import itertools

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from infra import kafka, topics
from infra.config import Settings
from infra.errors import BrokerError
from tests.conftest import MakeSettings
from tests.support import Broker

pytestmark = pytest.mark.kafka


@pytest.fixture(params=["apache", "tansu"])
def settings(request: pytest.FixtureRequest, make_settings: MakeSettings) -> Settings:
    where: Broker = request.getfixturevalue(request.param)
    settings = make_settings(where)
    topics.apply(settings)
    return settings


@pytest.fixture
def on_apache(apache: Broker, make_settings: MakeSettings) -> Settings:
    settings = make_settings(apache)
    topics.apply(settings)
    return settings


def _transactional(settings: Settings, name: str) -> Producer:
    producer = Producer(kafka.client_config(settings, transactional_id=f"{settings.deployment}.{name}"))
    producer.init_transactions(30)
    return producer


def _one_batch(settings: Settings, topic: str, partition: int, count: int) -> None:
    """All records in one record batch: the case in which the embedded broker's "latest" lies inside it."""
    producer = Producer(kafka.client_config(settings, linger_ms=1000))
    for number in range(count):
        producer.produce(topic, b"%d" % number, partition=partition)
    assert producer.flush(20) == 0


def test_the_true_end_is_found_after_a_batch_of_a_hundred_records(settings: Settings) -> None:
    topic = settings.topics.usage_events
    _one_batch(settings, topic, 2, 100)
    assert [message.value() for message in kafka.read_to_end(settings, topic, 2)] == [b"%d" % n for n in range(100)]
    assert kafka.end_offsets(settings, topic) == {0: 0, 1: 0, 2: 100, 3: 0}
    assert kafka.watermarks(settings, topic, [2]) == {2: kafka.Watermarks(0, 100)}
    assert [m.offset() for m in kafka.read_to_end(settings, topic, 2, start=97)] == [97, 98, 99]
    assert list(kafka.read_to_end(settings, topic, 0)) == []
    assert len(list(kafka.read_all(settings, topic))) == 100


def test_a_record_of_two_megabytes_can_be_written_and_read(settings: Settings) -> None:
    topic = settings.topics.usage_events
    kafka.write(settings, topic, [kafka.Record(b"tenant", b"x" * 2_000_000, 1, [("kind", b"big")])])
    (message,) = kafka.read_to_end(settings, topic, 1)
    assert (len(message.value()), message.key(), message.headers()) == (2_000_000, b"tenant", [("kind", b"big")])


def test_a_transaction_commits_records_and_offsets_together(settings: Settings) -> None:
    source, target, group = settings.topics.usage_events, settings.topics.usage_rated, f"{settings.deployment}.worker"
    _one_batch(settings, source, 0, 10)
    producer = _transactional(settings, "a")
    members = Consumer(kafka.client_config(settings, group_id=group))
    for round_ in (1, 2):
        producer.begin_transaction()
        for number in range(20):
            producer.produce(target, b"%d/%d" % (round_, number), b"key", partition=3)
        producer.send_offsets_to_transaction(
            [TopicPartition(source, 0, round_ * 5)], members.consumer_group_metadata(), 20
        )
        producer.commit_transaction(20)
    members.close()
    assert len(list(kafka.read_to_end(settings, target, 3))) == 40
    assert kafka.committed(settings, group, source) == {0: 10}
    assert kafka.committed(settings, f"{settings.deployment}.nobody", source) == {}


@pytest.mark.apache
def test_a_newer_producer_of_the_same_transactional_id_fences_the_older(on_apache: Settings) -> None:
    target = on_apache.topics.usage_rated
    old = _transactional(on_apache, "a")
    old.begin_transaction()
    old.produce(target, b"lost", b"key", partition=0)
    old.flush(10)
    new = _transactional(on_apache, "a")
    with pytest.raises(KafkaException) as raised:
        old.commit_transaction(10)
    assert raised.value.args[0].code() == KafkaError._FENCED
    new.begin_transaction()
    new.produce(target, b"kept", b"key", partition=0)
    new.commit_transaction(20)
    assert [message.value() for message in kafka.read_to_end(on_apache, target, 0)] == [b"kept"]


@pytest.mark.apache
def test_aborted_and_open_transactions_are_hidden_until_they_end(on_apache: Settings) -> None:
    topic = on_apache.topics.usage_rated
    producer = _transactional(on_apache, "a")
    producer.begin_transaction()
    producer.produce(topic, b"aborted", b"key", partition=0)
    producer.flush(10)
    producer.abort_transaction(10)
    producer.begin_transaction()
    producer.produce(topic, b"open", b"key", partition=0)
    producer.flush(10)
    end = kafka.end_offsets(on_apache, topic)[0]

    assert list(kafka.read_to_end(on_apache, topic, 0)) == []
    assert [m.value() for m in kafka.read_to_end(on_apache, topic, 0, isolation="read_uncommitted")] == [
        b"aborted",
        b"open",
    ]
    assert kafka.end_offsets(on_apache, topic, [0], isolation="read_committed")[0] < end
    with pytest.raises(BrokerError) as raised:
        list(kafka.read_to_end(on_apache, topic, 0, until=end, timeout_s=1))
    assert raised.value.code == "open_transaction"

    reader = kafka.read_to_end(on_apache, topic, 0, until=end, timeout_s=20)
    producer.commit_transaction(10)
    assert [message.value() for message in reader] == [b"open"]


@pytest.mark.apache
def test_log_append_time_and_commit_metadata_are_kept(on_apache: Settings) -> None:
    topic, group = on_apache.topics.usage_events, f"{on_apache.deployment}.sink"
    producer = Producer(kafka.client_config(on_apache))
    producer.produce(topic, b"old", partition=0, timestamp=1_000)
    assert producer.flush(10) == 0
    (message,) = kafka.read_to_end(on_apache, topic, 0)
    kind, when = message.timestamp()
    assert (kind, when > 1_600_000_000_000) == (2, True)

    consumer = Consumer(kafka.client_config(on_apache, group_id=group, enable_auto_commit=False))
    consumer.commit(offsets=[TopicPartition(topic, 0, 1, "v1:0-1")], asynchronous=False)
    (place,) = consumer.committed([TopicPartition(topic, 0)], timeout=10)
    consumer.close()
    assert (place.offset, place.metadata) == (1, "v1:0-1")


def test_an_unknown_topic_is_named_and_not_created(settings: Settings) -> None:
    name = f"{settings.topic_prefix}nothing"
    for call in (
        lambda: list(kafka.read_to_end(settings, name, 0, timeout_s=3)),
        lambda: kafka.log_identity(settings, name),
        lambda: kafka.end_offsets(settings, name),
        lambda: kafka.committed(settings, "group", name),
    ):
        with pytest.raises(BrokerError, match=name) as raised:
            call()
        assert raised.value.code == "unknown_topic"
    assert name not in kafka.admin(settings).list_topics(timeout=10).topics


@pytest.mark.apache
def test_an_offset_outside_the_log_is_an_error_never_another_offset(on_apache: Settings) -> None:
    topic = on_apache.topics.usage_events
    _one_batch(on_apache, topic, 0, 10)
    client = kafka.admin(on_apache)
    client.delete_records([TopicPartition(topic, 0, 6)])[TopicPartition(topic, 0, 6)].result(10)
    assert kafka.watermarks(on_apache, topic, [0]) == {0: kafka.Watermarks(6, 10)}
    for start in (5, 11):
        with pytest.raises(BrokerError) as raised:
            list(kafka.read_to_end(on_apache, topic, 0, start=start))
        assert raised.value.code == "offset_gone"
    assert [m.offset() for m in kafka.read_to_end(on_apache, topic, 0)] == [6, 7, 8, 9]


@pytest.mark.parametrize("timeout_ms", [1_000, 60_000])
def test_a_transactional_producer_can_have_any_timeout(make_settings: MakeSettings, timeout_ms: int) -> None:
    settings = make_settings(Broker("127.0.0.1:9", "given"), topic_prefix="")
    config = kafka.client_config(settings, transactional_id="a", transaction_timeout_ms=timeout_ms)
    assert Producer(config) is not None


def test_a_broker_that_is_not_there_is_an_error_in_bounded_time(make_settings: MakeSettings) -> None:
    settings = make_settings(Broker("127.0.0.1:9", "given"), topic_prefix="")
    with pytest.raises(BrokerError) as raised:
        kafka.ask("cannot list topics", lambda s: kafka.admin(settings).list_topics(timeout=s), timeout_s=1)
    assert raised.value.code == "broker_unreachable"


def test_a_reader_that_is_not_finished_closes_its_consumer(settings: Settings) -> None:
    topic = settings.topics.usage_events
    _one_batch(settings, topic, 0, 50)
    reader = kafka.read_to_end(settings, topic, 0)
    assert len(list(itertools.islice(reader, 3))) == 3
    reader.close()  # type: ignore[attr-defined]  # a generator
    assert list(reader) == []
