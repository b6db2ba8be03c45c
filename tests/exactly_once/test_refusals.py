"""A worker never goes on by an offset alone: not on a log that was cut off, not on another log under the same name."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import NewTopic

from infra import topics
from infra.kafka import admin, client_config, end_offsets
from streams.transactions import group_id
from tests.exactly_once.conftest import Deploy
from tests.exactly_once.deployment import Deployment
from tests.exactly_once.processes import Worker
from tests.exactly_once.traffic import emit, usage_rows
from tests.support import Broker, eventually

pytestmark = [pytest.mark.apache, pytest.mark.kafka]
ROWS = usage_rows(2_000)


def _read_some(deployment: Deployment) -> None:
    """A worker reads the first half and leaves."""
    with deployment.worker() as worker:
        emit(deployment.settings, ROWS.slice(0, 1_000))
        deployment.await_caught_up(worker)
        assert worker.terminate(20) == 0


def _cut_off_the_log(deployment: Deployment) -> None:
    """Delete every record that the log holds now."""
    topic = deployment.settings.topics.usage_events
    ends = end_offsets(deployment.settings, topic)
    wanted = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
    client = admin(deployment.settings)  # named: a client that is collected answers nothing more
    for future in client.delete_records(wanted, operation_timeout=10).values():
        future.result(20)


def _create_anew(deployment: Deployment) -> None:
    """Delete the topic of usage, and create it under the same name."""
    settings = deployment.settings
    topic, client = settings.topics.usage_events, admin(settings)
    client.delete_topics([topic], operation_timeout=10)[topic].result(20)
    eventually(lambda: topic not in client.list_topics(timeout=5).topics, what="the topic's end")
    client.create_topics([NewTopic(topic, settings.partitions, 1)], operation_timeout=10)[topic].result(20)


def _said(worker: Worker) -> str:
    return worker.log.read_text(errors="replace")


def test_a_log_cut_off_behind_the_position_is_refused_at_the_start(apache: Broker, deploy: Deploy) -> None:
    deployment = deploy(apache)
    _read_some(deployment)
    emit(deployment.settings, ROWS.slice(1_000))
    _cut_off_the_log(deployment)
    with deployment.worker() as worker:
        assert worker.ended() == 1
        code, reason = worker.failure()
        assert code == "log_truncated"
        assert "deleted by retention before they were rated" in reason


def test_a_log_cut_off_while_a_worker_lags_behind_ends_it(apache: Broker, deploy: Deploy) -> None:
    deployment = deploy(apache, session_timeout_s="30")
    with deployment.worker() as worker:
        emit(deployment.settings, ROWS.slice(0, 500))
        deployment.await_caught_up(worker)
        worker.freeze()
        emit(deployment.settings, ROWS.slice(500, 1_000), batch_events=20, source="test/lost")
        _cut_off_the_log(deployment)
        emit(deployment.settings, ROWS.slice(1_500), source="test/kept")
        worker.thaw()
        assert worker.ended() == 1
        assert worker.failure()[0] == "log_truncated"


def test_a_topic_created_anew_is_refused_at_the_start(apache: Broker, deploy: Deploy) -> None:
    deployment = deploy(apache)
    _read_some(deployment)
    _create_anew(deployment)
    with deployment.worker() as unregistered:
        assert unregistered.ended() == 1
        assert "is not the log it was" in _said(unregistered)
    topics.apply(deployment.settings)
    with deployment.worker() as registered:
        assert registered.ended() == 1
        code, reason = registered.failure()
        assert code == "another_log"
        assert "recreated" in reason


def test_a_topic_created_anew_under_a_running_worker_ends_it(apache: Broker, deploy: Deploy) -> None:
    deployment = deploy(apache)
    with deployment.worker() as worker:
        emit(deployment.settings, ROWS.slice(0, 500))
        deployment.await_caught_up(worker)
        _create_anew(deployment)
        emit(deployment.settings, ROWS.slice(500, 500))
        assert worker.ended() == 1
        # Whichever the worker meets first: the topic gone, another one in its place, or a commit to the one that was.
        assert worker.failure()[0] in ("unknown_topic", "another_log", "transaction_failed")


def test_a_group_offset_moved_past_the_position_ends_the_worker(apache: Broker, deploy: Deploy) -> None:
    deployment = deploy(apache)
    _read_some(deployment)
    settings, topic = deployment.settings, deployment.settings.topics.usage_events
    emit(settings, ROWS.slice(1_000, 500), batch_events=20)
    group = Consumer(client_config(settings, group_id=group_id(settings), enable_auto_commit=False))
    moved = [TopicPartition(topic, partition, end) for partition, end in end_offsets(settings, topic).items()]
    group.commit(offsets=moved, asynchronous=False)
    group.close()
    with deployment.worker() as worker:
        worker.await_partitions(8)
        emit(settings, ROWS.slice(1_500), source="test/later")
        assert worker.ended(60) == 1
        code, reason = worker.failure()
        assert code == "delivery_stalled"
        assert "group's offset was moved" in reason
