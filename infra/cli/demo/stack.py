"""The processes of a demo: broker and store, one worker, one sink, each a child of its own."""

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from infra.cli.local_store import STORE_DIRECTORY, is_owned
from infra.config import KafkaSettings, Settings, environment
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.embedded.process import ChildProcess
from infra.embedded.tansu import TansuBroker
from infra.errors import EmbeddedError

_MARK = "demo"
"""A file in the data directory that says: what is here was made by a demo and may be made anew. A running demo locks it."""
_STOP_S = 20.0
_COMMAND = [sys.executable, "-P", "-c", "from infra.cli.main import main; main()"]


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
            status = process.exit_status
            if status is not None:
                how = f"with exit code {status}" if status >= 0 else f"by signal {-status}"
                raise EmbeddedError(
                    f"{process.name} ended {how}; its log is {process.log}, the last line: {process.log_tail(1)}",
                    code="process_ended",
                )


@contextmanager
def embedded_stack(settings: Settings) -> Iterator[Stack]:
    """Embedded broker and ClickHouse with an empty log and an empty store; everything is stopped at the end.

    Raises EmbeddedError when the data directory holds a store that no demo made (nothing of value is deleted), or when
    another demo is at work there.
    """
    directory = settings.data_dir
    with ExitStack() as stack:
        stack.enter_context(_claimed(directory))
        store = stack.enter_context(EmbeddedClickHouse(directory / STORE_DIRECTORY))
        broker = stack.enter_context(TansuBroker(directory / "kafka"))
        # No ticks: the demo's time is that of its events, which may be years ago.
        embedded = replace(settings, kafka=KafkaSettings(broker.bootstrap), clickhouse=store.settings(), tick_after_s=0)
        with _stopping() as running:
            yield Stack(embedded, running)


@contextmanager
def _stopping() -> Iterator[list[ChildProcess]]:
    """A list of processes; at the end those in it are stopped, side by side."""
    running: list[ChildProcess] = []
    try:
        yield running
    finally:
        with ExitStack() as stack:
            for process in running:
                process.send(signal.SIGTERM)
                stack.callback(process.stop, _STOP_S)


@contextmanager
def _claimed(directory: Path) -> Iterator[None]:
    """Have the data directory for this demo alone, without what an earlier demo left there."""
    mark, store = directory / _MARK, directory / STORE_DIRECTORY
    made_by_demo = mark.exists()
    if store.exists() and not made_by_demo:
        raise EmbeddedError(
            f"{store} holds data that no demo made: choose another directory with --data-dir", code="not_a_demo"
        )
    directory.mkdir(parents=True, exist_ok=True)
    with mark.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(directory) from None
        if is_owned(store):
            raise _in_use(store)
        file.truncate(0)
        file.write("Made by `tokenmill demo`, which makes it anew each time.\n")
        file.flush()
        if made_by_demo:
            shutil.rmtree(store, ignore_errors=True)
            for log in ("worker.log", "sink.log", "kafka/tansu.log"):
                (directory / log).unlink(missing_ok=True)
        yield


def _in_use(directory: Path) -> EmbeddedError:
    return EmbeddedError(
        f"another process is at work in {directory}: wait for it, or choose another directory with --data-dir",
        code="directory_in_use",
    )
