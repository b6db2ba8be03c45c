"""Order, batches, repetition, the number of workers and the broker change nothing in the last record of any key."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from infra.config import Settings
from schemas.kinds import Kind
from tests.exactly_once import results
from tests.exactly_once.conftest import Deploy
from tests.exactly_once.reference import REQUESTS, Reference, check_same, send_all
from tests.exactly_once.traffic import emit, sample_rows, shuffled, usage_rows
from tests.support import Broker

pytestmark = [pytest.mark.kafka]


@pytest.mark.apache
@pytest.mark.parametrize(("workers", "batch_events", "seed"), [(1, 37, 1), (3, 700, 2)])
def test_shuffled_events_sent_twice_in_other_batches_give_the_same(
    apache: Broker, deploy: Deploy, reference: Reference, workers: int, batch_events: int, seed: int
) -> None:
    deployment = deploy(apache)
    _send_twice(deployment.settings, batch_events, seed)
    with ExitStack() as stack:
        running = [stack.enter_context(deployment.worker()) for _ in range(workers)]
        deployment.await_caught_up(*running)
    deployment.check(usage_rows(REQUESTS), sent_times=2)
    check_same(deployment, reference)


def _send_twice(settings: Settings, batch_events: int, seed: int) -> None:
    """All usage in another order, and again in yet another from an emitter that was started anew; samples in theirs."""
    for again in range(2):
        emit(settings, shuffled(usage_rows(REQUESTS), seed + 10 * again), batch_events=batch_events)
        emit(
            settings,
            sample_rows(REQUESTS),
            source="test/gpus",
            kind=Kind.GPU_UTILIZATION,
            batch_events=batch_events + again,
        )


@pytest.mark.control
@pytest.mark.apache
def test_without_the_event_window_events_sent_twice_are_noticed(apache: Broker, deploy: Deploy) -> None:
    deployment = deploy(apache)
    rows = usage_rows(REQUESTS).slice(0, 2_000)
    for seed in (1, 2):
        emit(deployment.settings, shuffled(rows, seed))
    with deployment.worker(without="event window") as worker:
        deployment.await_caught_up(worker)
    with pytest.raises(AssertionError):
        deployment.check(rows, sent_times=2)


@pytest.mark.apache
def test_apache_kafka_and_the_embedded_broker_give_the_same(
    tansu: Broker, deploy: Deploy, reference: Reference
) -> None:
    deployment = deploy(tansu)
    send_all(deployment)
    with deployment.worker() as worker:
        deployment.await_caught_up(worker)
        assert worker.terminate(20) == 0
    results.check_revisions(deployment.settings)
    check_same(deployment, reference)
