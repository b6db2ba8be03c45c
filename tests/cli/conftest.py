"""The command line inside the test's process: fast, with exit code and both outputs."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from infra.cli.main import main


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working directory, no settings from outside; logging and signals as they were."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("TOKENMILL_"):
            monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    ends = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    for number, handler in ends.items():
        signal.signal(number, handler)


@pytest.fixture
def tokenmill(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """`tokenmill("query", "SELECT 1")`: run a command as the installed program would."""

    def run(*arguments: str) -> Ended:
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capfdbinary.readouterr()
        code = ended.value.code
        return Ended(0 if code is None else int(code), out.decode(), err.decode())

    return run
