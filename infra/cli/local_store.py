"""The store a command talks to: the configured one, or the embedded one that a demo left behind."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.cli.options import was_given
from infra.config import ClickHouseSettings, Settings, parse_clickhouse
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.embedded.clickhouse.service import OWNER_FILE
from infra.embedded.ports import accepts
from infra.errors import StoreError

STORE_DIRECTORY = "clickhouse"
"""Where the embedded ClickHouse lives inside the data directory."""


@contextmanager
def store_of(settings: Settings) -> Iterator[ClickHouseSettings]:
    """The configured ClickHouse; with none configured the embedded one of the data directory, started for as long as needed.

    Raises StoreError when nothing is configured and neither the data directory nor the default address has a store.
    """
    data = settings.data_dir / STORE_DIRECTORY
    if was_given("clickhouse"):
        yield settings.clickhouse
    elif not (data / "engine").exists():
        default = settings.clickhouse
        if not accepts(default.host, default.port):
            raise StoreError(
                f"there is no store in {settings.data_dir} and no ClickHouse at {default.host}:{default.port}: run "
                "`tokenmill demo` first, name its directory with --data-dir, or set TOKENMILL_CLICKHOUSE",
                code="store_unreachable",
            )
        yield default
    elif (running := _running(data)) is not None:
        yield running
    else:
        with EmbeddedClickHouse(data) as store:
            yield store.settings()


def is_owned(data: Path) -> bool:
    """Whether a process owns this embedded store right now."""
    return _owner(data) is not None


def _running(data: Path) -> ClickHouseSettings | None:
    """The store's settings if a process owns the directory and serves it."""
    try:
        noted = json.loads(_owner(data) or "")
        return parse_clickhouse(f"{noted['url']}/tokenmill") if noted["url"] else None
    except (ValueError, KeyError):
        return None


def _owner(data: Path) -> str | None:
    """What the owner has noted about itself; None when nobody holds the lock, whatever an owner that is gone has left."""
    try:
        with (data / OWNER_FILE).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read()
    except OSError:
        pass
    return None
