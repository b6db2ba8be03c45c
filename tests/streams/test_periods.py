"""Billing periods through the stream: closing, grace, late usage, what is forgotten, fees and minimums, ticks (D5, D6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from rating.windows import HOUR
from streams.restore import POSITION_KEY
from tests.streams.support import Log, Run, card_document, per_unit, rate, rate_in_steps, usage

PRICED = card_document(per_unit("{model}/input", "input", "0.01"), not_charged=["output", "requests"])


def at(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def log_with(card: dict[str, Any] = PRICED, tenant: str = "acme") -> Log:
    log = Log()
    log.card(card)
    log.assign(tenant)
    return log


def provisional(run: Run, sku: str = "llama/input") -> dict[str, bool]:
    return {
        record["service_period"]: record["provisional"]
        for record in run.last().values()
        if record["sku"] == sku and record["kind"] == "usage"
    }


@pytest.mark.parametrize("step", [1, 100])
def test_records_are_provisional_until_their_period_and_its_grace_are_over(step: int) -> None:
    log = log_with()
    log.batch([usage("a", at(1, 10))])
    log.batch([usage("b", at(2, 1, 23))])
    assert provisional(rate(log.records).all(step)) == {"2026-01": True, "2026-02": True}
    log.tick(at(2, 2))
    assert provisional(rate(log.records).all(step)) == {"2026-01": False, "2026-02": True}


def test_usage_in_the_grace_still_belongs_to_its_period() -> None:
    log = log_with()
    log.batch([usage("a", at(1, 10)), usage("b", at(2, 1, 23)), usage("c", at(1, 10))])
    run = rate(log.records).all()
    assert run.amounts()["llama/input 2026-01-10T00:00:00Z 2026-01"] == "200 2"
    assert not [record for record in run.rated() if record["kind"] == "adjustment"]


@pytest.mark.parametrize("step", [1, 2, 100])
def test_late_usage_is_an_adjustment_that_names_both_periods(step: int) -> None:
    log = log_with()
    log.batch([usage("a", at(1, 10))])
    log.batch([usage("b", at(2, 10))])
    log.batch([usage("late", at(1, 10)), usage("later", at(1, 20))])
    log.batch([usage("c", at(3, 3))])
    log.batch([usage("latest", at(1, 10))])
    run = rate(log.records).all(step)
    on_time = run.last()["acme", "llama/input", "usage", "hour", "2026-01-10T00:00:00Z", "2026-01"]
    assert (on_time["quantity"], on_time["amount"], on_time["provisional"]) == ("100", "1", False)
    adjustments = [
        record for record in run.last().values() if record["kind"] == "adjustment" and record["sku"] == "llama/input"
    ]
    assert [
        (each["service_period"], each["billing_period"], each["window_kind"], each["quantity"], each["amount"])
        for each in adjustments
    ] == [("2026-01", "2026-02", "period", "200", "2"), ("2026-01", "2026-03", "period", "100", "1")]
    assert run.outcomes() == {"rated": 6}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("step", [1, 100])
def test_a_late_event_crosses_a_tier_as_if_it_had_been_on_time(step: int, restart: bool) -> None:
    tiers = {"model": "graduated", "tiers": [{"up_to": 150, "price": "1"}, {"price": "0.1"}], "per": 1}
    log = log_with(card_document({"sku": "in", "meter": "input", "charge": tiers}, not_charged=["output", "requests"]))
    log.batch([usage("a", at(1, 10)), usage("b", at(1, 10, 5))])
    log.batch([usage("c", at(2, 10))])
    log.batch([usage("late", at(1, 5))])
    run = rate(log.records)
    run.feed(4)
    run.flush()
    if restart:
        run.restart()
    run.all(step)
    january = sum(float(record["amount"]) for record in run.last().values() if record["service_period"] == "2026-01")
    assert january == 150 * 1 + 150 * 0.1
    assert run.amounts()["in 2026-02-01T00:00:00Z 2026-01"] == "100 10"


def test_usage_whose_state_is_gone_is_a_dead_letter() -> None:
    log = log_with()
    log.batch([usage("a", at(1, 10))])
    log.tick(at(3, 9))
    log.batch([usage("late", at(1, 31, 23)), usage("kept", at(2, 1))])
    run = rate(log.records).all()
    assert run.outcomes() == {"rated": 2, "dead_letter": 1}
    assert run.dead_codes() == {"too_late": 1}
    assert run.balance()["gateway/1"]["by_code"] == {"too_late": 1}


@pytest.mark.parametrize("restart", [False, True])
def test_state_of_a_period_goes_35_days_after_it_closed_and_not_before(restart: bool) -> None:
    log = log_with(card_document(flat_fees=[{"sku": "fee", "amount": "5"}]))
    log.batch([usage("a", at(1, 10), units={"x": "1"}, images=1), usage("b", at(2, 20))])
    log.tick(at(3, 8, 23))
    run = rate(log.records).all()
    if restart:
        run.restart()
    everything = {"usage", "units", "emitted"}
    assert kinds_kept(run, "2026-01") == everything
    before = len(run.written)
    log.tick(at(3, 9))
    run.all()
    assert len({record.key for record in run.written[before:] if record.value is None}) > len(everything)
    assert kinds_kept(run, "2026-01") == set()
    assert kinds_kept(run, "2026-02") == {"usage", "emitted"}
    assert not [record for record in run.written[before:] if record.topic == run.made.topics.usage_rated]
    assert orjson.loads(run.state[POSITION_KEY])[6] == ["2026-02", "2026-03"]


def kinds_kept(run: Run, period: str) -> set[str]:
    """What kinds of state there are of a period."""
    found = set()
    for key in run.state:
        kind, *parts = orjson.loads(key)
        if (kind == "emitted" and parts[1] == period) or (
            kind in ("usage", "units") and HOUR.period(parts[9]) == period
        ):
            found.add(kind)
    return found


def test_forgetting_writes_no_rated_record_and_later_periods_go_on() -> None:
    log = log_with()
    log.batch([usage("a", at(1, 10))])
    log.tick(at(6, 1))
    log.batch([usage("b", at(6, 1, 5))])
    run = rate(log.records).all(1)
    assert run.amounts() == {
        "llama/input 2026-01-10T00:00:00Z 2026-01": "100 1",
        "llama/input 2026-06-01T05:00:00Z 2026-06": "100 1",
        **{
            f"uncharged/not_charged/{leaf} {window} {window[:7]}": f"{quantity} 0"
            for leaf, quantity in (("output_text", 10), ("requests", 1))
            for window in ("2026-01-10T00:00:00Z", "2026-06-01T05:00:00Z")
        },
    }


# --- fees and minimums ------------------------------------------------------------------------------------------------

FEES = card_document(
    per_unit("{model}/input", "input", "0.01"),
    not_charged=["output", "requests"],
    flat_fees=[{"sku": "platform", "amount": "5"}],
    minimum={"sku": "minimum", "amount": "3"},
)


def period_lines(run: Run, tenant: str = "acme") -> dict[tuple[str, str], tuple[str, bool]]:
    return {
        (record["sku"], record["service_period"]): (record["amount"], record["provisional"])
        for record in run.last().values()
        if record["window_kind"] == "period" and record["tenant_id"] == tenant
    }


@pytest.mark.parametrize("step", [1, 3, 100])
@pytest.mark.parametrize("restart", [False, True])
def test_fees_and_minimum_are_owed_once_for_each_period_in_which_time_stood(step: int, restart: bool) -> None:
    log = log_with(FEES)
    log.batch([usage("a", at(1, 10)), usage("other", at(1, 10), tenant_id="globex")])
    log.batch([usage("b", at(2, 10), input_tokens=250)])
    log.tick(at(3, 1, 12))
    run = rate_in_steps(log.records, step, restart=restart)
    assert period_lines(run) == {
        ("platform", "2026-01"): ("5", False),
        ("minimum", "2026-01"): ("2", False),
        ("platform", "2026-02"): ("5", True),
        ("minimum", "2026-02"): ("0.5", True),
        ("platform", "2026-03"): ("5", True),
        ("minimum", "2026-03"): ("3", True),
    }
    assert period_lines(run, "globex") == {}, "without an account there is no fee"


@pytest.mark.parametrize("step", [1, 100])
@pytest.mark.parametrize("restart", [False, True])
def test_a_period_without_any_usage_closes_too(step: int, restart: bool) -> None:
    log = log_with(FEES)
    log.tick(at(1, 15))
    log.tick(at(2, 1, 5))
    run = rate(log.records)
    run.feed(4)
    run.flush()
    if restart:
        run.restart()
    log.tick(at(2, 2))
    run.all(step)
    assert period_lines(run)["platform", "2026-01"] == ("5", False)
    assert period_lines(run)["minimum", "2026-01"] == ("3", False)
    assert period_lines(run)["platform", "2026-02"] == ("5", True)


@pytest.mark.parametrize("step", [1, 100])
def test_nothing_is_owed_for_the_time_before_the_log_began(step: int) -> None:
    log = log_with(FEES)
    log.batch([usage("other", at(1, 3), tenant_id="globex")])
    run = rate(log.records).all(step)
    assert {period for _, period in period_lines(run)} == {"2026-01"}


@pytest.mark.parametrize("first", [(1, 31), (2, 1)])
@pytest.mark.parametrize("step", [1, 100])
def test_which_event_of_a_month_comes_first_changes_no_fee(step: int, first: tuple[int, int]) -> None:
    log = log_with(FEES)
    events = {(1, 31): usage("x", at(1, 31), tenant_id="globex"), (2, 1): usage("y", at(2, 1), tenant_id="globex")}
    log.batch([events.pop(first)])
    log.batch(list(events.values()))
    assert {period for _, period in period_lines(rate(log.records).all(step))} == {"2026-01", "2026-02"}


@pytest.mark.parametrize("step", [1, 100])
def test_months_that_one_flush_runs_over_are_all_owed(step: int) -> None:
    log = log_with(FEES)
    for month in range(1, 8):
        log.batch([usage(f"event-{month}", at(month, 20), tenant_id="globex")])
    run = rate(log.records).all(step)
    owed = {period: line for (sku, period), line in period_lines(run).items() if sku == "platform"}
    assert owed == {f"2026-{month:02d}": ("5", month >= 7) for month in range(1, 8)}


@pytest.mark.parametrize("step", [1, 100])
def test_a_clock_that_was_years_off_bills_no_years_of_fees(step: int) -> None:
    log = log_with(FEES)
    log.batch([usage("wrong", datetime(1970, 1, 1, tzinfo=UTC), tenant_id="globex")])
    log.batch([usage("right", at(5, 20), tenant_id="globex")])
    run = rate(log.records).all(step)
    assert {period for _, period in period_lines(run)} <= {"2026-03", "2026-04", "2026-05"}


def test_fees_begin_with_the_assignment_and_end_with_it() -> None:
    log = Log()
    log.card(FEES)
    log.tick(at(1, 5))
    log.assign("acme", since=at(1, 20), until=at(2, 1))
    log.tick(at(2, 20))
    assert {period for _, period in period_lines(rate(log.records).all(1))} == {"2026-01"}


def test_a_tick_reaches_no_further_than_an_event_may() -> None:
    log = log_with(PRICED)
    log.log_time_us = int(at(1, 10).timestamp() * 1e6)
    log.tick(at(6, 1))
    log.batch([usage("a", at(1, 9))])
    run = rate(log.records).all()
    assert run.outcomes() == {"rated": 1}
    assert orjson.loads(run.state[POSITION_KEY])[2] == log.log_time_us + 300 * 1_000_000


def test_a_workers_own_tick_does_not_begin_the_time_of_a_partition() -> None:
    log = log_with(PRICED)

    def own(time: datetime) -> None:
        record = log.tick(time)
        log.records[-1] = replace(record, headers={**record.headers, "ce_source": b"tokenmill/worker"})

    own(at(11, 22))
    log.batch([usage("a", at(1, 10))])
    run = rate(log.records).all(1)
    assert run.outcomes() == {"rated": 1}
    own(at(11, 22))
    log.batch([usage("b", at(1, 10))])
    run.all(1)
    assert run.outcomes() == {"rated": 1, "dead_letter": 1}


@pytest.mark.parametrize("minutes", [15, 30, 60])
def test_windows_of_other_sizes(minutes: int) -> None:
    log = log_with(PRICED)
    log.batch([usage(str(number), at(1, 10) + timedelta(minutes=5 * number)) for number in range(24)])
    run = rate(log.records, window_minutes=minutes).all()
    windows = {
        record["window_start"]: record["quantity"] for record in run.last().values() if record["sku"] == "llama/input"
    }
    assert len(windows) == 120 // minutes
    assert set(windows.values()) == {str(100 * minutes // 5)}
