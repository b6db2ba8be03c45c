"""The store a command talks to: the configured one, or the embedded one that a demo left behind."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from infra.config import ClickHouseSettings, Settings, parse_clickhouse
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.embedded.clickhouse.service import OWNER_FILE

STORE_DIRECTORY = "clickhouse"
"""Where the embedded ClickHouse lives inside the data directory."""


@contextmanager
def store_of(settings: Settings, environ: Mapping[str, str]) -> Iterator[ClickHouseSettings]:
    """The configured ClickHouse; with none configured the embedded one of the data directory, started for as long as needed."""
    data = settings.data_dir / STORE_DIRECTORY
    configured = "TOKENMILL_CLICKHOUSE" in environ or settings.clickhouse != ClickHouseSettings()
    if configured or not (data / "engine").exists():
        yield settings.clickhouse
        return
    running = _running(data)
    if running is not None:
        yield running
        return
    with EmbeddedClickHouse(data) as store:
        yield store.settings()


def _running(data: Path) -> ClickHouseSettings | None:
    """The store's settings if a process owns the directory and serves it."""
    try:
        with (data / OWNER_FILE).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                noted = json.load(file)
            else:
                # Nobody holds the lock: what is noted is from an owner that is gone.
                return None
        return parse_clickhouse(f"{noted['url']}/tokenmill") if noted["url"] else None
    except (OSError, ValueError, KeyError):
        return None
