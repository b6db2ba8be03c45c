"""The brokers that tokenmill runs itself: they start, they end, they keep or lose what they promise."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from confluent_kafka import TopicCollection

from infra import kafka, topics
from infra.config import Settings
from infra.embedded import apache_jars
from infra.embedded.apache import ApacheKafka
from infra.embedded.ports import accepts, free_port
from infra.embedded.process import ChildProcess
from infra.embedded.tansu import TansuBroker
from infra.errors import EmbeddedError
from tests.conftest import MakeSettings
from tests.support import eventually

pytestmark = pytest.mark.kafka


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _in_sync(settings: Settings, topic: str) -> int:
    """The lowest number of in-sync replicas of a partition."""
    client = kafka.admin(settings)
    described = client.describe_topics(TopicCollection([topic]))[topic].result(10)
    return min(len(partition.isr) for partition in described.partitions)


def test_the_embedded_broker_starts_answers_and_is_gone_after_it(tmp_path: Path, make_settings: MakeSettings) -> None:
    with TansuBroker(tmp_path) as broker:
        pid = broker.pid
        assert pid is not None
        settings = make_settings(broker)
        assert kafka.cluster_id(settings) == broker.cluster_id
        assert broker.log.is_file()
    assert not _alive(pid)
    assert broker.pid is None
    broker.stop()


def test_a_restarted_embedded_broker_is_another_log(tmp_path: Path, make_settings: MakeSettings) -> None:
    broker = TansuBroker(tmp_path, port=free_port())
    with broker:
        settings = make_settings(broker)
        topics.apply(settings)
        before = topics.log_epoch(settings, settings.topics.usage_events)
    with broker:
        topics.apply(settings)
        after = topics.log_epoch(settings, settings.topics.usage_events)
    assert before.identity.cluster_id != after.identity.cluster_id
    assert before.identity.topic_id != after.identity.topic_id


def test_a_taken_port_is_refused_with_its_number(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"port {port} .* is taken") as raised:
            TansuBroker(tmp_path, port=port).start()
    assert raised.value.code == "port_taken"


def test_a_process_that_ends_while_starting_is_reported_with_its_last_words(tmp_path: Path) -> None:
    process = ChildProcess("the part", ["sh", "-c", "echo cannot bind; exit 3"], log=tmp_path / "log")
    with pytest.raises(EmbeddedError, match=r"the part ended with status 3 while starting: cannot bind"):
        process.wait_ready(lambda: False, 20)
    with pytest.raises(EmbeddedError, match="cannot start the part"):
        ChildProcess("the part", [str(tmp_path / "nothing")], log=tmp_path / "log")


def test_a_frozen_process_can_be_ended_and_a_deaf_one_too(tmp_path: Path) -> None:
    frozen = ChildProcess("sleeper", ["sleep", "60"], log=tmp_path / "log")
    frozen.freeze()
    frozen.stop()
    assert frozen.exit_status == -signal.SIGTERM
    deaf = ChildProcess(
        "deaf", ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], log=tmp_path / "deaf"
    )
    eventually(lambda: "ready" in deaf.log_tail())
    deaf.stop(timeout_s=0.3)
    assert deaf.exit_status == -signal.SIGKILL


def test_free_ports_differ_and_lie_below_the_ports_of_client_sockets() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert all(1024 < port < 32768 for port in ports)
    assert not accepts("127.0.0.1", ports[0])


def test_why_apache_kafka_cannot_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("TOKENMILL_KAFKA_JARS", str(tmp_path / "none"))
    assert "no java" in str(apache_jars.apache_available())
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    assert "is Java 11" in str(apache_jars.apache_available())
    java.write_text("#!/bin/sh\necho 'openjdk version \"21.0.2\"' >&2\n")
    apache_jars._java_version.cache_clear()
    assert "no mvn" in str(apache_jars.apache_available())
    with pytest.raises(EmbeddedError, match="no mvn"):
        ApacheKafka(tmp_path / "data").start()
    apache_jars._java_version.cache_clear()


@pytest.mark.apache
@pytest.mark.slow
def test_one_node_keeps_its_log_through_death_and_through_a_new_start(
    tmp_path: Path, apache: object, make_settings: MakeSettings
) -> None:
    with ApacheKafka(tmp_path / "kept", keep_data=True) as first:
        settings = make_settings(first)
        topics.apply(settings)
        registered = topics.log_epoch(settings, settings.topics.usage_events)
        kafka.write(settings, settings.topics.usage_events, [kafka.Record(None, b"%d" % n, 0) for n in range(500)])
        with pytest.raises(EmbeddedError, match="another Apache Kafka runs on"):
            ApacheKafka(first.data_dir).start()

        first.kill()
        assert first.running == ()
        first.restart()
        assert topics.log_epoch(settings, settings.topics.usage_events) == registered
        assert len(list(kafka.read_to_end(settings, settings.topics.usage_events, 0))) == 500

    with ApacheKafka(tmp_path / "kept") as second:
        again = make_settings(second, topic_prefix=settings.topic_prefix)
        assert topics.apply(again) == []
        assert topics.log_epoch(again, again.topics.usage_events) == registered
        assert len(list(kafka.read_to_end(again, again.topics.usage_events, 0))) == 500
    assert not (tmp_path / "kept" / "node-1").exists()


@pytest.mark.apache
@pytest.mark.slow
def test_three_nodes_go_on_without_one_and_take_it_back(apache_three: ApacheKafka, make_settings: MakeSettings) -> None:
    settings = make_settings(apache_three)
    changes = topics.apply(settings)
    assert changes[0].endswith("(4 partitions, 3 replicas)")
    events = settings.topics.usage_events
    kafka.write(settings, events, [kafka.Record(None, b"before", n) for n in range(4)])
    assert kafka.broker_count(settings) == 3

    apache_three.kill(2)
    kafka.write(settings, events, [kafka.Record(None, b"without", n) for n in range(4)], timeout_s=120)
    assert apache_three.running == (1, 3)
    apache_three.restart(2)
    eventually(lambda: _in_sync(settings, events) == 3, timeout=30, what="all replicas in sync")
    apache_three.freeze(3)
    # A client waits on the frozen node's open connection before it asks another one.
    kafka.write(settings, events, [kafka.Record(None, b"frozen", n) for n in range(4)], timeout_s=120)
    apache_three.thaw(3)

    eventually(lambda: kafka.broker_count(settings) == 3, timeout=30)
    values = [message.value() for message in kafka.read_all(settings, events)]
    assert sorted(values) == [b"before"] * 4 + [b"frozen"] * 4 + [b"without"] * 4
    assert topics.apply(settings) == []
