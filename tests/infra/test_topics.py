"""Topics on Apache Kafka and on the embedded broker: created once, corrected, recognised when recreated."""

from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from infra import kafka, topics
from infra.config import Settings
from infra.errors import BrokerError, ConfigurationError, LogChangedError
from tests.conftest import MakeSettings
from tests.support import Broker, eventually

pytestmark = pytest.mark.kafka


@pytest.fixture(params=["apache", "tansu"])
def settings(request: pytest.FixtureRequest, make_settings: MakeSettings) -> Settings:
    where: Broker = request.getfixturevalue(request.param)
    return make_settings(where)


def _config(settings: Settings, topic: str) -> dict[str, str]:
    client = kafka.admin(settings)
    (described,) = client.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
    return {name: entry.value for name, entry in described.result(10).items()}


def _recreate(settings: Settings, topic: str, partitions: int) -> None:
    client = kafka.admin(settings)
    client.delete_topics([topic], operation_timeout=10)[topic].result()
    eventually(lambda: topic not in client.list_topics(timeout=5).topics)
    client.create_topics([NewTopic(topic, partitions, 1)], operation_timeout=10)[topic].result()
    time.sleep(0.2)


def test_applying_twice_changes_nothing_the_second_time(settings: Settings) -> None:
    first = topics.apply(settings)
    assert [line.split()[:2] for line in first[:9]] == [["created", name] for name in settings.topics.all()]
    assert len(first) == 11
    assert topics.apply(settings) == []


def test_topics_have_the_settings_that_their_use_needs(settings: Settings) -> None:
    topics.apply(settings)
    names = settings.topics
    day = 86_400_000
    expected = {
        names.usage_events: ("delete", "message.timestamp.type", "LogAppendTime"),
        names.gpu_samples: ("delete", "max.message.bytes", str(4 * 1024 * 1024)),
        names.usage_rated: ("compact,delete", "min.compaction.lag.ms", str(7 * day)),
        names.usage_signals: ("compact", "min.insync.replicas", "1"),
        names.usage_excluded: ("delete", "retention.ms", str(90 * day)),
        names.usage_dlq: ("delete", "retention.ms", str(90 * day)),
        names.rating_catalog: ("compact", "cleanup.policy", "compact"),
        names.state: ("compact", "max.compaction.lag.ms", "3600000"),
        names.gpu_state: ("compact", "segment.ms", "600000"),
    }
    for topic, (cleanup, name, value) in expected.items():
        config = _config(settings, topic)
        assert sorted(config["cleanup.policy"].split(",")) == sorted(cleanup.split(",")), topic
        assert config[name] == value, topic
    assert {topic: kafka.topic_partitions(settings, topic) for topic in names.all()} == {
        topic: 1 if topic == names.rating_catalog else 4 for topic in names.all()
    }


def test_a_setting_that_was_changed_by_hand_is_put_right_and_named(settings: Settings) -> None:
    topics.apply(settings)
    entry = ConfigEntry("retention.ms", "60000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, settings.topics.usage_dlq, incremental_configs=[entry])
    client = kafka.admin(settings)
    (done,) = client.incremental_alter_configs([resource]).values()
    done.result(10)
    eventually(lambda: _config(settings, settings.topics.usage_dlq)["retention.ms"] == "60000")
    assert topics.apply(settings) == [f"{settings.topics.usage_dlq}: retention.ms 60000 -> 7776000000"]
    eventually(lambda: _config(settings, settings.topics.usage_dlq)["retention.ms"] == "7776000000")


def test_another_number_of_partitions_is_refused_before_anything_changes(
    settings: Settings,
) -> None:
    client = kafka.admin(settings)
    client.create_topics([NewTopic(settings.topics.usage_events, 3, 1)])[settings.topics.usage_events].result(10)
    with pytest.raises(ConfigurationError, match=r"usage\.events\.v1 has 3, not 4") as raised:
        topics.apply(settings)
    assert raised.value.code == "partition_count"
    assert settings.topics.state not in kafka.admin(settings).list_topics(timeout=10).topics


def test_a_recreated_topic_is_another_log_and_gets_the_next_epoch(settings: Settings) -> None:
    topics.apply(settings)
    events = settings.topics.usage_events
    first = topics.log_epoch(settings, events)
    assert (first.epoch, first.identity) == (1, kafka.log_identity(settings, events))
    kafka.write(settings, events, [kafka.Record(None, b"money", 0)])

    _recreate(settings, events, 4)

    with pytest.raises(LogChangedError, match="is not the log it was") as raised:
        topics.log_epoch(settings, events)
    assert raised.value.data["registered"] == str(first.identity)
    changes = topics.apply(settings)
    assert changes[-1].startswith(f"registered {events} as epoch 2")
    second = topics.log_epoch(settings, events)
    assert second.epoch == 2
    assert second.identity.topic_id != first.identity.topic_id
    assert topics.log_epoch(settings, settings.topics.gpu_samples).epoch == 1


def test_a_log_that_was_never_registered_is_refused(settings: Settings) -> None:
    topics.apply(settings)
    with pytest.raises(BrokerError, match="run `tokenmill topics apply`") as raised:
        topics.log_epoch(settings, settings.topics.usage_rated)
    assert raised.value.code == "log_not_registered"
