"""What the stream says, to people and to billing, also when another worker goes on: nothing twice, nothing stays raised."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from streams.duplicates import EventWindow
from tests.streams.support import Log, Run, card_document, rate, usage


def told(run: Run, policy: str) -> list[dict[str, Any]]:
    """Every signal whose policy begins so, in their order."""
    found = [orjson.loads(record.value or b"") for record in run.to(run.made.topics.usage_signals)]
    return [signal for signal in found if signal["policy"].startswith(policy)]


def numbered(*numbers: int) -> Run:
    log = Log()
    log.card(card_document())
    for number in numbers:
        log.batch([usage(f"event-{number}")], number=number)
    return rate(log.records)


@pytest.mark.parametrize("restart", [False, True])
def test_a_gap_that_is_filled_after_a_restart_is_cleared(restart: bool) -> None:
    run = numbered(1, 3, 4, 2, 5)
    run.feed(3)
    run.flush()
    if restart:
        run.restart()
    run.all(1)
    assert [
        (each["kind"], each["data"]["missing_batches"], each["data"]["ranges"]) for each in told(run, "missing")
    ] == [
        ("gap", 1, [[2, 2]]),
        ("cleared", 0, []),
    ]


@pytest.mark.parametrize("restart", [False, True])
def test_a_gap_that_stays_is_told_once(restart: bool) -> None:
    run = numbered(1, 3, 4, 5)
    run.feed(3)
    run.flush()
    if restart:
        run.restart()
    run.all(1)
    assert [each["kind"] for each in told(run, "missing")] == ["gap"]


@pytest.mark.parametrize("restart", [False, True])
def test_an_event_window_cut_short_is_told_once_for_each_time(restart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.outcomes.EventWindow", lambda _: EventWindow(1 << 15))
    log = Log()
    log.card(card_document())
    for number in range(1, 5):
        hours = timedelta(hours=number)
        log.batch([usage(f"event-{number}-{row}", hours) for row in range(1_000)], number=number)
    log.batch([usage("one more", timedelta(hours=4))], number=5)
    run = rate(log.records)
    said: list[int] = []
    for _ in log.records:
        run.feed(1)
        run.flush()
        if restart:
            run.restart()
        said = [each["data"]["evicted_minutes"] for each in told(run, "event_window")]
    assert said
    assert said == sorted(set(said))


@pytest.mark.parametrize("restart", [False, True])
def test_hours_that_did_not_change_are_not_published_again(restart: bool) -> None:
    log = Log()
    log.card(card_document())
    log.assign("*", "card")
    log.batch([usage("first")], number=1)
    log.batch([usage("second", response_model="other")], number=2)
    run = rate(log.records)
    run.feed(3)
    run.flush()
    if restart:
        run.restart()
    run.all(1)
    published = [(record["sku"], record["revision"]) for record in run.rated()]
    assert len(published) == len({sku for sku, _ in published}) + 1, "only the requests of both models changed again"


def test_a_fee_is_published_once_however_often_its_period_is_priced() -> None:
    log = Log()
    log.card(card_document(flat_fees=[{"sku": "platform", "amount": "20.00"}]))
    log.assign("*", "card")
    for number in (1, 2, 3):
        log.batch([usage(f"event-{number}")], number=number)
    run = rate(log.records).all(1)
    assert [record["amount"] for record in run.rated() if record["sku"] == "platform"] == ["20"]


def test_records_that_can_not_be_decoded_stand_in_the_balance_with_their_code() -> None:
    log = Log()
    for _ in range(2):
        log.append(b"{", [("content-type", b"application/cloudevents+json")])
    (counted,) = rate(log.records).all().balance().values()
    assert (counted["read"], counted["dead_letter"], counted["by_code"]) == (2, 2, {"undecodable": 2})
