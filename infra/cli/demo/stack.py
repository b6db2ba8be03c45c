"""The processes of a demo: broker and store, one worker, one sink, each a child of its own."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from infra.cli.local_store import STORE_DIRECTORY
from infra.config import KafkaSettings, Settings, environment
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.embedded.process import ChildProcess
from infra.embedded.tansu import TansuBroker
from infra.errors import EmbeddedError

_MARK = "demo"
"""A file in the data directory that says: what is here was made by a demo and may be made anew."""
_STOP_S = 20.0
_COMMAND = [sys.executable, "-c", "from infra.cli.main import main; main()"]


@dataclass(frozen=True, slots=True)
class Stack:
    """Settings that point at the embedded parts, and the processes that work on them."""

    settings: Settings
    processes: list[ChildProcess]

    def start(self, name: str) -> None:
        """Start `tokenmill <name>` as a process of its own; its log goes to the data directory."""
        log = self.settings.data_dir / f"{name}.log"
        environ = os.environ | environment(self.settings)
        self.processes.append(ChildProcess(f"the {name}", [*_COMMAND, name], log=log, environ=environ))

    def check(self) -> None:
        """Raise EmbeddedError, with its last words, when a process has ended."""
        for process in self.processes:
            if not process.running:
                raise EmbeddedError(
                    f"{process.name} ended with exit code {process.exit_status}; its log is {process.log}: "
                    f"{process.log_tail().strip()[-500:]}",
                    code="process_ended",
                )


@contextmanager
def embedded_stack(settings: Settings) -> Iterator[Stack]:
    """Embedded broker and ClickHouse with an empty log and an empty store; everything is stopped at the end.

    Raises EmbeddedError when the data directory holds a store that no demo made: nothing of value is deleted.
    """
    directory = settings.data_dir
    _make_room(directory)
    with ExitStack() as stack:
        store = stack.enter_context(EmbeddedClickHouse(directory / STORE_DIRECTORY))
        broker = stack.enter_context(TansuBroker(directory / "kafka"))
        # No ticks: the demo's time is that of its events, which may be years ago.
        embedded = replace(settings, kafka=KafkaSettings(broker.bootstrap), clickhouse=store.settings(), tick_after_s=0)
        running = Stack(embedded, [])
        try:
            yield running
        finally:
            for process in reversed(running.processes):
                process.stop(_STOP_S)


def _make_room(directory: Path) -> None:
    mark, store = directory / _MARK, directory / STORE_DIRECTORY
    if store.exists() and not mark.exists():
        raise EmbeddedError(
            f"{store} holds data that no demo made: choose another directory with --data-dir", code="not_a_demo"
        )
    shutil.rmtree(store, ignore_errors=True)
    for log in directory.glob("*.log"):
        log.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    mark.write_text("Made by `tokenmill demo`, which makes it anew each time.\n", encoding="utf-8")
