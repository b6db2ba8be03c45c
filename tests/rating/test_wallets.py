"""Prepaid credits: who pays what, in which order, and what comes back (docs/prepaid.md)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from rating.errors import WalletError
from rating.money import amount_of, to_scaled
from rating.rated import RatedLine
from rating.wallets import Coverage, Grant, Wallet, reports
from rating.windows import HOUR, period_end, period_start

USD = 10**12
CREDIT = 10**9
JANUARY, FEBRUARY = HOUR.first("2026-01"), HOUR.first("2026-02")


def grant(name: str, amount: int, unit: str = "USD", first: int = JANUARY, **changes: Any) -> Grant:
    scale = USD if unit == "USD" else CREDIT
    return Grant("acme", name, unit, amount * scale, first, created_us=changes.pop("created_us", 0), **changes)


def usage(hour: int, amount: str, sku: str = "llama/output", quantity: str = "0", **changes: Any) -> RatedLine:
    """A record of an hour, counted from the beginning of 2026."""
    start = HOUR.start(JANUARY + hour)
    period = HOUR.period(JANUARY + hour)
    line = RatedLine(
        tenant_id="acme",
        sku=sku,
        meter="output",
        kind="usage",
        window_kind="hour",
        window_start=start,
        window_end=HOUR.end(JANUARY + hour),
        billing_period=period,
        service_period=period,
        quantity=Decimal(quantity),
        unit="tokens",
        amount=Decimal(amount),
        currency="USD",
        card_id="card",
        card_version=1,
        provisional=True,
    )
    return replace(line, **changes)


def whole(period: str, amount: str, sku: str, kind: Any = "minimum", service_period: str = "") -> RatedLine:
    """A record of a whole billing period."""
    return replace(
        usage(0, amount, sku),
        kind=kind,
        window_kind="period",
        window_start=period_start(period),
        window_end=period_end(period),
        billing_period=period,
        service_period=service_period or period,
    )


def wallet(*grants: Grant) -> Wallet:
    made = Wallet("acme")
    for each in grants:
        made.grant(each)
    return made


def paid(made: Wallet, *lines: RatedLine, open_from: str = "") -> dict[str, str]:
    """What the debits of these records come to: by the rest of their SKU and the hour, `amount` and grants."""
    for line in lines:
        made.note(line)
    found = {}
    for line in made.lines(open_from):
        grants = " ".join(f"{name[6:]}={each}" for name, each in line.dimensions.items() if name.startswith("grant/"))
        hour = HOUR.index_of(line.window_start) - JANUARY
        assert line.amount is not None
        found[f"{line.sku} {hour}"] = f"{line.amount.normalize():f} {grants}".strip()
    return found


def test_credits_pay_in_the_order_priority_expiry_creation_id() -> None:
    made = wallet(
        grant("late", 1, end=FEBRUARY + 10),
        grant("never", 1),
        grant("first", 1, priority=1),
        grant("b", 1, end=FEBRUARY, created_us=1),
        grant("a", 1, end=FEBRUARY, created_us=2),
        grant("c", 1, end=FEBRUARY, created_us=2),
    )
    found = paid(made, *(usage(hour, "1") for hour in range(6)))
    assert [each.split()[1] for each in found.values()] == ["first=1", "b=1", "a=1", "c=1", "late=1", "never=1"]


def test_a_record_is_paid_by_several_grants_in_one_debit() -> None:
    made = wallet(grant("a", 1), grant("b", 5, priority=200))
    assert paid(made, usage(0, "3.5")) == {"wallet/USD/usage/llama/output 0": "-3.5 a=1 b=2.5"}


def test_what_credits_do_not_cover_stays_on_the_invoice_and_a_larger_credit_on_the_grant() -> None:
    made = wallet(grant("a", 10))
    found = paid(made, usage(0, "4"), usage(1, "8"), usage(2, "1"))
    assert found == {"wallet/USD/usage/llama/output 0": "-4 a=4", "wallet/USD/usage/llama/output 1": "-6 a=6"}
    small = wallet(grant("a", 10))
    paid(small, usage(0, "4"))
    assert reports(small, JANUARY)[0].balance == 6 * USD


def test_a_grant_pays_no_hour_before_it_begins_and_none_after_it_ends() -> None:
    made = wallet(grant("a", 10, first=JANUARY + 1, end=JANUARY + 2))
    assert paid(made, *(usage(hour, "1") for hour in range(4))) == {"wallet/USD/usage/llama/output 1": "-1 a=1"}
    report = reports(made, JANUARY + 2)[0]
    assert (report.balance, report.lapsed, report.level) == (0, 9 * USD, "exhausted")


def test_a_correction_returns_to_its_grant() -> None:
    made = wallet(grant("a", 10), grant("b", 10, priority=200))
    paid(made, usage(0, "8"), usage(1, "4"))
    changed = paid(made, usage(0, "3"))
    assert changed == {
        "wallet/USD/usage/llama/output 0": "-3 a=3",
        "wallet/USD/usage/llama/output 1": "-4 a=4",
    }
    assert paid(made, usage(0, "0")) == {"wallet/USD/usage/llama/output 0": "0"}
    assert reports(made, JANUARY + 1)[0].balance == 16 * USD


def test_a_debit_has_the_card_of_what_it_pays_so_that_its_tax_goes_along() -> None:
    made = wallet(grant("a", 5))
    made.note(usage(0, "1"))
    assert [(line.card_id, line.card_version) for line in made.lines()] == [("card", 1)]
    made.note(usage(0, "1", card_version=2))
    assert [(line.card_id, line.card_version) for line in made.lines()] == [("card", 2)]
    made.note(usage(0, "0", card_version=2))
    assert [(line.card_id, line.card_version) for line in made.lines()] == [(None, None)]


def test_late_usage_is_paid_where_it_belongs_in_time() -> None:
    made = wallet(grant("a", 5))
    assert paid(made, usage(5, "5")) == {"wallet/USD/usage/llama/output 5": "-5 a=5"}
    assert paid(made, usage(2, "3")) == {
        "wallet/USD/usage/llama/output 2": "-3 a=3",
        "wallet/USD/usage/llama/output 5": "-2 a=2",
    }


def test_terms_come_first_credits_pay_what_is_left_of_the_period() -> None:
    made = wallet(grant("a", 100))
    assert paid(made, usage(0, "10"), usage(1, "10"), whole("2026-01", "-5", "discount", "credit")) == {
        "wallet/USD/usage/llama/output 0": "-10 a=10",
        "wallet/USD/usage/llama/output 1": "-5 a=5",
    }
    assert paid(made, usage(40, "2")) == {
        "wallet/USD/usage/llama/output 1": "-7 a=7",
    }
    assert paid(made, whole("2026-01", "-30", "discount", "credit")) == {
        "wallet/USD/usage/llama/output 0": "0",
        "wallet/USD/usage/llama/output 1": "0",
    }


def test_what_belongs_to_the_whole_period_is_paid_at_its_end() -> None:
    made = wallet(grant("a", 10))
    found = paid(made, whole("2026-01", "6", "minimum"), usage(700, "5"))
    assert found == {
        "wallet/USD/usage/llama/output 700": "-5 a=5",
        "wallet/USD/minimum/minimum 0": "-5 a=5",
    }
    assert reports(made, JANUARY + 700)[0].balance == 5 * USD
    assert reports(made, FEBRUARY)[0].balance == 0


def test_a_late_adjustment_is_paid_in_the_period_it_is_booked_in() -> None:
    made = wallet(grant("a", 10))
    adjustment = whole("2026-02", "4", "llama/output", "adjustment", "2026-01")
    made.note(adjustment)
    (line,) = made.lines()
    assert (line.billing_period, line.service_period, line.amount) == ("2026-02", "2026-01", Decimal(-4))
    assert line.sku == "wallet/USD/adjustment/llama/output"


def test_tokens_pay_quantities_and_a_part_pays_its_share_of_the_amount() -> None:
    made = wallet(grant("pack", 300, "tokens"), grant("cash", 5, priority=200))
    assert paid(made, usage(0, "2", quantity="200"), usage(1, "4", quantity="200")) == {
        "wallet/tokens/usage/llama/output 0": "-2 pack=200",
        "wallet/USD/usage/llama/output 1": "-2 cash=2",
        "wallet/tokens/usage/llama/output 1": "-2 pack=100",
    }
    assert paid(made, whole("2026-01", "1", "fee", "flat_fee")) == {"wallet/USD/flat_fee/fee 0": "-1 cash=1"}


def test_tokens_pay_usage_of_some_quantity_and_no_fees() -> None:
    made = wallet(grant("pack", 300, "tokens"))
    fee = replace(whole("2026-01", "1", "fee", "flat_fee"), quantity=Decimal(1))
    nothing, taken_back = usage(0, "1", "a", "0"), usage(0, "1", "b", "-5")
    assert paid(made, fee, nothing, taken_back, usage(0, "1", "c", "0.000000001")) == {
        "wallet/tokens/usage/c 0": "-1 pack=0.000000001"
    }
    late = replace(whole("2026-02", "1", "late", "adjustment", "2026-01"), quantity=Decimal(2))
    assert list(paid(made, late).values()) == ["-1 pack=2"]


def test_the_next_event_is_when_a_grant_begins_is_filled_up_or_ends() -> None:
    made = wallet(
        grant("a", 1, first=JANUARY + 10, end=JANUARY + 20),
        grant("never", 1, first=JANUARY + 12),
        grant("open", 1, first=JANUARY + 11),
        grant("monthly", 1, first=JANUARY + 15, end=FEBRUARY + 9, every="month"),
    )
    made.void("never", JANUARY + 12)
    found, at = [], JANUARY
    while (following := made.next_event(at)) is not None:
        found.append(following - JANUARY)
        at = following
    assert found == [10, 11, 15, 20, FEBRUARY - JANUARY, FEBRUARY + 9 - JANUARY]
    daily = wallet(grant("daily", 1, every="day", end=JANUARY + 50))
    after = [daily.next_event(JANUARY + hour) for hour in (-1, 0, 23, 24, 29, 48, 49, 50)]
    assert [each and each - JANUARY for each in after] == [0, 24, 24, 48, 48, 50, 50, None]
    made.void("a", JANUARY + 13)
    assert made.next_event(JANUARY + 11) == JANUARY + 13


def test_the_first_window_of_all_is_a_window() -> None:
    made = wallet(grant("a", 1, first=0, end=1))
    assert list(paid(made, usage(-JANUARY, "1"), usage(1 - JANUARY, "1")).values()) == ["-1 a=1"]


def test_gpu_hours_pay_seconds_and_covers_say_what_others_pay() -> None:
    seconds = {"meter": "gpu_seconds", "unit": "seconds", "quantity": "7200"}
    line = usage(0, "5", "h100/gpu-hours")
    line = replace(line, meter="gpu_seconds", unit="seconds", quantity=Decimal(seconds["quantity"]))
    assert paid(wallet(grant("g", 3, "gpu_hours")), line) == {"wallet/gpu_hours/usage/h100/gpu-hours 0": "-5 g=2"}
    covers = (Coverage("small/*", Decimal(1), Decimal(1000)), Coverage("*/output", Decimal(3), Decimal(1000)))
    points = wallet(grant("p", 100, "points", covers=covers))
    assert paid(points, usage(0, "1", "small/x", "2000"), usage(0, "1", "big/output", "2000"), line) == {
        "wallet/points/usage/big/output 0": "-1 p=6",
        "wallet/points/usage/small/x 0": "-1 p=2",
    }


def test_money_pays_its_own_currency_only_and_what_its_covers_name() -> None:
    made = wallet(grant("a", 10, covers=(Coverage("*/output"),)))
    euros = usage(0, "1", "x/output", currency="EUR")
    assert paid(made, euros, usage(0, "1", "x/input"), usage(0, "1")) == {"wallet/USD/usage/llama/output 0": "-1 a=1"}


def test_a_grant_that_comes_again_carries_over_what_it_may() -> None:
    made = wallet(grant("monthly", 10, every="month", rollover=3 * USD))
    paid(made, usage(0, "5"), usage(800, "12"), usage(1500, "20"))
    sums = made.sums(made.standing(JANUARY + 1500))["monthly"]
    # January 10, of 5 left 3 go on; February 13, of 1 left 1 goes on; March 11.
    assert (sums.granted, sums.drawn, sums.lapsed) == (30 * USD, (5 + 12 + 11) * USD, 2 * USD)


def test_daily_credits_are_new_each_day() -> None:
    made = wallet(grant("free", 1, every="day"))
    found = paid(made, usage(0, "3"), usage(23, "1"), usage(24, "3"))
    assert list(found.values()) == ["-1 free=1", "-1 free=1"]


def test_without_overage_a_top_up_first_pays_what_its_month_owes() -> None:
    made = wallet(grant("a", 1, overage=False))
    paid(made, usage(0, "3"), usage(5, "1"))
    made.grant(grant("b", 10, first=JANUARY + 10, overage=False))
    assert paid(made) == {
        "wallet/USD/usage/llama/output 0": "-3 a=1 b=2",
        "wallet/USD/usage/llama/output 5": "-1 b=1",
    }
    assert paid(made, usage(3, "0.5"))["wallet/USD/usage/llama/output 3"] == "-0.5 b=0.5"
    first = wallet(grant("a", 1))
    paid(first, usage(0, "3"))
    first.grant(grant("b", 10, first=JANUARY + 50, overage=False))
    assert paid(first, usage(51, "1"))["wallet/USD/usage/llama/output 0"] == "-3 a=1 b=2"
    later = wallet(grant("a", 1, overage=False), grant("b", 10, first=FEBRUARY, overage=False))
    assert paid(later, usage(0, "3")) == {"wallet/USD/usage/llama/output 0": "-1 a=1"}
    allowed = wallet(grant("a", 1), grant("b", 10, first=JANUARY + 10))
    assert paid(allowed, usage(0, "3")) == {"wallet/USD/usage/llama/output 0": "-1 a=1"}


def test_a_void_takes_back_what_is_unused_from_then_on() -> None:
    made = wallet(grant("a", 10))
    paid(made, usage(0, "4"), usage(5, "4"))
    made.void("a", JANUARY + 3)
    assert paid(made) == {"wallet/USD/usage/llama/output 5": "0"}
    report = reports(made, JANUARY + 5)[0]
    assert (report.drawn, report.voided, report.balance) == (4 * USD, 6 * USD, 0)
    made.void("a", JANUARY + 4)
    assert paid(made) == {}
    with pytest.raises(WalletError, match="no grant b"):
        made.void("b", JANUARY)


def test_a_grant_voided_from_its_beginning_gave_only_what_was_moved_by_then() -> None:
    made = wallet(grant("a", 10))
    made.transfer("USD", 4 * USD, JANUARY)
    made.void("a", JANUARY)
    (report,) = reports(made, JANUARY + 5)
    assert (report.granted, report.moved) == (4 * USD, 4 * USD)
    assert (report.balance, report.drawn, report.lapsed, report.voided) == (0, 0, 0, 0)
    unmoved = wallet(grant("a", 10))
    unmoved.void("a", JANUARY)
    assert (reports(unmoved, JANUARY)[0].granted, reports(unmoved, JANUARY)[0].overage) == (0, True)
    assert paid(made, usage(0, "1")) == {}


def test_a_transfer_takes_only_what_is_left_and_changes_nothing_that_was_paid() -> None:
    made = wallet(grant("a", 10), grant("b", 10, priority=200), grant("m", 5, every="month"))
    paid(made, usage(0, "4"), usage(9, "13"))
    with pytest.raises(WalletError, match="that is not enough"):
        made.transfer("USD", 9 * USD, JANUARY + 9)
    assert [(piece.grant.id, piece.amount) for piece in made.transfer("USD", 2 * USD, JANUARY + 9)] == [("b", 2 * USD)]
    assert paid(made) == {}
    report = reports(made, JANUARY + 9)[0]
    assert (report.moved, report.granted) == (2 * USD, report.balance + report.drawn + report.moved)
    with pytest.raises(WalletError, match="no grant x"):
        made.transfer("USD", 1, JANUARY + 9, "x")
    with pytest.raises(WalletError):
        made.transfer("EUR", 1, JANUARY + 9)


def test_a_closed_periods_debits_are_final() -> None:
    made = wallet(grant("a", 10))
    made.note(usage(0, "4"))
    made.note(usage(800, "4"))
    assert [line.provisional for line in made.lines("2026-01")] == [True, True]
    (line,) = made.lines("2026-02")
    assert (line.billing_period, line.provisional) == ("2026-01", False)
    assert made.lines("2026-02") == []


def test_the_newest_grant_says_whether_usage_may_go_on_and_when_the_balance_is_low() -> None:
    made = wallet(grant("a", 10, low_balance=3 * USD), grant("b", 10, created_us=1, overage=False))
    paid(made, usage(0, "16"))
    report = reports(made, JANUARY)[0]
    assert (report.overage, report.threshold, report.level) == (False, 3 * USD, "sufficient")
    paid(made, usage(1, "1"))
    assert reports(made, JANUARY + 1)[0].level == "low"


def test_there_is_one_report_per_unit_in_their_order() -> None:
    units = ["tokens", "USD", "gpu_hours", "EUR", "GBP", "JPY"]
    made = wallet(*(replace(grant(unit, 1), unit=unit) for unit in units), grant("later", 1, "CHF", first=FEBRUARY))
    assert [report.unit for report in reports(made, JANUARY)] == ["EUR", "GBP", "JPY", "USD", "gpu_hours", "tokens"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tenant_id": "*"}, "belong to one tenant"),
        ({"amount": 0}, "above 0"),
        ({"amount": -1}, "above 0"),
        ({"amount": 10**28}, "at most"),
        ({"end": JANUARY}, "ends before it begins"),
        ({"rollover": 1}, "give every"),
        ({"every": "month", "rollover": -1}, "from 0"),
        ({"low_balance": -1}, "from 0"),
        ({"unit": "points"}, "say with covers"),
    ],
)
def test_a_grant_that_cannot_be_says_why(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(WalletError, match=words):
        replace(grant("a", 1), **changes)


def test_a_known_id_with_other_content_is_refused_and_the_same_again_changes_nothing() -> None:
    made = wallet(grant("a", 1))
    made.grant(grant("a", 1))
    with pytest.raises(WalletError, match="another grant a"):
        made.grant(grant("a", 2))
    with pytest.raises(WalletError, match="not of acme"):
        made.grant(replace(grant("b", 1), tenant_id="globex"))
    for skus, credits, per in (("", "1", "1"), ("*", "1", "0"), ("*", "-1", "1")):
        with pytest.raises(WalletError):
            Coverage(skus, Decimal(credits), Decimal(per))


def test_tiny_and_huge_amounts_are_exact() -> None:
    made = wallet(grant("a", 10**15))
    amount = amount_of(10**27 - 1)
    paid(made, usage(0, f"{amount:f}"))
    assert reports(made, JANUARY)[0].balance == 1
    assert to_scaled(amount, 12) == reports(made, JANUARY)[0].drawn


def test_debits_are_no_charges_and_records_without_a_price_are_none() -> None:
    made = wallet(grant("a", 10))
    made.note(usage(0, "1"))
    (debit,) = made.lines()
    made.note(debit)
    made.note(replace(usage(1, "1"), kind="unrated", amount=None, currency=None))
    assert made.lines() == []
    assert (debit.kind, debit.meter, debit.quantity, debit.unit) == ("credit", "wallet", Decimal(0), "USD")
    assert debit.dimensions == {"pays": "llama/output", "grant/a": "1"}
    assert debit.window_start == datetime(2026, 1, 1, tzinfo=UTC)
