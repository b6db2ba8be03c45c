"""Worker processes under test: started by the real entry point, killed and frozen by their process id, logs kept."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.config import PREFIX, Settings, environment
from infra.embedded.process import ChildProcess
from infra.faults import LOG_VARIABLE, PLAN_VARIABLE
from tests.support import eventually

REPOSITORY = Path(__file__).parents[2]
_ENTRY = "from infra.cli.main import main; main()"


@dataclass(frozen=True)
class Fired:
    """A fault that happened, as the process wrote it down just before."""

    point: str
    nth: int
    action: str
    pid: int


def fired(log: Path) -> list[Fired]:
    """The faults in a fault log, in their order."""
    if not log.exists():
        return []
    entries = (json.loads(line) for line in log.read_text().splitlines())
    return [Fired(each["point"], each["nth"], each["action"], each["pid"]) for each in entries]


class Worker:
    """One `tokenmill worker`. As a context manager it is gone after the block, whatever happened in it."""

    def __init__(self, settings: Settings, name: str, log: Path, fault_log: Path, faults: str, without: str) -> None:
        """`without` names a protection to leave out (see `sabotage`): then a test has to notice."""
        self.name = name
        self.log = log
        entry = f"from tests.exactly_once import sabotage; sabotage.leave_out({without!r}); " if without else ""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        self._process = ChildProcess(
            f"worker {name}",
            [sys.executable, "-c", entry + _ENTRY, "worker"],
            log=log,
            cwd=REPOSITORY,
            environ={
                **inherited,
                **environment(settings),
                LOG_VARIABLE: str(fault_log),
                **({PLAN_VARIABLE: faults} if faults else {}),
            },
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.running

    @property
    def exit_status(self) -> int | None:
        return self._process.exit_status

    def ended(self, timeout: float = 30.0) -> int:
        """Its exit status, once it has ended by itself."""
        status = self._process.wait(timeout)
        assert status is not None, f"worker {self.name} still runs after {timeout:g} s"
        return status

    def terminate(self, timeout: float = 10.0) -> int:
        """SIGTERM it; its exit status."""
        self._process.send(signal.SIGTERM)
        return self.ended(timeout)

    def kill(self) -> None:
        self._process.kill()

    def freeze(self) -> None:
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()

    def events(self, name: str) -> list[dict[str, object]]:
        """The entries of its log with this event name."""
        return [entry for entry in self._entries() if entry.get("event") == name]

    def _entries(self) -> Iterable[dict[str, object]]:
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # what the interpreter itself prints
            if isinstance(entry, dict):
                yield entry

    def failure(self) -> tuple[str, str]:
        """Code and reason with which it ended itself."""
        failures = self.events("worker.failed")
        assert failures, f"worker {self.name} did not say why it ended"
        return str(failures[0]["code"]), str(failures[0]["reason"])

    def await_partitions(self, number: int, timeout: float = 90.0) -> None:
        """Wait until it has taken over at least this many partitions (of both of its topics, over all its life)."""
        eventually(
            lambda: not self.running or len(self.events("partition.restored")) >= number,
            timeout,
            what=f"{number} partitions of worker {self.name}",
        )
        assert self.running, f"worker {self.name} ended with {self.exit_status}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.running:
            self._process.thaw()
            self._process.kill()
