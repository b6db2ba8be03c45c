"""The owner process: takes the data directory for itself, serves until a signal, leaves cleanly."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from infra.embedded.clickhouse.engine import Engine
from infra.embedded.clickhouse.execution import Executor
from infra.embedded.clickhouse.server import Access, ClickHouseServer
from infra.errors import ConfigurationError, EmbeddedError
from infra.logs import get_logger

OWNER_FILE: Final = "owner.json"
"""In the data directory: `{"pid", "url"}` of the process that owns it; the url is empty until it serves."""
_FINISH_SECONDS = 30.0


def serve(
    *,
    port: int,
    data: Path,
    host: str = "127.0.0.1",
    user: str = "default",
    password: str = "",
    concurrency: int = 32,
    end_with_parent: bool = False,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve ClickHouse on `host:port` from the directory `data` until SIGTERM or SIGINT, then return.

    Port 0 takes a free one; `on_ready` gets the URL. `end_with_parent` also stops when the process that started this
    one is gone. Requests that are running get 30 seconds to finish, after
    which the process ends with status 1. Only callable from the main thread.

    Raises ConfigurationError (no password on an address that others can reach), EmbeddedError (another process owns
    the directory, the port is taken, the directory can't be opened).
    """
    if not password and not _is_loopback(host):
        raise ConfigurationError(
            f"the embedded ClickHouse would listen on {host} without a password: set one, or listen on 127.0.0.1"
        )
    data = data.absolute()
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedError(f"cannot use {data} for the embedded ClickHouse: {error.strerror}") from None
    with _owned(data) as owner, _running(data / "engine", host, port, Access(user, password), concurrency) as server:
        bound_host, bound_port = server.server_address[:2]
        url = f"http://{_bracketed(str(bound_host))}:{bound_port}"
        owner(url)
        _serve_until_signal(server, url, on_ready, os.getppid() if end_with_parent else None)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextmanager
def _owned(data: Path) -> Iterator[Callable[[str], None]]:
    """Hold the directory's lock; gives a function that notes under which URL this process serves it."""
    with (data / OWNER_FILE).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise EmbeddedError(_taken(data, file.read()), code="embedded_locked", path=str(data)) from None

        def note(url: str) -> None:
            file.truncate(0)
            json.dump({"pid": os.getpid(), "url": url}, file)
            file.flush()

        note("")
        yield note
        file.truncate(0)


def _taken(data: Path, noted: str) -> str:
    try:
        owner = json.loads(noted)
        where = f" (process {owner['pid']}" + (f", {owner['url']})" if owner["url"] else ")")
    except (ValueError, KeyError, TypeError):
        where = ""
    return (
        f"another process{where} owns the ClickHouse data in {data}: "
        "connect to it, stop it, or take another directory with --data"
    )


@contextmanager
def _running(directory: Path, host: str, port: int, access: Access, concurrency: int) -> Iterator[ClickHouseServer]:
    try:
        engine = Engine(directory)
    except RuntimeError as error:
        raise EmbeddedError(f"the ClickHouse engine cannot open {directory}: {error}", path=str(directory)) from None
    try:
        executor = Executor(engine, concurrency)
        try:
            server = ClickHouseServer((host, port), executor, access, version=engine.version)
        except OSError as error:
            raise EmbeddedError(
                f"cannot listen on {host}:{port} for ClickHouse ({error.strerror or error}): take another --port",
                code="embedded_port",
            ) from None
        try:
            yield server
        finally:
            server.server_close()
            executor.close()
    finally:
        engine.close()


def _serve_until_signal(
    server: ClickHouseServer, url: str, on_ready: Callable[[str], None] | None, parent: int | None
) -> None:
    log = get_logger("clickhouse")
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    accepting = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    accepting.start()
    try:
        log.info("clickhouse.listening", url=url, version=server.version)
        if on_ready is not None:
            on_ready(url)
        while not stop.wait(1.0):
            if parent is not None and os.getppid() != parent:
                log.warning("clickhouse.parent_gone")
                break
    finally:
        server.stopping = True
        server.shutdown()
        if not server.in_flight.wait(_FINISH_SECONDS):
            # The engine can't be closed under a running query; what was inserted is on disk.
            log.error("clickhouse.requests_still_running", waited_s=_FINISH_SECONDS)
            os._exit(1)
        for number, handler in before.items():
            signal.signal(number, handler)
        log.info("clickhouse.stopped", url=url)
