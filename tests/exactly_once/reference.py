"""The same events, read by one worker that nobody disturbs: every other way has to give the same last records."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from schemas.kinds import Kind
from tests.exactly_once import results
from tests.exactly_once.deployment import Deployment
from tests.exactly_once.traffic import emit, sample_rows, usage_rows

REQUESTS = 20_000


class Reference:
    """One deployment, one worker, the whole workload at once: usage, then the samples of its GPUs."""

    def __init__(self, deploy: Callable[[], Deployment]) -> None:
        self._deploy = deploy

    @cached_property
    def last_records(self) -> dict[bytes, bytes]:
        """The last record of each key, GPU time included."""
        deployment = self._deploy()
        send_all(deployment)
        with deployment.worker() as worker:
            deployment.await_caught_up(worker)
            deployment.check(usage_rows(REQUESTS))
        return results.last_records(deployment.settings)


def send_all(deployment: Deployment) -> None:
    """All usage and all samples, in batches of 1,000."""
    emit(deployment.settings, usage_rows(REQUESTS), batch_events=1_000)
    emit(
        deployment.settings,
        sample_rows(REQUESTS),
        source="test/gpus",
        kind=Kind.GPU_UTILIZATION,
        batch_events=1_000,
    )


def check_same(deployment: Deployment, reference: Reference) -> None:
    """The last record of every key is that of the reference, byte for byte in canonical form."""
    found, expected = results.last_records(deployment.settings), reference.last_records
    wrong = [
        f"{key!r}: {found.get(key)!r} instead of {expected.get(key)!r}"
        for key in sorted(found.keys() | expected.keys())
        if found.get(key) != expected.get(key)
    ]
    assert not wrong, f"{len(wrong)} of {len(expected)} keys differ: " + "; ".join(wrong[:3])
