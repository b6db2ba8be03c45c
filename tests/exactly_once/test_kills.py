"""Workers that die: at a named point inside or just behind a transaction, and at random moments."""

from __future__ import annotations

import signal

import pytest

from tests.exactly_once.conftest import Deploy
from tests.exactly_once.traffic import emit, usage_rows
from tests.support import Broker

pytestmark = [pytest.mark.apache, pytest.mark.kafka]
REQUESTS = 30_000


@pytest.mark.parametrize("point", ["worker.in_transaction", "worker.after_commit", "worker.before_send_offsets"])
def test_a_worker_killed_around_its_commit_loses_and_doubles_nothing(
    apache: Broker, deploy: Deploy, point: str
) -> None:
    deployment = deploy(apache)
    rows = usage_rows(REQUESTS)
    half = rows.num_rows // 2
    with deployment.worker(faults=f"{point}=6:kill") as first:
        first.await_partitions(8)
        emit(deployment.settings, rows.slice(0, half), seconds=3)
        assert first.ended() == -signal.SIGKILL
        [fault] = deployment.faults()
        assert (fault.point, fault.action, fault.pid) == (point, "kill", first.pid)
    with deployment.worker() as second:
        emit(deployment.settings, rows.slice(half), source="test/emitter-2")
        deployment.await_caught_up(second)
        deployment.check(rows)
