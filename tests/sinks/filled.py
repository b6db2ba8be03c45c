"""A ClickHouse filled with a log and with everything that a real rating stage made of it, without any broker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sinks.records import LogId, SourceRecord
from sinks.runner import topic_sinks
from sinks.store import ClickHouseStore
from tests.streams.support import Log, Run, card_document, per_unit, rate, usage

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

EPOCH = 1
"""That of `tests.streams.support.log_of`."""


def busy_log() -> Log:
    """Three tenants and two models over two hours: failures, duplicates, bad rows, a record that is none, usage without a
    price, a batch that never came, and a price that changes."""
    log = Log()
    models = (
        per_unit("llama/input", "input", "0.15", 1_000_000, model="llama"),
        per_unit("llama/output", "output", "0.60", 1_000_000, model="llama"),
        per_unit("requests", "requests", "0.1", 1000),
    )
    log.card(card_document(*models))
    log.assign("*")
    events = [
        usage(
            f"e{number}",
            timedelta(minutes=number),
            tenant_id=("acme", "bell", "coal")[number % 3],
            response_model="qwen" if number % 7 == 3 else "llama",
            endpoint="/v1/completions" if number % 5 == 0 else "/v1/chat/completions",
            input_tokens=1000 + 17 * number,
            cache_read_input_tokens=500 + number,
            output_tokens=10 + number,
            reasoning_output_tokens=number % 4,
            status=("success", "success", "success", "error", "aborted")[number % 5],
            http_status=429 if number % 10 == 3 else None,
            error_type="rate_limited" if number % 10 == 3 else None,
            attempt=1 + (number % 6 == 0),
            gpu_type="H100" if number % 2 else None,
            started_at=_ended(number) - timedelta(seconds=2 + number / 10),
            first_token_at=_ended(number) - timedelta(seconds=2) if number % 4 else None,
        )
        for number in range(90)
    ]
    log.batch(events[:40])
    log.batch(events[40:70])
    log.batch(events[60:70], number=2)  # sent again
    log.single(events[5])  # one event again
    log.append(b"\xff", [("content-type", b"application/json")])
    log.single(events[70], structured=True)
    log.card(card_document(*models, version=2, effective_from="2026-01-10T01:00:00Z"))
    log.batch(events[70:], number=9)
    return log


def _ended(number: int) -> Any:
    return usage("x", timedelta(minutes=number)).ended_at


def run_of(log: Log) -> Run:
    """What the rating stage makes of a log of one partition."""
    return rate(log.records).all(4)


def fill(client: Client, run: Run) -> None:
    """Store the log and everything that the run wrote, as the sinks would."""
    events = run.made.topics.usage_events
    store = {
        events: [
            SourceRecord(
                events,
                0,
                record.offset,
                record.log_time_us // 1000 + record.offset,
                record.key,
                record.value,
                list(record.headers.items()),
            )
            for record in run.records
        ]
    }
    for record in run.written:
        known = store.setdefault(record.topic, [])
        known.append(SourceRecord(record.topic, 0, len(known), 1000, record.key, record.value, list(record.headers)))
    for topic, sink in topic_sinks(run.made).items():
        if store.get(topic):
            _insert(client, sink, store[topic])


def _insert(client: Client, sink: Any, records: Sequence[SourceRecord]) -> None:
    topic = records[0].topic
    log_id = LogId(topic, "cluster", "topic", EPOCH)
    for table, rows in sink.build([sink.decode(record) for record in records], log_id).items():
        ClickHouseStore(client).insert(table, rows, f"{topic}/{table.name}")
