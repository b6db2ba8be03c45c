"""One embedded ClickHouse for these tests, and a database of its own for each test."""

from __future__ import annotations

import http.client
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from infra.clickhouse import connect
from infra.embedded.clickhouse import EmbeddedClickHouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@dataclass(frozen=True)
class Answer:
    """A response as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> int | None:
        found = self.headers.get("X-ClickHouse-Exception-Code")
        return int(found) if found else None


@dataclass
class Http:
    """Requests of ClickHouse's HTTP protocol over one plain connection, in one database."""

    host: str
    port: int
    database: str = ""
    _open: http.client.HTTPConnection | None = field(default=None, repr=False)

    def ask(
        self,
        body: bytes | str | Iterator[bytes] = b"",
        *,
        method: str = "POST",
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        also: Mapping[str, object] | None = None,
        **parameters: object,
    ) -> Answer:
        if self._open is None:
            self._open = http.client.HTTPConnection(self.host, self.port, timeout=60)
        given = {"database": self.database} if self.database else {}
        given.update({name: str(value) for name, value in {**(also or {}), **parameters}.items()})
        url = f"{path}?{urlencode(given)}" if given else path
        data = body.encode() if isinstance(body, str) else body
        self._open.request(method, url, body=data or None, headers=dict(headers or {}))
        response = self._open.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())

    def value(self, query: str, **parameters: object) -> str:
        answer = self.ask(query, also=parameters)
        assert answer.status == 200, answer.text
        return answer.text.removesuffix("\n")

    def close(self) -> None:
        if self._open is not None:
            self._open.close()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse")) as embedded:
        yield embedded


@pytest.fixture
def database(store: EmbeddedClickHouse) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    web = Http(store.host, store.port)
    assert web.ask(f"CREATE DATABASE {name}").status == 200
    yield name
    web.ask(f"DROP DATABASE {name} SYNC")
    web.close()


@pytest.fixture
def web(store: EmbeddedClickHouse, database: str) -> Iterator[Http]:
    opened = Http(store.host, store.port, database)
    yield opened
    opened.close()


@pytest.fixture
def client(store: EmbeddedClickHouse, database: str) -> Iterator[Client]:
    opened = connect(store.settings(database))
    yield opened
    opened.close()


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[EmbeddedClickHouse]:
    """A store of this test's own, not started: to stop, kill and start again."""
    embedded = EmbeddedClickHouse(tmp_path / "store")
    yield embedded
    embedded.stop()
