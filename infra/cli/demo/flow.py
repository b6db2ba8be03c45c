"""What a demo does, step by step, from an empty stack to a reconciled invoice."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pyarrow.compute as pc

from infra import migrations
from infra import topics as kafka_topics
from infra.card_files import EXAMPLES
from infra.cli.cards import load_card
from infra.cli.demo.stack import Stack
from infra.cli.feeding import Fed, feed_trace, feed_workload
from infra.clickhouse import connect
from infra.config import Settings
from infra.errors import ConfigurationError
from infra.lag import wait_until_read
from producers.control import ControlWriter
from producers.trace import Trace
from producers.workload.reservations import NODES, STORAGE, Reservations
from producers.workload.workload import Workload
from schemas.source_rejects import SourceReject
from sinks.kafka_log import group_of
from sinks.runner import topic_sinks
from streams.transactions import group_id

_STANDARD = EXAMPLES / "standard.yaml"
_CARDS = {
    1: "gpu-hours.yaml",
    2: "fine-tuning.yaml",
    3: "long-context.yaml",
    4: "off-peak.yaml",
    5: "enterprise.yaml",
    6: "yen.yaml",
    7: "dinar.yaml",
    8: "api-calls.yaml",
    9: "workflows.yaml",
    10: "nodes.yaml",
    11: "storage.yaml",
}
"""The example cards of the synthetic workload's tenants, by number; the others have the standard card."""
_RESERVED = {10: NODES, 11: STORAGE}
"""What tenants reserve beside their requests, by number."""
_AUTHOR = "demo"
_READ_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Input:
    """What is fed in: a trace or a workload, its tenants, the instant its first month begins, and cards by tenant."""

    feed: Callable[[Settings, Callable[[int], None]], Fed]
    events: int | None
    tenants: list[str]
    accounts_from: datetime
    cards: dict[str, Path]


class Screen(Protocol):
    """Shows which step is under way and how far it is."""

    def step(self, what: str, total: int | None = None) -> Callable[[int], None]:
        """A new step; returns the function that moves it on."""


@dataclass(frozen=True, slots=True)
class Timed:
    """What was fed in, and how long after the first event all of it was rated, and stored, in seconds."""

    fed: Fed
    rated_s: float
    stored_s: float


def trace_input(trace: Trace, card: Path) -> Input:
    """A trace as input: every tenant is charged by one card, from the month of the earliest row on."""
    earliest: datetime | None = None
    has_rows = False
    for item in trace:
        has_rows = True
        if not isinstance(item, SourceReject):
            first = pc.min(item.column("started_at")).as_py()
            earliest = first if earliest is None else min(earliest, first)
    if not has_rows:
        raise ConfigurationError(f"the trace {trace.path} has no rows", code="trace_empty")
    tenants = [f"tenant-{number:04d}" for number in range(trace.options.tenants)]
    return Input(
        lambda settings, advance: feed_trace(settings, trace, advance),
        None,
        tenants,
        _month(earliest or trace.options.start),
        dict.fromkeys(tenants, card),
    )


def workload_input(workload: Workload, card: Path | None) -> Input:
    """The synthetic workload as input; without a card for all, every example card charges a tenant."""
    tenants = workload.tenant_ids
    cards = {tenant: card or EXAMPLES / _CARDS.get(number, _STANDARD.name) for number, tenant in enumerate(tenants)}
    reserved = [
        Reservations(workload.seed, tenants[number], what, workload.start, workload.hours)
        for number, what in _RESERVED.items()
        if card is None and number < len(tenants)
    ]
    return Input(
        lambda settings, advance: feed_workload(settings, workload, advance, reservations=reserved),
        None,
        tenants,
        _month(workload.start),
        cards,
    )


def run(stack: Stack, source: Input, screen: Screen) -> Timed:
    """Meter, rate and store everything; on return nothing lags. Raises TokenmillError when a part fails."""
    settings = stack.settings
    with _step(screen, "creating topics and tables"):
        kafka_topics.apply(settings)
        migrations.apply(connect(settings.clickhouse, database=""), settings.clickhouse.database)
    with _step(screen, "starting a worker and a sink"):
        stack.start("worker")
        stack.start("sink")
    with _step(screen, "publishing rate cards, assigning accounts"):
        _accounts(settings, source)
    _wait(stack, screen, "waiting for the worker", _rating(settings))
    began = time.monotonic()
    fed = source.feed(settings, screen.step("sending events", source.events))
    _wait(stack, screen, "metering and rating", _rating(settings))
    rated_s = time.monotonic() - began
    _wait(stack, screen, "storing", _storing(settings))
    return Timed(fed, rated_s, time.monotonic() - began)


def _accounts(settings: Settings, source: Input) -> None:
    with ControlWriter(settings, _AUTHOR) as writer:
        ids = {}
        for path in sorted(set(source.cards.values())):
            _, card = load_card(path, settings)
            writer.publish_card(card.document())
            ids[path] = card.id
        for tenant in source.tenants:
            writer.assign(tenant, ids[source.cards[tenant]], source.accounts_from)


def _rating(settings: Settings) -> list[list[tuple[str, str]]]:
    """First the samples, since the meter turns them into events, then the events."""
    workers, topics = group_id(settings), settings.topics
    return [[(workers, topics.gpu_samples)], [(workers, topics.usage_events)]]


def _storing(settings: Settings) -> list[list[tuple[str, str]]]:
    group = group_of(settings)
    return [[(group, topic) for topic in topic_sinks(settings)]]


def _wait(stack: Stack, screen: Screen, what: str, rounds: list[list[tuple[str, str]]]) -> None:
    advance = screen.step(what)
    for wanted in rounds:
        shown = 0

        def progress(behind: int) -> None:
            nonlocal shown
            advance(-behind - shown)
            shown = -behind

        wait_until_read(stack.settings, wanted, timeout_s=_READ_TIMEOUT_S, check=stack.check, progress=progress)


@contextmanager
def _step(screen: Screen, what: str) -> Iterator[None]:
    screen.step(what)
    yield


def _month(instant: datetime) -> datetime:
    instant = instant.astimezone(UTC)
    return datetime(instant.year, instant.month, 1, tzinfo=UTC)
