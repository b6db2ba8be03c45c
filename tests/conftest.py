"""Brokers for tests, and settings that keep tests on one broker apart.

`broker` is the first that can be had: the one in TOKENMILL_KAFKA, a container, Apache Kafka from its Maven jars, the
embedded one. Tests that only Apache Kafka can pass use `apache`, and say so when they are skipped; with
TOKENMILL_REQUIRE_KAFKA=1 that skip is a failure.
"""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from infra.config import Settings, load_settings
from infra.embedded.apache import ApacheKafka, apache_available
from infra.embedded.tansu import TansuBroker
from infra.errors import EmbeddedError
from tests.support import Broker, HasBootstrap, delete_topics

MakeSettings = Callable[..., Settings]


def _no_apache(reason: str) -> NoReturn:
    """Skip the test, or fail it where Apache Kafka is required."""
    message = f"needs Apache Kafka, which cannot run here: {reason}"
    if os.environ.get("TOKENMILL_REQUIRE_KAFKA") == "1":
        pytest.fail(message)
    pytest.skip(message)


def _container(stack: ExitStack) -> str | None:
    """The bootstrap server of Kafka in a container, None when Docker does not answer or cannot run the image."""
    try:
        import docker  # type: ignore[import-untyped]
        from docker.errors import DockerException  # type: ignore[import-untyped]
        from testcontainers.community.kafka import KafkaContainer
    except ImportError:
        return None
    try:
        docker.from_env(timeout=3).ping()
    except (DockerException, OSError):
        return None
    container = KafkaContainer().with_kraft()
    for name, value in {
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }.items():
        container.with_env(name, value)
    try:
        return str(stack.enter_context(container).get_bootstrap_server())
    except (DockerException, OSError, RuntimeError, TimeoutError) as error:
        warnings.warn(f"Docker answers, but Kafka did not start in a container: {error}", stacklevel=1)
        return None


@pytest.fixture(scope="session")
def _shared_apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Broker | str]]:
    """Starts one shared Apache Kafka at the first call; answers with it, or with the reason why there is none."""
    with ExitStack() as stack:
        found: list[Broker | str] = []

        def start() -> Broker | str:
            if not found:
                reason = apache_available()
                try:
                    if reason is None:
                        cluster = stack.enter_context(ApacheKafka(tmp_path_factory.mktemp("apache"), heap_mb=384))
                        found.append(Broker(cluster.bootstrap, "apache"))
                except EmbeddedError as error:
                    reason = str(error)
                if reason is not None:
                    found.append(reason)
            return found[0]

        yield start


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, _shared_apache: Callable[[], Broker | str]) -> Iterator[Broker]:
    """A broker for tests that any Kafka passes."""
    with ExitStack() as stack:
        given = os.environ.get("TOKENMILL_KAFKA")
        contained = None if given else _container(stack)
        if given:
            yield Broker(given, "given")
        elif contained:
            yield Broker(contained, "container")
        elif isinstance(apache := _shared_apache(), Broker):
            yield apache
        else:
            embedded = stack.enter_context(TansuBroker(tmp_path_factory.mktemp("tansu")))
            yield Broker(embedded.bootstrap, "tansu")


@pytest.fixture(scope="session")
def apache(request: pytest.FixtureRequest, _shared_apache: Callable[[], Broker | str]) -> Broker:
    """One Apache Kafka, shared: for transactions, fencing and commit metadata."""
    started = _shared_apache()
    if isinstance(started, Broker):
        return started
    other: Broker = request.getfixturevalue("broker")
    if not other.real:
        _no_apache(started)
    return other


@pytest.fixture
def apache_one(tmp_path: Path) -> Iterator[ApacheKafka]:
    """One node of Apache Kafka of this test's own, to kill, freeze and restart."""
    yield from _own_apache(tmp_path, 1)


@pytest.fixture
def apache_three(tmp_path: Path) -> Iterator[ApacheKafka]:
    """Three nodes of Apache Kafka of this test's own, to kill, freeze and restart."""
    yield from _own_apache(tmp_path, 3)


def _own_apache(tmp_path: Path, nodes: int) -> Iterator[ApacheKafka]:
    reason = apache_available()
    if reason is not None:
        _no_apache(reason)
    with ApacheKafka(tmp_path / f"apache-{nodes}", nodes=nodes) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def tansu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The embedded broker, shared."""
    with TansuBroker(tmp_path_factory.mktemp("tansu")) as embedded:
        yield Broker(embedded.bootstrap, "tansu")


@pytest.fixture
def make_settings(tmp_path: Path) -> Iterator[MakeSettings]:
    """`make_settings(broker, **overrides)`: settings with topics, groups and data of this test's own, 4 partitions.

    Overrides are texts as in the environment, e.g. `partitions="12"`. The topics are deleted after the test where the
    broker is a shared one.
    """
    made: list[tuple[HasBootstrap, Settings]] = []

    def make(where: HasBootstrap, **overrides: str) -> Settings:
        name = f"t{uuid.uuid4().hex[:10]}"
        texts = {
            "kafka": where.bootstrap,
            "deployment": name,
            "topic_prefix": f"{name}.",
            "data_dir": str(tmp_path / name),
            "partitions": "4",
            **overrides,
        }
        settings = load_settings(texts, environ={})
        made.append((where, settings))
        return settings

    yield make
    for where, settings in made:
        if isinstance(where, Broker) and settings.topic_prefix:
            delete_topics(settings)
