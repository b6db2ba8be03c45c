"""The data directory of `tokenmill up`: taken for one run, checked against what an earlier one left, noted for other shells."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from infra.cli.local_store import STORE_DIRECTORY, is_owned
from infra.cli.running import NOTE
from infra.errors import ConfigurationError, EmbeddedError

ENVIRONMENT_FILE = "up.env"
"""The variables that point another shell at what runs, for `source`."""
_APACHE, _LOGS, _DEMO = "apache-kafka", "logs", "demo"
_MADE_HERE = (STORE_DIRECTORY, _APACHE, _LOGS, "kafka", "faust")


@dataclass(frozen=True, slots=True)
class Directory:
    """The places in a data directory that a run has taken. `note` says what runs there; it is locked meanwhile."""

    path: Path
    _note: IO[str]

    @property
    def store(self) -> Path:
        """The embedded ClickHouse."""
        return self.path / STORE_DIRECTORY

    @property
    def apache(self) -> Path:
        """Apache Kafka's data."""
        return self.path / _APACHE

    @property
    def logs(self) -> Path:
        """The logs of the processes."""
        return self.path / _LOGS

    def note(self, broker: str, environ: Mapping[str, str]) -> None:
        """Say what runs here: for commands in this directory, and as a file for `source`."""
        self._write({"broker": broker, "pid": os.getpid(), "environment": dict(environ)})
        lines = "".join(f"export {name}={_quoted(text)}\n" for name, text in environ.items())
        file = self.path / ENVIRONMENT_FILE
        file.touch(mode=0o600)
        file.write_text(f"# Written by `tokenmill up`; holds while it runs.\n{lines}", encoding="utf-8")

    def stopped(self, broker: str) -> None:
        """Say that nothing runs here any more, and which broker the store follows."""
        (self.path / ENVIRONMENT_FILE).unlink(missing_ok=True)
        self._write({"broker": broker, "environment": {}})

    def _write(self, said: Mapping[str, object]) -> None:
        self._note.seek(0)
        self._note.truncate()
        json.dump(said, self._note)
        self._note.flush()


@contextmanager
def taken(path: Path, broker: str, *, reset: bool, own_store: bool) -> Iterator[Directory]:
    """Have the data directory for one run.

    `broker` is embedded, apache or configured; `own_store`: the embedded ClickHouse is used. `reset` removes what earlier
    runs and demos left. Raises EmbeddedError `directory_in_use`; ConfigurationError `store_of_another_log` when the store
    follows a log that this run will not have.
    """
    path.mkdir(parents=True, exist_ok=True)
    with (path / NOTE).open("a+", encoding="utf-8") as note, _demo_kept_out(path):
        _lock(note, path)
        if is_owned(path / STORE_DIRECTORY):
            raise _in_use(path / STORE_DIRECTORY, "another process")
        note.seek(0)
        before = _broker_of(note.read())
        if reset:
            _remove(path)
        if own_store and (path / STORE_DIRECTORY / "engine").exists():
            _check(path, broker, before)
        yield Directory(path, note)


def _lock(note: IO[str], path: Path) -> None:
    """Take the note's lock; a command that just looks whether somebody has it has it for a moment itself."""
    for patience in (0.05, 0.2, 0.5, None):
        try:
            fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if patience is None:
                raise _in_use(path, "another `tokenmill up`") from None
            time.sleep(patience)


def _broker_of(text: str) -> str | None:
    try:
        said = json.loads(text)
        return str(said["broker"])
    except (ValueError, KeyError, TypeError):
        return None


def _check(path: Path, broker: str, before: str | None) -> None:
    """Refuse a store that follows another log than this run's: going on would add to the sums of that one."""
    if broker == "configured" or (broker == "apache" and before == "apache"):
        return
    where, reset = path / STORE_DIRECTORY, "begin anew with --reset, which deletes it, or choose another --data-dir"
    if before == "apache":
        problem = f"the store in {where} belongs to Apache Kafka's log: go on with --broker apache, or {reset}"
    else:
        kept = "" if broker == "apache" else "; with --broker apache the next run goes on where this one stops"
        problem = f"the store in {where} is of an earlier run, whose log was in memory and is gone: {reset}{kept}"
    raise ConfigurationError(problem, code="store_of_another_log", path=str(where))


def _remove(path: Path) -> None:
    for name in _MADE_HERE:
        shutil.rmtree(path / name, ignore_errors=True)
    for name in (ENVIRONMENT_FILE, _DEMO, "worker.log", "sink.log"):
        (path / name).unlink(missing_ok=True)


@contextmanager
def _demo_kept_out(path: Path) -> Iterator[None]:
    """Hold the lock of a demo's mark, where there is one: a demo would make the store anew."""
    mark = path / _DEMO
    if not mark.exists():
        yield
        return
    with mark.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(path, "`tokenmill demo`") from None
        yield


def _in_use(path: Path, who: str) -> EmbeddedError:
    return EmbeddedError(
        f"{who} is at work in {path}: stop it, or choose another directory with --data-dir", code="directory_in_use"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
