"""A ClickHouse for all tests of this package, and installations of their own on it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from infra.config import Settings, load_settings
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from tests.end_to_end.installation import Installation
from tests.support import Broker, delete_topics

Install = Callable[[], Installation]


@pytest.fixture(scope="package")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture(scope="module")
def install(
    broker: Broker, clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Install]:
    """Makes an installation with topics, groups and database of its own."""
    made: list[Settings] = []

    def new() -> Installation:
        name = f"t{uuid.uuid4().hex[:10]}"
        directory = tmp_path_factory.mktemp(name)
        texts = {
            "kafka": broker.bootstrap,
            "clickhouse": clickhouse.settings(name).url,
            "deployment": name,
            "topic_prefix": f"{name}.",
            "data_dir": str(directory / "data"),
            "partitions": "4",
            "flush_interval_s": "0.2",
            "sink_interval_s": "0.2",
            # Ticks are of the broker's time, these events are years older or days younger.
            "tick_after_s": "0",
        }
        settings = load_settings(texts, environ={})
        made.append(settings)
        return Installation(settings, directory)

    yield new
    for settings in made:
        delete_topics(settings)


@pytest.fixture(scope="module")
def installation(install: Install) -> Installation:
    return install()
