"""Terms of a period through the stream: allowances that go on, fees in advance, commitments; restarts change nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from tests.streams.support import Log, Run, card_document, per_unit, rate_in_steps, usage

ROLLING = card_document(
    {**per_unit("in", "input", "1"), "included": {"quantity": "300", "rollover": "150"}},
    not_charged=["output", "requests"],
)
ADVANCE = card_document(flat_fees=[{"sku": "fee", "amount": "28", "in_advance": True, "prorate": True}])


def at(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def log_with(card: dict[str, Any], tenant: str = "acme") -> Log:
    log = Log()
    log.card(card)
    log.assign(tenant)
    return log


def charged(run: Run, sku: str) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Quantity and amount of the records of a line that are not nothing, by kind, window and month of service."""
    return {
        (record["kind"], record["window_start"], record["service_period"]): (record["quantity"], record["amount"])
        for record in run.last().values()
        if record["sku"] == sku and (record["quantity"] != "0" or record["amount"] != "0")
    }


def openings(run: Run) -> dict[tuple[str, str], Any]:
    """What the kept state says that months take over."""
    return {
        (tenant, period): orjson.loads(value)[1:]
        for key, value in run.state.items()
        for kind, tenant, period, *_ in [[*orjson.loads(key), "", ""]]
        if kind == "opening"
    }


STEPS = pytest.mark.parametrize(("step", "restart"), [(1, False), (1, True), (3, True), (100, False)])


@STEPS
def test_an_allowance_goes_on_into_the_next_month(step: int, restart: bool) -> None:
    log = log_with(ROLLING)
    log.batch([usage("a", at(1, 10), input_tokens=200)])
    log.batch([usage("b", at(2, 10), input_tokens=500)])
    log.tick(at(3, 5))
    run = rate_in_steps(log.records, step, restart=restart)
    # January leaves 100: of the 500 tokens of February 400 are included.
    assert charged(run, "in") == {
        ("usage", "2026-01-10T00:00:00Z", "2026-01"): ("200", "0"),
        ("usage", "2026-02-10T00:00:00Z", "2026-02"): ("500", "100"),
    }
    february = run.last()["acme", "in", "usage", "hour", "2026-02-10T00:00:00Z", "2026-02"]
    assert february["dimensions"]["allowance_carried_in"] == "100"


@STEPS
def test_usage_in_the_grace_takes_its_part_of_the_allowance_back_from_the_next_month(step: int, restart: bool) -> None:
    log = log_with(ROLLING)
    log.batch([usage("a", at(1, 10), input_tokens=200)])
    log.batch([usage("b", at(2, 1, 5), input_tokens=500)])
    log.batch([usage("grace", at(1, 31), input_tokens=60)])
    log.batch([usage("c", at(2, 1, 7), input_tokens=10)])
    log.tick(at(2, 5))
    run = rate_in_steps(log.records, step, restart=restart)
    assert charged(run, "in") == {
        ("usage", "2026-01-10T00:00:00Z", "2026-01"): ("200", "0"),
        ("usage", "2026-01-31T00:00:00Z", "2026-01"): ("60", "0"),
        ("usage", "2026-02-01T05:00:00Z", "2026-02"): ("500", "160"),
        ("usage", "2026-02-01T07:00:00Z", "2026-02"): ("10", "10"),
    }


@STEPS
def test_records_say_the_allowance_that_was_carried_in_last_also_where_no_amount_changed(
    step: int, restart: bool
) -> None:
    log = log_with(ROLLING)
    log.batch([usage("a", at(1, 10), input_tokens=200)])
    log.batch([usage("b", at(2, 1, 5), input_tokens=50)])
    log.batch([usage("grace", at(1, 31), input_tokens=60)])
    run = rate_in_steps(log.records, step, restart=restart)
    february = run.last()["acme", "in", "usage", "hour", "2026-02-01T05:00:00Z", "2026-02"]
    assert (february["amount"], february["dimensions"]["allowance_carried_in"]) == ("0", "40")


@STEPS
def test_usage_after_closing_finds_only_what_was_not_carried_on(step: int, restart: bool) -> None:
    log = log_with(ROLLING)
    log.batch([usage("a", at(1, 10), input_tokens=100)])
    log.batch([usage("b", at(2, 10), input_tokens=500)])
    log.batch([usage("late", at(1, 20), input_tokens=80)])
    log.tick(at(2, 12))
    run = rate_in_steps(log.records, step, restart=restart)
    # 200 were left, 150 went on; the late 80 find 50.
    assert charged(run, "in")["adjustment", "2026-02-01T00:00:00Z", "2026-01"] == ("80", "30")
    assert charged(run, "in")["usage", "2026-02-10T00:00:00Z", "2026-02"] == ("500", "50")


