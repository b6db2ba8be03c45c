"""A plain Faust agent, as one would write it: one JSON event a record, keyed by tenant, sums in a Table of its own.

It runs on Faust's own terms: default guarantees (at least once), a table in memory with its changelog topic, orjson, no
web server. Its producer lingers and packs changelog records, which makes it half as fast again as the defaults. It knows
no duplicates, no validation, no prices and no transactions. `python -m bench.plain_agent --help` says how it is started.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import faust

from bench.plain_usage import Sums, added, usage_of

_SESSION_S = 6.0


class Stopwatch:
    """Time and processor time from the first event to the last."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._seen = 0
        self._began = self._cpu_began = 0.0

    def event(self) -> bool:
        """Count one event, once it is done; true at the last one."""
        self._seen += 1
        if self._seen == 1:
            self._began, self._cpu_began = time.monotonic(), time.process_time()
        return self._seen == self._events

    def result(self) -> dict[str, float]:
        """Events after the first, the seconds they took, and the processor seconds."""
        return {
            "events": self._seen - 1,
            "seconds": time.monotonic() - self._began,
            "cpu_seconds": time.process_time() - self._cpu_began,
        }


def create_app(kafka: str, topic_name: str, name: str, partitions: int, events: int, result: Path) -> faust.App:
    """The application; after `events` events it writes its times and its table to the file `result`, as JSON."""
    app = faust.App(
        name,
        broker=[f"kafka://{server}" for server in kafka.split(",")],
        store="memory://",
        topic_partitions=partitions,
        topic_replication_factor=1,
        consumer_auto_offset_reset="earliest",
        producer_linger=0.05,
        producer_max_batch_size=1024 * 1024,
        broker_session_timeout=_SESSION_S,
        broker_heartbeat_interval=_SESSION_S / 4,
        datadir=str(result.with_suffix(".faust")),
        web_enabled=False,
    )
    topic = app.topic(topic_name, key_type=bytes, key_serializer="raw", value_serializer="json")
    table = app.Table("usage", partitions=partitions)
    watch = Stopwatch(events)

    @app.agent(topic, name="usage")
    async def usage(stream: faust.Stream[dict[str, Any]]) -> AsyncIterator[None]:
        async for event in stream:
            key, sums = usage_of(event["data"])
            table[key] = added(table.get(key), sums)
            if watch.event():
                _write(result, watch.result(), dict(table.items()))
            yield

    return app


def _write(path: Path, times: dict[str, float], table: dict[str, Sums]) -> None:
    """Whole or not at all: whoever waits for the file reads it at once."""
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps({**times, "table": table}), encoding="utf-8")
    scratch.rename(path)


def main() -> None:
    """Run the agent until it gets a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True, help="bootstrap servers, host:port[,host:port]")
    parser.add_argument("--topic", required=True, help="topic with one JSON event a record, keyed by tenant")
    parser.add_argument("--name", required=True, help="application id; a new one reads from the beginning")
    parser.add_argument("--partitions", required=True, type=int, help="partitions of the topic")
    parser.add_argument("--events", required=True, type=int, help="events until the result is written")
    parser.add_argument("--result", required=True, type=Path, help="file for the times and the table, as JSON")
    given = parser.parse_args()
    app = create_app(given.kafka, given.topic, given.name, given.partitions, given.events, given.result)
    # Not "warning": Faust then shows a spinner, which makes every logger build its debug messages.
    faust.Worker(app, loglevel="info").execute_from_commandline()


if __name__ == "__main__":
    main()
