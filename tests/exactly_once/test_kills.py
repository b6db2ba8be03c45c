"""Workers that die: at a named point around a commit, and at random moments under load."""

from __future__ import annotations

import random
import signal
import time
from contextlib import ExitStack

import pytest

from schemas.kinds import Kind
from tests.exactly_once.conftest import Deploy
from tests.exactly_once.deployment import Deployment
from tests.exactly_once.reference import REQUESTS, Reference, check_same
from tests.exactly_once.traffic import emit, emitting, sample_rows, usage_rows
from tests.support import Broker

pytestmark = [pytest.mark.apache, pytest.mark.kafka]


def _kill_and_continue(deployment: Deployment, point: str, without: str = "") -> None:
    """Half the events while a worker runs into the fault, the rest for its successor."""
    rows = usage_rows(REQUESTS)
    half = rows.num_rows // 2
    with deployment.worker(f"{point}=6:kill", without=without) as first:
        first.await_partitions(8)
        emit(deployment.settings, rows.slice(0, half), seconds=2)
        assert first.ended() == -signal.SIGKILL
        [fault] = deployment.faults()
        assert (fault.point, fault.action, fault.pid) == (point, "kill", first.pid)
    with deployment.worker(without=without) as second:
        emit(deployment.settings, rows.slice(half), source="test/emitter-2")
        deployment.await_quiet() if without else deployment.await_caught_up(second)


@pytest.mark.parametrize("point", ["worker.before_send_offsets", "worker.in_transaction", "worker.after_commit"])
def test_a_worker_killed_around_its_commit_loses_and_doubles_nothing(
    apache: Broker, deploy: Deploy, point: str
) -> None:
    deployment = deploy(apache)
    _kill_and_continue(deployment, point)
    deployment.check(usage_rows(REQUESTS))


@pytest.mark.control
@pytest.mark.parametrize(
    ("point", "without", "noticed"),
    [
        ("worker.in_transaction", "committed only", "previous (record|is) "),
        ("worker.after_commit", "position", "'duplicate'"),
    ],
)
def test_without_its_protection_a_kill_is_noticed(
    apache: Broker, deploy: Deploy, point: str, without: str, noticed: str
) -> None:
    deployment = deploy(apache)
    _kill_and_continue(deployment, point, without)
    with pytest.raises(AssertionError, match=noticed):
        deployment.check(usage_rows(REQUESTS))


def test_kills_at_random_moments_under_load_change_nothing(
    apache: Broker, deploy: Deploy, reference: Reference
) -> None:
    deployment = deploy(apache)
    moments = random.Random(20260101)
    rows, samples = usage_rows(REQUESTS), sample_rows(REQUESTS)
    with ExitStack() as stack:
        workers = [stack.enter_context(deployment.worker()) for _ in range(2)]
        workers[0].await_partitions(1)
        sent = (Kind.TOKEN_USAGE, rows), (Kind.GPU_UTILIZATION, samples)
        with emitting(deployment.settings, *sent, seconds=12):
            for _ in range(3):
                time.sleep(moments.uniform(0.5, 3))
                victim = workers.pop(moments.randrange(len(workers)))
                assert victim.running
                victim.kill()
                workers.append(stack.enter_context(deployment.worker()))
        deployment.await_caught_up(*workers)
        assert all(worker.running for worker in workers)
    deployment.check(rows)
    check_same(deployment, reference)
