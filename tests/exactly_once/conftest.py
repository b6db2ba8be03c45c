"""`deploy(broker)`: a deployment of its own per call; the logs of its workers are shown when the test fails."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from infra.config import load_settings
from tests.exactly_once.deployment import Deployment
from tests.exactly_once.reference import Reference
from tests.support import Broker

_SHOWN_BYTES = 6_000
_LIVE: list[Deploy] = []
"""What is there now: a failing test shows the logs of all of it."""


class Deploy:
    """Makes deployments on shared brokers, with topics and groups of their own, and removes them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.made: list[Deployment] = []
        _LIVE.append(self)

    def __call__(self, broker: Broker, *, tenants: tuple[str, ...] = ("*",), **overrides: str) -> Deployment:
        """A deployment with topics and the tests' card, which these tenants are charged by. Its session is short: 4 s."""
        name = f"t{uuid.uuid4().hex[:10]}"
        texts = {
            "kafka": broker.bootstrap,
            "deployment": name,
            "topic_prefix": f"{name}.",
            "data_dir": str(self._directory / name),
            "partitions": "4",
            "session_timeout_s": "4",
            "flush_interval_s": "0.2",
            "tick_after_s": "0",
            **overrides,
        }
        deployment = Deployment(load_settings(texts, environ={}), self._directory / name)
        self.made.append(deployment)
        deployment.prepare(tenants)
        return deployment

    def remove(self) -> None:
        _LIVE.remove(self)
        for deployment in self.made:
            deployment.remove()


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Deploy]:
    """Deployments of one test."""
    made = Deploy(tmp_path)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def deploy_for_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploy]:
    """Deployments that the tests of a module share."""
    made = Deploy(tmp_path_factory.mktemp("deployments"))
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def reference(apache: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    """What one undisturbed worker makes of the workload, computed when first asked for."""
    made = Deploy(tmp_path_factory.mktemp("reference"))
    try:
        yield Reference(lambda: made(apache))
    finally:
        made.remove()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for deployment in [each for deploy in _LIVE for each in deploy.made]:
            for worker in deployment.workers:
                text = worker.log.read_text(errors="replace")[-_SHOWN_BYTES:]
                report.sections.append((f"{worker.log} (exit status {worker.exit_status})", text))
            if deployment.fault_log.exists():
                report.sections.append((str(deployment.fault_log), deployment.fault_log.read_text()))
    return report
