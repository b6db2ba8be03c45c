"""A child process of an embedded part: started in its own session, logging to a file, ended by its process id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra.errors import EmbeddedError

# PR_SET_PDEATHSIG is 1 (prctl(2)); it outlives the exec. The parent may have gone before it was set.
_TIED_TO_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(0)
os.execvp(sys.argv[2], sys.argv[2:])
"""


class ChildProcess:
    """One run of a command. Its output is appended to `log`; it does not get the terminal's Ctrl-C."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        end_with_parent: bool = False,
    ) -> None:
        """Start `command` at once. Raises EmbeddedError when it cannot be executed.

        `end_with_parent`: on Linux it gets SIGTERM when the thread that starts it ends, however that comes about. Give it
        only from a thread that lives as long as the process should, such as the main thread.
        """
        if end_with_parent and sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _TIED_TO_PARENT, str(os.getpid()), *command]
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            try:
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env=None if environ is None else dict(environ),
                    start_new_session=True,
                )
            except OSError as error:
                raise EmbeddedError(f"cannot start {name} ({command[0]}): {error.strerror}") from error

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """What it ended with (negative: the signal that ended it), None while it runs."""
        return self._process.poll()

    @property
    def running(self) -> bool:
        """Whether it has not ended; a frozen process is running."""
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> int | None:
        """Its exit status, None when it still runs after `timeout_s`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def send(self, signal_number: int) -> None:
        """Send a signal; does nothing when the process has ended."""
        self._process.send_signal(signal_number)

    def stop(self, timeout_s: float = 10.0) -> None:
        """End it: SIGTERM, and SIGKILL when that has not helped after `timeout_s`."""
        self.thaw()  # a frozen process would not see SIGTERM
        self.send(signal.SIGTERM)
        if self.wait(timeout_s) is None:
            self.kill()

    def kill(self) -> None:
        """End it with SIGKILL and wait until it is gone."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """Stop its execution (SIGSTOP); connections stay open and unanswered."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self.send(signal.SIGCONT)

    def log_tail(self, lines: int = 8) -> str:
        """The last lines that this run wrote, joined with ' | '."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # A log that was cut short since holds only lines of this run.
            file.seek(max(self._log_start if size >= self._log_start else 0, size - 8192))
            text = file.read().decode(errors="replace")
        return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `ready()` is true. Raises EmbeddedError, with the log's end, when it dies or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise self._start_error(f"ended with status {self.exit_status} while starting")
            if time.monotonic() > deadline:
                raise self._start_error(f"was not ready after {timeout_s:g} s")
            time.sleep(0.05)

    def _start_error(self, what: str) -> EmbeddedError:
        return EmbeddedError(
            f"{self.name} {what}: {self.log_tail()} (log: {self.log})", code="embedded_start", log=str(self.log)
        )


def plain_environment(*keep: str) -> dict[str, str]:
    """An environment that cannot change what a part does: only the path, home, language and what is in `keep`."""
    names = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", *keep)
    return {name: os.environ[name] for name in names if name in os.environ}
