"""One repetition of each part: tokenmill's three on topics of their own, the plain agent on its own table."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic

from bench.events import SOURCE, START, BenchEvents, Place, Tokens
from bench.plain_usage import totals_of
from bench.progress import Backlog, Sample, measure
from bench.screen import Screen
from infra import migrations
from infra import topics as kafka_topics
from infra.card_files import EXAMPLES
from infra.cli.cards import load_card
from infra.clickhouse import connect
from infra.config import Settings, environment
from infra.embedded.process import ChildProcess
from infra.errors import EmbeddedError, TokenmillError
from infra.kafka import Record, admin, read_all, write
from producers.control import ControlWriter
from producers.emitter import Emitter
from schemas.partitioning import partition_for
from sinks.kafka_log import group_of
from streams.transactions import group_id

_COMMAND = [sys.executable, "-c", "from infra.cli.main import main; main()"]
_DELIVERY_S = 300.0
_STOP_S = 20.0
_PLAIN_TIMEOUT_S = 900.0

_INPUT = frozenset({"input", "input_uncached", "input_cache_read", "input_cache_write"})
_OUTPUT = frozenset({"output", "output_text", "output_reasoning"})


@dataclass(frozen=True, slots=True)
class Round:
    """What tokenmill did in one repetition, and the totals that came out as rated records."""

    produce: Sample
    rate: Sample
    store: Sample
    records: int
    """Kafka records that carried the events."""
    rated_records: int
    totals: dict[Place, Tokens]


def tokenmill_round(base: Settings, name: str, events: BenchEvents, count: int, screen: Screen) -> Round:
    """Produce the first `count` events into new topics, rate them with one worker, store them with one sink."""
    settings = replace(
        base,
        deployment=f"bench-{name}",
        topic_prefix=f"bench-{name}.",
        data_dir=base.data_dir / name,
        clickhouse=replace(base.clickhouse, database=f"bench_{name}"),
    )
    kafka_topics.apply(settings)
    _card(settings)
    produce = _produce(settings, events, count, screen)
    topics = settings.topics
    try:
        offered = Backlog.read(settings, {topics.usage_events: 0})
        with _process(settings, "worker") as worker:
            rate = measure(settings, group_id(settings), offered, worker, screen.part("rate"))
        store, rated = _store(settings, screen)
        return Round(produce, rate, store, offered.records, rated, rated_totals(settings))
    finally:
        _delete_topics(settings)


def _card(settings: Settings) -> None:
    """One card for every tenant. It charges failed requests too: what is not charged is rated without its model."""
    file, card = load_card(EXAMPLES / "standard.yaml", settings)
    with ControlWriter(settings, "bench") as writer:
        writer.publish_card({**file.document, "charge_status": ["success", "aborted", "error"]})
        writer.assign("*", card.id, START)


def _produce(settings: Settings, events: BenchEvents, count: int, screen: Screen) -> Sample:
    batches = events.batches
    show = screen.part("produce")
    began, cpu_began, sent = time.monotonic(), time.process_time(), 0
    with Emitter(settings, SOURCE) as emitter:
        for batch in batches:
            emitter.emit_batch(batch.slice(0, count - sent))
            sent += min(batch.num_rows, count - sent)
            show(sent, count)
            if sent == count:
                break
        delivered = emitter.close(_DELIVERY_S).require().delivered
    return Sample(delivered, time.monotonic() - began, time.process_time() - cpu_began)


def _store(settings: Settings, screen: Screen) -> tuple[Sample, int]:
    """Store everything; the sample, and the number of rated records."""
    topics = settings.topics
    backlog = Backlog.read(settings, {topics.usage_events: 0, topics.usage_rated: 2, topics.usage_signals: 1})
    rated = Backlog.read(settings, {topics.usage_rated: 1}).total
    migrations.apply(connect(settings.clickhouse, database=""), settings.clickhouse.database)
    with _process(settings, "sink") as sink:
        return measure(settings, group_of(settings), backlog, sink, screen.part("store")), rated


@contextmanager
def _process(settings: Settings, name: str) -> Iterator[ChildProcess]:
    """`tokenmill <name>` as a process of its own."""
    log = settings.data_dir / f"{name}.log"
    environ = os.environ | environment(settings)
    process = ChildProcess(f"the {name}", [*_COMMAND, name], log=log, environ=environ)
    try:
        yield process
    finally:
        process.stop(_STOP_S)


def _delete_topics(settings: Settings) -> None:
    """Give the broker its memory back; one that can't delete keeps the topics until it is stopped."""
    client = admin(settings)
    with suppress(KafkaException):
        names = [name for name in client.list_topics(timeout=10).topics if name.startswith(settings.topic_prefix)]
        for future in client.delete_topics(names, operation_timeout=30).values():
            future.result()


