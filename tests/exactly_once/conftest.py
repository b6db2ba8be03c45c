"""`deploy(broker)`: a deployment of its own per test; the logs of its workers are shown when the test fails."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeSettings
from tests.exactly_once.deployment import Deployment
from tests.support import Broker

Deploy = Callable[..., Deployment]
_DEPLOYMENTS = pytest.StashKey[list[Deployment]]()
_SHOWN_BYTES = 6_000


@pytest.fixture
def deploy(make_settings: MakeSettings, request: pytest.FixtureRequest) -> Iterator[Deploy]:
    """`deploy(broker, **settings)`: topics and a published card, workers to be started. A short session: 4 s."""
    deployments = request.node.stash.setdefault(_DEPLOYMENTS, [])

    def make(broker: Broker, **overrides: str) -> Deployment:
        settings = make_settings(broker, **{"session_timeout_s": "4", "flush_interval_s": "0.2", **overrides})
        deployment = Deployment(settings, Path(settings.data_dir))
        deployments.append(deployment)
        deployment.prepare()
        return deployment

    yield make
    for deployment in deployments:
        for worker in deployment.workers:
            worker.__exit__(None, None, None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for deployment in item.stash.get(_DEPLOYMENTS, []):
            for worker in deployment.workers:
                text = worker.log.read_text(errors="replace")[-_SHOWN_BYTES:]
                report.sections.append((f"{worker.log} (exit status {worker.exit_status})", text))
            if deployment.fault_log.exists():
                report.sections.append((str(deployment.fault_log), deployment.fault_log.read_text()))
    return report
