"""Where Prometheus and an orchestrator ask: /metrics, /healthz and /readyz over HTTP, in a thread of the process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from infra import metrics
from infra.clickhouse import QUERY_TIMEOUT_S
from infra.errors import ConfigurationError
from infra.logs import get_logger

log = get_logger(__name__)

LIMIT_S: Final[dict[metrics.Role, float]] = {"worker": 30.0, "sink": QUERY_TIMEOUT_S + 30.0}
"""After this long without a round a loop hangs. A worker's event loop waits for nothing; a sink's longest step is one
insert, which ends by its time limit."""
_TEXT: Final = "text/plain; charset=utf-8"


class Health:
    """Whether a process is alive and whether it does its part; written by its loop, read by the server's threads."""

    def __init__(self, limit_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        """`limit_s`: the loop is taken for dead when it has not been round for this long."""
        self.limit_s = limit_s
        self._clock = clock
        self._last: float | None = None
        self.is_ready: Callable[[], bool] = lambda: False
        """Set by whoever runs the process: whether it has its share of the work and can do it."""

    def beat(self) -> None:
        """The loop has been round. Before the first time the process counts as starting, and so as alive."""
        self._last = self._clock()

    @property
    def silent_s(self) -> float:
        """How long ago the loop was last round, in seconds; 0 while the process starts."""
        return 0.0 if self._last is None else max(0.0, self._clock() - self._last)

    @property
    def alive(self) -> bool:
        """Whether the loop goes round."""
        return self.silent_s <= self.limit_s

    @property
    def ready(self) -> bool:
        """Whether the process is alive and does its part."""
        return self.alive and self.is_ready()


@contextmanager
def serving(address: str, role: metrics.Role) -> Iterator[Health]:
    """Serve the metrics of a process at `address` (host:port, port 0 for a free one; "" for not at all) inside the block.

    Gives the health that the process has to keep up to date. Raises ConfigurationError `metrics_address` when the address
    cannot be had.
    """
    health = Health(LIMIT_S[role])
    if not address:
        yield health
        return
    server = _listening(address, metrics.registry(role), health)
    metrics.READY.set_function(lambda: float(health.ready))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True)
    thread.start()
    log.info("metrics.listening", address=server.where)
    try:
        yield health
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, registry: CollectorRegistry, health: Health) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.registry, self.health = registry, health
        super().__init__((host, port), _Handler)

    @property
    def where(self) -> str:
        """`host:port` as it is bound."""
        host, port = self.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"


def _listening(address: str, registry: CollectorRegistry, health: Health) -> _Server:
    host, _, port = address.rpartition(":")
    try:
        return _Server(host.strip("[]"), int(port), registry, health)
    except OSError as error:
        raise ConfigurationError(
            f"cannot serve metrics at {address} ({error.strerror or error}): set TOKENMILL_METRICS_ADDRESS to an address "
            "of this machine with a free port, or to port 0 for any free one",
            code="metrics_address",
        ) from None


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "tokenmill"
    sys_version = ""
    timeout = 30

    def handle(self) -> None:
        """Answer as long as there is anybody: a probe that ran into its own time limit has gone, which is no error here."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer one of the three paths."""
        path = self.path.partition("?")[0]
        health = self.server.health
        if path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, encode(self.server.registry), kind)
        elif path == "/healthz":
            dead = f"the loop has not been round for {health.silent_s:.0f} s\n"
            self._state(health.alive, "alive\n", dead)
        elif path == "/readyz":
            self._state(health.ready, "ready\n", "not ready: the process has no share of the work yet\n")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there are /metrics, /healthz and /readyz\n", _TEXT)

    do_HEAD = do_GET  # noqa: N815 - the name that the base class calls

    def _state(self, good: bool, yes: str, no: str) -> None:
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, (yes if good else no).encode(), _TEXT)

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a probe each second would drown everything else."""
