"""A worker that is frozen past its session while another takes over, and then wakes up: a zombie."""

from __future__ import annotations

import pytest

from tests.exactly_once.conftest import Deploy
from tests.exactly_once.deployment import Deployment
from tests.exactly_once.processes import Worker
from tests.exactly_once.reference import REQUESTS
from tests.exactly_once.traffic import emit, usage_rows
from tests.support import Broker, eventually

pytestmark = [pytest.mark.apache, pytest.mark.kafka]


def _freeze_and_replace(deployment: Deployment, point: str, without: str = "") -> tuple[Worker, Worker]:
    """One worker freezes at a point of a flush; another reads everything and goes on alone."""
    rows = usage_rows(REQUESTS)
    half = rows.num_rows // 2
    frozen = deployment.worker(f"{point}={2 + deployment.settings.partitions}:stop", without=without)
    frozen.await_partitions(2 * deployment.settings.partitions)
    emit(deployment.settings, rows.slice(0, half), seconds=2)
    [fault] = eventually(deployment.faults, 30, what="the fault")
    assert (fault.point, fault.action, fault.pid) == (point, "stop", frozen.pid)
    other = deployment.worker(without=without)
    emit(deployment.settings, rows.slice(half), source="test/emitter-2")
    deployment.await_quiet() if without else deployment.await_caught_up(other)
    assert frozen.running
    return frozen, other


def test_a_worker_that_wakes_up_after_its_session_ends_itself_and_doubles_nothing(
    apache: Broker, deploy: Deploy
) -> None:
    deployment = deploy(apache)
    frozen, other = _freeze_and_replace(deployment, "worker.in_transaction")
    frozen.thaw()
    assert frozen.ended() == 1
    code, reason = frozen.failure()
    assert code == "partition_lost"
    assert "another worker owns" in reason
    deployment.await_caught_up(other)
    deployment.check(usage_rows(REQUESTS))


@pytest.mark.control
def test_without_fencing_a_zombie_is_noticed(apache: Broker, deploy: Deploy) -> None:
    # Frozen between two transactions of the only partition: the broker itself ends one that stays open.
    deployment = deploy(apache, partitions="1")
    frozen, _ = _freeze_and_replace(deployment, "worker.after_commit", "fencing")
    committed = len(frozen.events("partition.released"))
    frozen.thaw()
    eventually(lambda: len(frozen.events("partition.released")) > committed, 30, what="the zombie's late commit")
    with pytest.raises(AssertionError, match=r"revision \d+ after \d+|totals are wrong"):
        deployment.check(usage_rows(REQUESTS))
