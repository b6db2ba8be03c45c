"""Start and stop the embedded ClickHouse as a child process."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from infra.config import ClickHouseSettings
from infra.embedded.clickhouse.service import OWNER_FILE
from infra.embedded.ports import free_port
from infra.embedded.process import ChildProcess
from infra.errors import EmbeddedError

_STOP_SECONDS = 45.0
_ATTEMPTS = 3


class EmbeddedClickHouse:
    """The embedded ClickHouse as a child process: started on entering a `with` block, stopped on leaving it.

    Without `port` a free one is chosen at the first start and kept. The child's log is `log`, else `clickhouse.log`
    beside the data. The child ends when this process does. It may be started again after `stop` or `kill`: the data are kept.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        user: str = "default",
        password: str = "",
        log: Path | None = None,
    ) -> None:
        self.data = data.absolute()
        self.host = host
        self.user = user
        self._password = password
        self._log = log
        self._port = port
        self._process: ChildProcess | None = None

    @property
    def port(self) -> int:
        """The port. Raises EmbeddedError before the first start when none was given."""
        if self._port is None:
            raise EmbeddedError("the embedded ClickHouse has not been started", code="embedded_not_started")
        return self._port

    @property
    def url(self) -> str:
        """`http://host:port`, without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def process(self) -> ChildProcess | None:
        """The process of the last start."""
        return self._process

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.running else None

    @property
    def log(self) -> Path:
        """Where the child writes its log."""
        return self._log or self.data / "clickhouse.log"

    def settings(self, database: str = "tokenmill") -> ClickHouseSettings:
        """The settings that connect to this store."""
        return ClickHouseSettings(self.host, self.port, self.user, self._password, database)

    def environment(self, database: str = "tokenmill") -> dict[str, str]:
        """The environment variable that points Tokenmill's commands at this store."""
        credentials = f"{quote(self.user, safe='')}:{quote(self._password, safe='')}"
        return {"TOKENMILL_CLICKHOUSE": self.url.replace("://", f"://{credentials}@") + f"/{quote(database, safe='')}"}

    def start(self, timeout_s: float = 60.0) -> Self:
        """Start the child and wait until it serves. Raises EmbeddedError, with the child's own words, if it does not."""
        if self.pid is not None:
            return self
        if find_spec("chdb") is None:
            raise EmbeddedError(
                "this installation has no embedded ClickHouse (images for servers leave it out): set TOKENMILL_KAFKA and "
                "TOKENMILL_CLICKHOUSE, or build the image with EMBEDDED=1",
                code="no_chdb",
            )
        self.data.mkdir(parents=True, exist_ok=True)
        attempts = _ATTEMPTS if self._port is None else 1
        for attempt in range(1, attempts + 1):
            chosen = self._port if self._port is not None else free_port(self.host)
            self._process = self._child(chosen)
            try:
                self._process.wait_ready(self._serves, timeout_s)
            except EmbeddedError:
                self._process.kill()
                # Another process may have taken the free port in the meantime.
                if attempt == attempts or "cannot listen" not in self._process.log_tail():
                    raise
            else:
                self._port = chosen
                break
        return self

    def _child(self, port: int) -> ChildProcess:
        command = [
            sys.executable,
            "-P",
            "-m",
            "infra.embedded.clickhouse",
            "--end-with-parent",
            "--data",
            str(self.data),
        ]
        command += ["--port", str(port), "--host", self.host, "--user", self.user]
        environ = {**os.environ, "TOKENMILL_EMBEDDED_CLICKHOUSE_PASSWORD": self._password}
        return ChildProcess("the embedded ClickHouse", command, log=self.log, environ=environ)

    def _serves(self) -> bool:
        try:
            noted = json.loads((self.data / OWNER_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(noted["url"]) and noted["pid"] == self.pid

    def stop(self) -> int | None:
        """Stop the child with SIGTERM, after 45 seconds with SIGKILL; returns its exit status (0 when all is well)."""
        if self._process is None:
            return None
        self._process.stop(_STOP_SECONDS)
        return self._process.exit_status

    def kill(self) -> int | None:
        """SIGKILL the child, as a crash would, and wait until it is gone; returns its exit status (-9)."""
        if self._process is None:
            return None
        self._process.kill()
        return self._process.exit_status

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
