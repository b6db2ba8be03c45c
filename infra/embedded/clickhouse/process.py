"""Start and stop the embedded ClickHouse as a child process."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

from infra.errors import EmbeddedError

_STOP_SECONDS = 45.0


class EmbeddedClickHouse:
    """The embedded ClickHouse as a child process: started on entering a `with` block, stopped on leaving it.

    `port` 0 takes a free port. The child's log goes to `clickhouse.log` beside the data. The child ends when this
    process does. `start` may be called again after `stop` or `kill`: the data are kept, and so is the port.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        user: str = "default",
        password: str = "",
        start_timeout_s: float = 60.0,
    ) -> None:
        self.data = data.absolute()
        self.host = host
        self.port = port
        self.user = user
        self._password = password
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """`http://host:port`, without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def pid(self) -> int:
        """The child's process id. Raises EmbeddedError when it is not running."""
        if self._process is None or self._process.poll() is not None:
            raise EmbeddedError("the embedded ClickHouse is not running", path=str(self.data))
        return self._process.pid

    def environment(self, database: str = "tokenmill") -> dict[str, str]:
        """The environment variable that points Tokenmill's commands at this store."""
        _, _, address = self.url.partition("://")
        user = f"{quote(self.user, safe='')}:{quote(self._password, safe='')}"
        return {"TOKENMILL_CLICKHOUSE": f"http://{user}@{address}/{database}"}

    @property
    def log_path(self) -> Path:
        """Where the child writes its log."""
        return self.data / "clickhouse.log"

    def start(self) -> Self:
        """Start the child and wait until it answers. Raises EmbeddedError with the child's own words if it does not."""
        if self._process is not None and self._process.poll() is None:
            return self
        self.data.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "infra.embedded.clickhouse", "--announce", "--end-with-parent"]
        command += ["--port", str(self.port), "--host", self.host, "--user", self.user, "--data", str(self.data)]
        environment = {**os.environ, "TOKENMILL_EMBEDDED_CLICKHOUSE_PASSWORD": self._password}
        with self.log_path.open("ab") as log:
            at = log.tell()
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment
            )
        url = self._announced(self._process, at)
        self.port = int(url.rpartition(":")[2])
        return self

    def _announced(self, process: subprocess.Popen[bytes], log_start: int) -> str:
        """The URL that the child prints when it is ready."""
        output: IO[bytes] | None = process.stdout
        if output is None:
            raise EmbeddedError("the embedded ClickHouse was started without an output to read")
        deadline = time.monotonic() + self._start_timeout_s
        with output, selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if selector.select(left):
                    line = output.readline().decode().strip()
                    if line:
                        return line
                    break
        exited = process.poll() is not None or self._ends(process)
        if not exited:
            self.kill()
        said = self.log_path.read_bytes()[log_start:].decode("utf-8", "replace").strip()
        reason = said.splitlines()[-1] if said else "it said nothing"
        raise EmbeddedError(f"the embedded ClickHouse did not start: {reason}", path=str(self.data))

    @staticmethod
    def _ends(process: subprocess.Popen[bytes]) -> bool:
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> int:
        """Stop the child with SIGTERM and return its exit code (0 when all is well); SIGKILL after 45 seconds."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL the child, as a crash would; returns its exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.kill()
        return self._process.wait(_STOP_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
