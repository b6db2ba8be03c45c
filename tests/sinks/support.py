"""A sink in a thread or in a process of its own, and what ClickHouse then holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.config import Settings, environment
from infra.kafka import Record, write
from infra.lag import wait_until_read
from sinks.kafka_log import group_of
from sinks.runner import run_sink, topic_sinks
from tests.sinks.samples import Wire

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SINK = "from infra.config import load_settings; from sinks.runner import run_until_signal; run_until_signal(load_settings())"


def produce(settings: Settings, topic: str, *wires: Wire, partition: int = 0) -> None:
    """Write records to one partition; in compacted topics, which refuse records without a key, each has its own."""
    keyed = topic in (settings.topics.usage_rated, settings.topics.usage_signals)
    keys = [b"key-%d" % index if keyed else None for index in range(len(wires))]
    write(
        settings,
        topic,
        [Record(key, value, partition, headers) for key, (value, headers) in zip(keys, wires, strict=True)],
    )


@contextmanager
def running_sink(settings: Settings, **options: Any) -> Iterator[None]:
    """A sink in a thread; its error, if it ends with one, is raised at the end."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            run_sink(settings, stop, **options)
        except BaseException as error:  # noqa: BLE001  # raised again below
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def wait_until_stored(settings: Settings, timeout: float = 60) -> None:
    wait_until_read(settings, [(group_of(settings), topic) for topic in topic_sinks(settings)], timeout_s=timeout)


def run_until_stored(settings: Settings) -> None:
    with running_sink(settings):
        wait_until_stored(settings)


class SinkProcess:
    """A sink in a process of its own, to be killed."""

    def __init__(self, settings: Settings, faults: str = "", fault_log: Path | None = None) -> None:
        extra: Mapping[str, str] = {"TOKENMILL_FAULTS": faults, "TOKENMILL_FAULT_LOG": str(fault_log)} if faults else {}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SINK],
            env={**os.environ, **environment(settings), **extra},
            stderr=subprocess.DEVNULL,
        )

    def wait(self, timeout: float = 60) -> int:
        return self.process.wait(timeout)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def __enter__(self) -> SinkProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)


def rows(client: Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql).result_rows]


def coordinates(client: Client, table: str = "usage_raw") -> list[tuple[Any, ...]]:
    return rows(client, f"SELECT kafka_partition, kafka_offset, kafka_row FROM {table} ORDER BY ALL")
