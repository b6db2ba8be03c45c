"""Workers that come and go under load, and workers that are told to stop."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from schemas.kinds import Kind
from tests.exactly_once.conftest import Deploy
from tests.exactly_once.reference import REQUESTS, Reference, check_same
from tests.exactly_once.traffic import emitting, sample_rows, usage_rows
from tests.support import Broker, eventually

pytestmark = [pytest.mark.apache, pytest.mark.kafka]


def test_one_then_three_then_two_workers_give_what_one_gives(
    apache: Broker, deploy: Deploy, reference: Reference
) -> None:
    # Of four partitions Faust leaves two with each of two workers, and none to a third that joins after them.
    deployment = deploy(apache, partitions="6")
    rows, samples = usage_rows(REQUESTS), sample_rows(REQUESTS)
    with ExitStack() as stack:
        first = stack.enter_context(deployment.worker())
        first.await_partitions(12)
        sent = (Kind.TOKEN_USAGE, rows), (Kind.GPU_UTILIZATION, samples)
        with emitting(deployment.settings, *sent, seconds=15):
            others = [stack.enter_context(deployment.worker()) for _ in range(2)]
            for worker in others:
                worker.await_partitions(1)
            time.sleep(1)
            assert first.terminate(20) == 0
        deployment.await_caught_up(*others)
        taken_over = [worker.events("partition.restored") for worker in others]
        assert all(taken_over), "every worker had its share"
    deployment.check(rows)
    check_same(deployment, reference)


def test_a_worker_that_is_told_to_stop_commits_and_leaves_and_the_next_one_continues(
    apache: Broker, deploy: Deploy
) -> None:
    deployment = deploy(apache)
    rows = usage_rows(REQUESTS)
    with ExitStack() as stack:
        with emitting(deployment.settings, (Kind.TOKEN_USAGE, rows), seconds=15):
            before = 0
            for _ in range(2):
                worker = stack.enter_context(deployment.worker())
                worker.await_partitions(8)
                eventually(lambda before=before: deployment.committed() > before, 40, what="progress")  # type: ignore[misc]
                assert worker.terminate(20) == 0
                assert len(worker.events("partition.released")) == 8
                assert worker.events("worker.stopped")
                before = deployment.committed()
        last = stack.enter_context(deployment.worker())
        deployment.await_caught_up(last)
        assert last.terminate(20) == 0
    deployment.check(rows)


def test_a_worker_that_is_told_to_stop_while_it_starts_leaves_at_once(apache: Broker, deploy: Deploy) -> None:
    deployment = deploy(apache)
    with deployment.worker() as worker:
        eventually(lambda: worker.events("worker.starting"), 40, what="the start")
        assert worker.terminate(20) == 0