def rated_totals(settings: Settings) -> dict[Place, Tokens]:
    """What the rated topic says by tenant, model and hour: the highest revision of each key."""
    last: dict[bytes, dict[str, Any]] = {}
    for message in read_all(settings, settings.topics.usage_rated):
        record, key = orjson.loads(message.value()), message.key()
        if record["window_kind"] == "hour" and (key not in last or last[key]["revision"] < record["revision"]):
            last[key] = record
    sums: dict[Place, list[Decimal]] = {}
    for record in last.values():
        place = record["tenant_id"], record["dimensions"].get("model", ""), record["window_start"]
        quantity, meter = Decimal(record["quantity"]), record["meter"]
        each = sums.setdefault(place, [Decimal(0)] * 4)
        for position, counted in enumerate(({"requests"}, _INPUT, {"input_cache_read"}, _OUTPUT)):
            if meter in counted:
                each[position] += quantity
    return {place: Tokens(*(int(each) for each in four)) for place, four in sums.items()}


class PlainAgent:
    """The plain Faust agent and the topic it reads, filled once with the first `count` events as single JSON records."""

    def __init__(self, base: Settings, events: BenchEvents, count: int, screen: Screen) -> None:
        self._settings = replace(base, deployment="bench-plain", data_dir=base.data_dir / "plain")
        self._count = count
        self._screen = screen
        self._topic = "bench-plain.usage"
        screen.say(f"writing {count:,} single JSON events for the plain agent")
        self._create_topic()
        partitions = self._settings.partitions
        records = (
            Record(tenant.encode(), value, partition_for(tenant, partitions))
            for tenant, value in events.json_records(count)
        )
        write(self._settings, self._topic, records, timeout_s=_DELIVERY_S)

    def _create_topic(self) -> None:
        client = admin(self._settings)
        for future in client.create_topics([NewTopic(self._topic, self._settings.partitions, 1)]).values():
            future.result()

    def run(self, name: str) -> tuple[Sample, dict[Place, Tokens]]:
        """Read all events with a new, empty table; the rate from the first event to the last, and the table's totals.

        Raises EmbeddedError when the agent ends before, TokenmillError when it takes too long.
        """
        settings = self._settings
        result = (settings.data_dir / f"{name}.json").absolute()
        result.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "bench.plain_agent"]
        command += ["--kafka", settings.kafka.bootstrap, "--topic", self._topic, "--name", f"bench-plain-{name}"]
        command += ["--partitions", str(settings.partitions), "--events", str(self._count), "--result", str(result)]
        process = ChildProcess("the plain agent", command, log=settings.data_dir / f"{name}.log")
        try:
            return self._wait(process, result)
        finally:
            process.stop(_STOP_S)

    def _wait(self, process: ChildProcess, result: Path) -> tuple[Sample, dict[Place, Tokens]]:
        deadline = time.monotonic() + _PLAIN_TIMEOUT_S
        show = self._screen.part("plain Faust agent")
        while not result.exists():
            show(0, self._count)
            if not process.running:
                raise EmbeddedError(f"the plain agent ended before its last event: {process.log_tail()[-500:]}")
            if time.monotonic() > deadline:
                raise TokenmillError(f"the plain agent took more than {_PLAIN_TIMEOUT_S:.0f} s", code="bench_timeout")
            time.sleep(0.1)
        content: Mapping[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        show(self._count, self._count)
        sample = Sample(content["events"], content["seconds"], content["cpu_seconds"])
        return sample, totals_of(content["table"].items())
