"""A demo takes only a directory that is its own, and leaves alone what it did not make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra.cli.demo.stack import Stack, embedded_stack
from infra.config import Settings
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.embedded.ports import accepts
from infra.errors import EmbeddedError
from tests.cli.conftest import Run


def _settings(directory: str) -> Settings:
    return replace(Settings(), data_dir=Path(directory).absolute())


def test_a_store_that_no_demo_made_is_kept(tokenmill: Run) -> None:
    kept = Path("data/clickhouse/kept")
    kept.parent.mkdir(parents=True)
    kept.touch()
    ended = tokenmill("demo", "--data-dir", "data", "--requests", "1")
    assert ended.code == 1
    assert "holds data that no demo made: choose another directory with --data-dir" in ended.err
    assert kept.exists()


def test_other_files_in_the_directory_are_kept() -> None:
    Path("data/kafka").mkdir(parents=True)
    others = [Path("data") / name for name in ("notes.log", "kafka/tansu.properties")]
    for other in others:
        other.write_text("mine")
    for _ in range(2):
        with embedded_stack(_settings("data")):
            pass
    assert [other.read_text() for other in others] == ["mine", "mine"]


def test_a_second_demo_makes_the_store_anew() -> None:
    settings = _settings("data")
    with embedded_stack(settings):
        left = settings.data_dir / "clickhouse" / "left"
        left.touch()
    with embedded_stack(settings):
        assert not left.exists()


def test_two_demos_at_once_do_not_share_a_directory(tokenmill: Run) -> None:
    with embedded_stack(_settings("data")) as stack:
        ended = tokenmill("demo", "--data-dir", "data", "--requests", "1")
        assert ended.code == 1
        assert "another process is at work in" in ended.err
        assert "--data-dir" in ended.err
        stack.check()


def test_a_store_that_somebody_serves_is_not_taken_away(tokenmill: Run) -> None:
    settings = _settings("data")
    with embedded_stack(settings):
        pass
    with EmbeddedClickHouse(settings.data_dir / "clickhouse"):
        ended = tokenmill("demo", "--data-dir", "data", "--requests", "1")
        assert ended.code == 1
        assert "another process is at work in" in ended.err


def test_a_process_that_ends_is_reported_with_its_last_words() -> None:
    with embedded_stack(_settings("data")) as stack:
        stack.start("nonsense")
        stack.processes[0].wait(20)
        with pytest.raises(EmbeddedError, match=r"the nonsense ended with exit code 2; .*No such command 'nonsense'"):
            stack.check()


def test_everything_is_stopped_also_when_the_demo_fails() -> None:
    started: list[Stack] = []

    def fail() -> None:
        with embedded_stack(_settings("data")) as stack:
            started.append(stack)
            stack.start("worker")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    (stack,) = started
    assert not stack.processes[0].running
    host, _, port = stack.settings.kafka.bootstrap.partition(":")
    assert not accepts(host, int(port))
    assert not accepts(stack.settings.clickhouse.host, stack.settings.clickhouse.port)
