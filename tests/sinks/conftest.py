"""A ClickHouse for the tests of this package, one for all of them, with a database of its own for each test."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from infra.clickhouse import connect
from infra.config import Settings, parse_clickhouse
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.migrations import apply

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Stored = Callable[[Settings], Settings]


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture(scope="session")
def migrated(clickhouse: EmbeddedClickHouse) -> Settings:
    """Settings of one migrated database, made once: creating the tables takes a second."""
    url = clickhouse.environment(f"t{uuid.uuid4().hex[:10]}")["TOKENMILL_CLICKHOUSE"]
    settings = dataclasses.replace(Settings(), clickhouse=parse_clickhouse(url))
    client = connect(settings.clickhouse, database="")
    apply(client, settings.clickhouse.database)
    client.close()
    return settings


@pytest.fixture
def database(migrated: Settings) -> Iterator[Client]:
    """A client of a migrated database, empty at the start of each test."""
    client = connect(migrated.clickhouse)
    _empty(client)
    yield client
    client.close()


def _empty(client: Client) -> None:
    filled = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND total_rows > 0 AND name != 'schema_migrations'"
    ).result_rows
    for (name,) in filled:
        client.command(f"TRUNCATE TABLE {name} SYNC")


@pytest.fixture
def stored(migrated: Settings, database: Client) -> Stored:
    """`stored(settings)`: the settings with the migrated, empty database."""
    return lambda settings: dataclasses.replace(settings, clickhouse=migrated.clickhouse)