@pytest.mark.parametrize("restart", [False, True])
def test_what_a_month_takes_over_is_kept_while_the_one_before_is_forgotten(restart: bool) -> None:
    log = log_with(ROLLING)
    log.batch([usage("a", at(1, 10), input_tokens=200)])
    log.batch([usage("b", at(2, 10), input_tokens=380)])
    log.tick(at(3, 12))
    run = rate_in_steps(log.records, 1, restart=restart)
    assert not [key for key in run.state if b'"2026-01"' in key], "January is forgotten"
    assert openings(run)["acme", "2026-02"] == [[["in", "input", "100"]], []]
    log.batch([usage("late", at(2, 20), input_tokens=40)])
    if restart:
        run.restart()
    run.all()
    # 20 of the 400 were left and went on into March: all of the late 40 is charged.
    assert charged(run, "in")["adjustment", "2026-03-01T00:00:00Z", "2026-02"] == ("40", "40")
    log.tick(at(4, 20))
    run.all()
    assert not [period for _, period in openings(run) if period <= "2026-02"], "gone with the month that took it over"


@STEPS
def test_a_fee_in_advance_stands_on_the_invoice_of_the_month_before(step: int, restart: bool) -> None:
    log = log_with(ADVANCE)
    log.batch([usage("other", at(1, 10), tenant_id="globex")])
    log.batch([usage("more", at(2, 10), tenant_id="globex")])
    run = rate_in_steps(log.records, step, restart=restart)
    assert charged(run, "fee") == {
        ("flat_fee", "2026-01-01T00:00:00Z", "2026-01"): ("31", "28"),
        ("flat_fee", "2026-01-01T00:00:00Z", "2026-02"): ("28", "28"),
        ("flat_fee", "2026-02-01T00:00:00Z", "2026-03"): ("31", "28"),
    }


@STEPS
def test_a_subscription_that_ends_early_gets_back_the_days_it_paid_in_advance(step: int, restart: bool) -> None:
    log = log_with(ADVANCE)
    log.card(card_document(id="free"))
    log.tick(at(1, 10))
    log.tick(at(2, 3))
    # The tenant leaves on the 15th, and says so when January is closed already.
    log.assign("acme", "free", since=at(2, 15))
    log.tick(at(2, 20))
    run = rate_in_steps(log.records, step, restart=restart)
    assert charged(run, "fee") == {
        ("flat_fee", "2026-01-01T00:00:00Z", "2026-01"): ("31", "28"),
        ("flat_fee", "2026-01-01T00:00:00Z", "2026-02"): ("28", "28"),
        ("adjustment", "2026-02-01T00:00:00Z", "2026-02"): ("0", "-14"),
    }


@STEPS
def test_the_terms_of_a_card_are_kept_up_to_date_and_close_with_the_month(step: int, restart: bool) -> None:
    log = log_with(
        card_document(
            {**per_unit("in", "input", "1"), "commitment": {"amount": "300", "overage_factor": "2"}},
            not_charged=["output", "requests"],
            discounts=[{"sku": "off", "percent": "10"}],
            maximum={"sku": "cap", "amount": "900"},
            minimum={"sku": "least", "amount": "350"},
        )
    )
    log.batch([usage("a", at(1, 10), input_tokens=200)])
    log.batch([usage("b", at(1, 11), input_tokens=50)])
    log.tick(at(2, 3))
    log.batch([usage("late", at(1, 12), input_tokens=600)])
    run = rate_in_steps(log.records, step, restart=restart)
    month = {
        (record["kind"], record["sku"], record["billing_period"]): record["amount"]
        for record in run.last().values()
        if record["window_kind"] == "period" and record["service_period"] == "2026-01" and record["amount"] != "0"
    }
    # On time: 250, 50 to the commitment, 25 off, 75 to the minimum. With the late 600: 300 + 550 x 2 = 1400, 140 off,
    # and 360 above the cap: so late usage pays 1150 - 50 - 75 - 115 - 360 = 550, and January comes to 900.
    assert month == {
        ("commitment", "in/commitment", "2026-01"): "50",
        ("credit", "off", "2026-01"): "-25",
        ("minimum", "least", "2026-01"): "75",
        ("adjustment", "in", "2026-02"): "1150",
        ("adjustment", "in/commitment", "2026-02"): "-50",
        ("adjustment", "off", "2026-02"): "-115",
        ("adjustment", "cap", "2026-02"): "-360",
        ("adjustment", "least", "2026-02"): "-75",
    }
    usage_amounts = [float(each["amount"]) for each in run.last().values() if each["kind"] == "usage"]
    assert sum(usage_amounts) + sum(map(float, month.values())) == 900
