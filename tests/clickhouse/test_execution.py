"""The executor on an engine that is not there: what it holds, and until when."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import cast

import pytest

from infra.embedded.clickhouse.engine import Block, Counts, Engine
from infra.embedded.clickhouse.errors import ClickHouseError
from infra.embedded.clickhouse.execution import Body, Executor
from infra.embedded.clickhouse.request import Request, read_request


class _Result:
    """A result of chDB's shape."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def get_memview(self) -> _Result:
        return self

    def view(self) -> memoryview:
        return memoryview(self._data)

    def size(self) -> int:
        return len(self._data)

    def rows_read(self) -> int:
        return 1

    storage_rows_read = storage_bytes_read = rows_written = bytes_written = rows_read


class _Handle:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine

    def run(self, statement: bytes, output_format: str, parameters: Mapping[str, str], counts: Counts) -> Block:
        return Block(_Result(b"whole"))

    def stream(
        self, statement: bytes, output_format: str, parameters: Mapping[str, str], counts: Counts
    ) -> Generator[Block]:
        for _ in range(4):
            yield Block(_Result(b"x" * (1 << 20)))

    def apply(self, settings: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        pass

    def is_read_only(self, statement: bytes) -> bool:
        return True

    def close(self) -> None:
        self._engine.open_handles -= 1


class _Engine:
    def __init__(self) -> None:
        self.open_handles = 0

    def handle(self) -> _Handle:
        self.open_handles += 1
        return _Handle(self)


@pytest.fixture
def engine() -> _Engine:
    return _Engine()


@pytest.fixture
def executor(engine: _Engine) -> Iterator[Executor]:
    made = Executor(cast(Engine, engine), concurrency=1)
    yield made
    made.close()
    assert engine.open_handles == 0


def _request(query: str, **values: str) -> Request:
    return read_request("POST", {"query": query, **values}, {})


def _empty() -> Body:
    return Body(iter(()))


def test_a_complete_result_holds_neither_session_nor_slot(executor: Executor) -> None:
    for query in ("SELECT 1 FORMAT JSON", "SELECT 1 FORMAT TSV"):
        asked = _request(query, session_id="a", wait_end_of_query="1")
        with executor.run(asked, "default", _empty()), executor.run(asked, "default", _empty()) as second:
            assert second.complete


def test_a_running_result_holds_its_session_until_its_last_block(engine: _Engine) -> None:
    executor = Executor(cast(Engine, engine), concurrency=2)
    asked = _request("SELECT 1 FORMAT TSV", session_id="a")
    with executor.run(asked, "default", _empty()) as first:
        assert not first.complete
        next(first.rest)
        with pytest.raises(ClickHouseError, match="locked"), executor.run(asked, "default", _empty()):
            pass
        for _ in first.rest:
            pass
        with executor.run(asked, "default", _empty()) as second:
            assert second.first


def test_a_result_that_is_given_up_gives_everything_back(engine: _Engine, executor: Executor) -> None:
    giving_up = executor.run(_request("SELECT 1 FORMAT TSV"), "default", _empty())
    next(giving_up.__enter__().rest)
    assert engine.open_handles == 1
    giving_up.__exit__(ConnectionResetError, ConnectionResetError(), None)
    assert engine.open_handles == 0
    with executor.run(_request("SELECT 1 FORMAT JSON"), "default", _empty()) as result:
        assert result.complete
