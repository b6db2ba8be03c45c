"""Service levels by what is stored: measured as plain Python measures the events, credited once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

import pytest

from infra.clickhouse import connect
from infra.migrations import apply
from rating.sla import Measured, SlaTerm, Verdict
from schemas.events import TokenUsage
from sinks.finalize import finalize
from sinks.invoices import load_cards
from sinks.sla import Judged, book, judge_period, measure
from tests.sinks.filled import fill, run_of
from tests.streams.support import Log, Run, card_document, per_unit, usage

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from infra.embedded.clickhouse.process import EmbeddedClickHouse

PERIOD = "2026-01"
LEVELS: list[dict[str, Any]] = [
    {"sku": "up", "metric": "availability", "target": "99", "credits": [{"percent": "10"}]},
    {"sku": "first", "metric": "ttft", "percentile": "90", "target": "0.3", "match": {"model": "m_*"},
     "skus": ["m_1/*"], "credits": [{"percent": "50"}, {"worse_than": "0.6", "percent": "95"}]},
    {"sku": "whole", "metric": "end_to_end", "percentile": "99.5", "target": "100", "credits": [{"percent": "10"}]},
    {"sku": "speed", "metric": "tokens_per_second", "percentile": "75", "target": "1", "match": {"model": "m_2"},
     "credits": [{"percent": "10"}]},
    {"sku": "rare", "metric": "ttft", "percentile": "50", "target": "0.001", "match": {"model": "mx1"},
     "minimum_requests": 1000, "credits": [{"percent": "10"}]},
]  # fmt: skip
CARD = card_document(per_unit("{model}/output", "output", "0.11"), not_charged=["input", "requests"], sla=LEVELS)


def event(number: int) -> TokenUsage:
    started = datetime(2026, 1, 10, tzinfo=UTC) + timedelta(minutes=number)
    first = started + timedelta(microseconds=100_000 + 7_919 * number)
    return usage(
        f"e{number}",
        first + timedelta(milliseconds=500 + 10 * (number % 9)),
        response_model=("m_1", "m_2", "mx1")[number % 3],
        started_at=started,
        first_token_at=None if number % 10 == 9 else first,
        output_tokens=number % 13,
        input_tokens=5,
        status="error" if number % 8 == 5 else "success",
        http_status={5: 500, 13: 429}.get(number % 16),
    )


EVENTS = [event(number) for number in range(80)]


@pytest.fixture(scope="module")
def run() -> Run:
    log = Log()
    log.card(CARD)
    log.assign("*")
    log.batch(EVENTS)
    log.single(EVENTS[3])  # sent again: it is measured once
    log.tick(datetime(2026, 2, 3, tzinfo=UTC))
    return run_of(log)


@pytest.fixture(scope="module")
def client(clickhouse: EmbeddedClickHouse, run: Run) -> Iterator[Client]:
    settings = clickhouse.settings("sla")
    apply(connect(settings, database=""), settings.database)
    made = connect(settings)
    fill(made, run)
    yield made
    made.close()


def nearest_rank(values: list[Fraction], percentile: str, *, slowest_last: bool = True) -> Fraction:
    ordered = sorted(values, reverse=not slowest_last)
    return ordered[ceil(Fraction(percentile) / 100 * len(ordered)) - 1]


def seconds(end: datetime, start: datetime) -> Fraction:
    return Fraction((end - start) // timedelta(microseconds=1), 1_000_000)


def by_hand(level: str) -> tuple[Fraction | None, int]:
    good = [each for each in EVENTS if each.status == "success"]
    timed = [(each, seconds(each.first_token_at, each.started_at)) for each in good if each.first_token_at is not None]
    if level == "up":
        counted = [each for each in EVENTS if each.http_status != 429]
        return Fraction(100 * sum(each.status == "success" for each in counted), len(counted)), len(counted)
    if level == "first":
        values = [value for each, value in timed if each.response_model in ("m_1", "m_2")]
        return nearest_rank(values, "90"), len(values)
    if level == "whole":
        values = [seconds(each.ended_at, each.started_at) for each in good]
        return nearest_rank(values, "99.5"), len(values)
    if level == "speed":
        # In whole millionths of a token per second.
        speeds = [
            Fraction(each.output_tokens * 10**6 // seconds(each.ended_at, each.started_at), 10**6)
            for each in good
            if each.response_model == "m_2" and each.output_tokens
        ]
        return nearest_rank(speeds, "75", slowest_last=False), len(speeds)
    values = [value for each, value in timed if each.response_model == "mx1"]
    return nearest_rank(values, "50"), len(values)


@pytest.fixture(scope="module")
def judged(client: Client, run: Run) -> Callable[[], dict[str, Judged]]:
    def judge() -> dict[str, Judged]:
        return {each.verdict.term.sku: each for each in judge_period(client, load_cards(client, run.made), PERIOD)}

    return judge


@pytest.mark.parametrize("level", [each["sku"] for each in LEVELS])
def test_what_is_measured_is_what_plain_python_measures(level: str, judged: Callable[[], dict[str, Judged]]) -> None:
    measured = judged()[level].verdict.measured
    assert (measured.value, measured.requests) == by_hand(level)


def test_nothing_is_measured_of_another_tenant_or_period(client: Client) -> None:
    term = SlaTerm.model_validate(LEVELS[1])
    assert measure(client, term, "bell", PERIOD).requests == 0
    assert measure(client, term, "acme", "2026-02").value is None
    availability = SlaTerm.model_validate(LEVELS[0])
    assert measure(client, availability, "bell", PERIOD).value is None


def test_missed_levels_are_credited_once_on_the_final_invoice(
    client: Client, run: Run, judged: Callable[[], dict[str, Judged]]
) -> None:
    before = judged()
    missed = {name for name, each in before.items() if each.verdict.credit is not None}
    assert missed == {"up", "first"}
    assert book(client, before["up"], by="anna") is None, "there is no final invoice yet"
    cards = load_cards(client, run.made)
    (issued,) = finalize(client, "telco", cards, by="anna")
    assert issued.document is not None

    notes = {name: book(client, each, by="anna") for name, each in judged().items()}
    made = {name: note.document.draft for name, note in notes.items() if note is not None and note.new}
    assert made.keys() == missed
    assert {note.corrects for note in made.values()} == {issued.document.document_id}
    for name, note in made.items():
        assert -note.total == before[name].amount
        for line in note.lines:
            assert line.kind == "sla_credit"
            assert line.details["sla"]["requests"] == before[name].verdict.measured.requests
    output = next(line.amount for line in issued.document.draft.lines if line.sku == "m_1/output")
    credited = [line.amount for note in made.values() for line in note.lines if line.sku == "m_1/output"]
    # 10 % and 95 % of one line: together never more than the line.
    assert sum(credited, Decimal(0)) == -output

    again = judged()
    assert {name for name, each in again.items() if each.note is not None} == missed
    assert [book(client, each, by="anna") for each in again.values()] == [None] * len(LEVELS)


def test_another_measurement_later_is_no_second_credit(client: Client, judged: Callable[[], dict[str, Judged]]) -> None:
    first = judged()["first"]
    assert first.note is not None
    other = Verdict(first.verdict.term, Measured(Fraction(5), 7), first.verdict.term.credits[0])
    booked = book(client, replace(first, verdict=other, note=None, amounts={1: Decimal("0.01")}), by="bob")
    assert booked is not None
    assert not booked.new
    assert booked.document.draft == first.note
