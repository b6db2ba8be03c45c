"""Producers in any language: events on the partition of another client's hash are counted once, where they belong."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from confluent_kafka import Message, Producer

from schemas.batch import batch_to_models
from schemas.cloudevents import encode_binary, encode_structured
from schemas.kinds import Kind
from schemas.partitioning import partition_for
from tests.exactly_once import oracle, results
from tests.exactly_once.conftest import Deploy
from tests.exactly_once.deployment import Deployment
from tests.exactly_once.traffic import usage_rows
from tests.support import Broker

pytestmark = [pytest.mark.apache, pytest.mark.kafka]


def _send_plainly(deployment: Deployment, rows: pa.RecordBatch) -> Counter[bool]:
    """One JSON event per record, key = tenant, librdkafka's own partitioner. Counts those on the right partition."""
    settings = deployment.settings
    right: Counter[bool] = Counter()

    def delivered(error: object, message: Message) -> None:
        assert error is None, error
        right[partition_for((message.key() or b"").decode(), settings.partitions) == message.partition()] += 1

    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap})
    for number, event in enumerate(batch_to_models(Kind.TOKEN_USAGE, rows)):
        value, headers = (encode_structured if number % 2 else encode_binary)(event)
        key = event.tenant_id
        producer.produce(settings.topics.usage_events, value, key, headers=list(headers), on_delivery=delivered)
    assert producer.flush(30) == 0
    return right


def test_events_of_a_plain_producer_are_rerouted_and_counted_once(apache: Broker, deploy: Deploy) -> None:
    deployment = deploy(apache)
    rows = usage_rows(400)
    unique = len(oracle.unique(rows))
    right = _send_plainly(deployment, rows)
    assert right[False] > 0, "nothing was on a wrong partition"
    with deployment.worker() as worker:
        deployment.await_caught_up(worker)
        assert worker.terminate(20) == 0
    results.check_revisions(deployment.settings)
    results.check_totals(deployment.settings, oracle.expected(rows))
    counts = +results.balance(deployment.settings)
    assert counts["rerouted"] == right[False]
    assert counts["read"] - counts["rerouted"] == rows.num_rows
    assert (counts["rated"], counts["duplicate"]) == (unique, rows.num_rows - unique)
    excluded = +results.excluded(deployment.settings)
    assert excluded == +Counter({"rerouted": right[False], "duplicate": rows.num_rows - unique})


def test_a_rerouting_worker_that_is_killed_reroutes_nothing_twice(apache: Broker, deploy: Deploy) -> None:
    deployment = deploy(apache)
    rows = usage_rows(400)
    right = _send_plainly(deployment, rows)
    with deployment.worker("worker.in_transaction=2:kill") as first:
        first.ended()
        assert [fault.pid for fault in deployment.faults()] == [first.pid]
    with deployment.worker("worker.after_commit=3:kill") as second:
        second.ended()
        assert [fault.pid for fault in deployment.faults()] == [first.pid, second.pid]
    with deployment.worker() as third:
        deployment.await_caught_up(third)
    results.check_revisions(deployment.settings)
    results.check_totals(deployment.settings, oracle.expected(rows))
    assert results.balance(deployment.settings)["rerouted"] == right[False]
    assert results.excluded(deployment.settings)["rerouted"] == right[False]
