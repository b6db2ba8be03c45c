# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
"""Flat fees: whole and by days, in arrears and in advance, of subscriptions that begin, change and end."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from rating.catalog import EVERYONE, Assignment, Catalog
from rating.invoices import build_invoice
from rating.money import q12
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.terms.opening import NOTHING_OPEN, Opening, opening_from
from rating.terms.subscription import days_within
from rating.windows import HOUR, WindowSize, first_hour, hour_start, next_period
from tests.rating.builders import PERIOD, START, card, key

DAY = 24
FEBRUARY, MARCH = "2026-02", "2026-03"
Fee = tuple[str, str, str, str]
"""Kind, SKU, billing period, service period."""


def fees_of(lines: list[RatedLine]) -> dict[Fee, tuple[Any, Any]]:
    """Quantity and amount of the records of fees."""
    return {
        (line.kind, line.sku, line.billing_period, line.service_period): (line.quantity, line.amount)
        for line in lines
        if line.meter == "flat_fee" and (line.quantity or line.amount)
    }


def chain(known: Catalog, *periods: str, tenant: str = "acme") -> dict[Fee, tuple[Any, Any]]:
    """The fees of consecutive periods, each taking over what the one before hands over."""
    opening = NOTHING_OPEN
    found: dict[Fee, tuple[Any, Any]] = {}
    for name in periods:
        period = TenantPeriod(tenant, name)
        period.open_with(opening)
        found |= fees_of(period.lines(known, closed=True))
        opening = period.handover()
    return found


def by_days(amount: str, name: str = "fee", **fields: Any) -> Any:
    return {"sku": name, "amount": amount, "prorate": True, **fields}


def assigned(fees: list[Any], first: int = START, last: int | None = None, **fields: Any) -> Catalog:
    made = card(flat_fees=fees, **fields)
    return Catalog().with_card(made).with_assignment(Assignment("acme", "card", first, last))


# --- by days ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "days"),
    [
        (0, None, 31),
        (10 * DAY, None, 21),
        (0, 10 * DAY, 10),
        (10 * DAY, 11 * DAY, 1),
        (10 * DAY + 5, None, 21),  # a day belongs to what holds at its end
        (0, 10 * DAY + 5, 10),
        (10 * DAY + 5, 10 * DAY + 9, 0),
        (-50, 99999, 31),
    ],
)
def test_a_prorated_fee_is_owed_for_the_days_of_the_subscription(first: int, last: int | None, days: int) -> None:
    known = assigned([by_days("31")], START + first, None if last is None else START + last)
    expected = {("flat_fee", "fee", PERIOD, PERIOD): (days, days)} if days else {}
    assert chain(known, PERIOD) == expected


def test_a_fee_by_days_counts_days_and_a_whole_one_months() -> None:
    known = assigned([by_days("31"), {"sku": "whole", "amount": "5"}])
    lines = TenantPeriod("acme", PERIOD).lines(known, closed=True)
    assert {line.sku: (line.quantity, line.unit) for line in lines} == {"fee": (31, "days"), "whole": (1, "months")}


@pytest.mark.parametrize(("period", "days"), [("2026-01", 31), ("2026-02", 28), ("2028-02", 29), ("2026-04", 30)])
@pytest.mark.parametrize("minutes", [15, 30, 60])
def test_the_days_of_a_month_are_those_of_the_calendar(period: str, days: int, minutes: int) -> None:
    window = WindowSize(minutes)
    assert days_within(window, period, window.first(period), window.last(period)) == days


def test_a_prorated_fee_of_a_third_of_a_month_is_rounded_once() -> None:
    known = assigned([by_days("10")], START, START + 11 * DAY)
    assert chain(known, PERIOD)["flat_fee", "fee", PERIOD, PERIOD] == (11, q12(Decimal(10) * 11 / 31))


def test_whoever_changes_cards_pays_each_fee_for_its_days() -> None:
    cheap, dear = card(flat_fees=[by_days("31")]), card(flat_fees=[by_days("62", "plus")], id="plus")
    known = Catalog().with_card(cheap).with_card(dear).with_assignment(Assignment("acme", "card", START))
    known = known.with_assignment(Assignment("acme", "plus", START + 10 * DAY))
    assert chain(known, PERIOD) == {
        ("flat_fee", "fee", PERIOD, PERIOD): (10, 10),
        ("flat_fee", "plus", PERIOD, PERIOD): (21, 42),
    }


def test_a_fee_that_changes_inside_the_month_costs_its_days_at_each_price() -> None:
    second = card(flat_fees=[by_days("62")], version=2, effective_from=hour_start(START + 10 * DAY))
    known = assigned([by_days("31")]).with_card(second)
    assert chain(known, PERIOD) == {("flat_fee", "fee", PERIOD, PERIOD): (31, 10 + 42)}


def test_a_whole_fee_of_the_later_card_replaces_a_prorated_one() -> None:
    second = card(flat_fees=[{"sku": "fee", "amount": "50"}], version=2, effective_from=hour_start(START + 10 * DAY))
    assert chain(assigned([by_days("31")]).with_card(second), PERIOD) == {("flat_fee", "fee", PERIOD, PERIOD): (1, 50)}


# --- in advance -------------------------------------------------------------------------------------------------------

ADVANCE = {"sku": "fee", "amount": "20", "in_advance": True}


def test_a_fee_in_advance_stands_on_the_invoice_of_the_month_before_and_the_first_on_its_own() -> None:
    assert chain(assigned([ADVANCE]), PERIOD, FEBRUARY) == {
        ("flat_fee", "fee", PERIOD, PERIOD): (1, 20),
        ("flat_fee", "fee", PERIOD, FEBRUARY): (1, 20),
        ("flat_fee", "fee", FEBRUARY, MARCH): (1, 20),
    }


def test_an_invoice_lists_the_fee_in_advance_with_its_own_month() -> None:
    made = card(flat_fees=[ADVANCE])
    known = Catalog().with_card(made).with_assignment(Assignment("acme", "card", START))
    records = TenantPeriod("acme", PERIOD).lines(known, closed=True)
    invoice = build_invoice("acme", PERIOD, "USD", records, [made])
    assert [(line.sku, line.service_period, line.amount) for line in invoice.lines] == [
        ("fee", PERIOD, 20),
        ("fee", FEBRUARY, 20),
    ]
    assert (invoice.total, invoice.provisional) == (40, False)


@pytest.mark.parametrize("ends", [0, -5])
def test_a_subscription_that_ends_with_the_month_pays_nothing_in_advance(ends: int) -> None:
    known = assigned([ADVANCE], START, first_hour(FEBRUARY) + ends)
    assert chain(known, PERIOD, FEBRUARY) == {("flat_fee", "fee", PERIOD, PERIOD): (1, 20)}


def test_a_prorated_fee_in_advance_is_for_the_days_that_are_known() -> None:
    known = assigned([{**ADVANCE, "prorate": True, "amount": "28"}], START, first_hour(FEBRUARY) + 10 * DAY)
    assert chain(known, PERIOD, FEBRUARY) == {
        ("flat_fee", "fee", PERIOD, PERIOD): (31, 28),
        ("flat_fee", "fee", PERIOD, FEBRUARY): (10, 10),
    }


def test_days_that_were_paid_in_advance_and_not_used_are_given_back() -> None:
    january = TenantPeriod("acme", PERIOD)
    known = assigned([{**ADVANCE, "prorate": True, "amount": "28"}])
    january.lines(known, closed=True)
    # In February the tenant moves to a card without fees on the 11th.
    moved = known.with_card(card(id="free")).with_assignment(
        Assignment("acme", "free", first_hour(FEBRUARY) + 10 * DAY)
    )
    assert january.lines(moved, closed=True) == [], "what was charged in a closed month stays"
    february = TenantPeriod("acme", FEBRUARY)
    february.open_with(january.handover())
    assert fees_of(february.lines(moved, closed=True)) == {("adjustment", "fee", FEBRUARY, FEBRUARY): (0, -18)}


def test_a_fee_in_advance_is_given_back_whole_where_the_card_never_held() -> None:
    january = TenantPeriod("acme", PERIOD)
    known = assigned([ADVANCE])
    january.lines(known, closed=True)
    moved = known.with_card(card(id="free")).with_assignment(Assignment("acme", "free", first_hour(FEBRUARY)))
    february = TenantPeriod("acme", FEBRUARY)
    february.open_with(january.handover())
    (found,) = february.lines(moved, closed=True)
    assert (found.kind, found.sku, found.quantity, found.amount) == ("adjustment", "fee", 0, -20)
    assert (found.currency, found.card_id, found.unit, found.meter) == ("USD", "free", "months", "flat_fee")


@pytest.mark.parametrize("ends", [None, "2026-02-01T00:00:00Z"])
def test_a_fee_in_advance_is_given_back_in_its_currency_where_no_such_card_holds(ends: str | None) -> None:
    known = assigned([ADVANCE], effective_to=ends)
    january = TenantPeriod("acme", PERIOD)
    january.lines(known, closed=True)
    if ends is None:
        euros = card(id="euros", currency="EUR")
        known = known.with_card(euros).with_assignment(Assignment("acme", "euros", first_hour(FEBRUARY)))
    february = TenantPeriod("acme", FEBRUARY)
    february.open_with(january.handover())
    (found,) = february.lines(known, closed=True)
    assert (found.kind, found.sku, found.amount, found.currency, found.card_id) == (
        "adjustment",
        "fee",
        -20,
        "USD",
        None,
    )
    assert (found.quantity, found.unit) == (0, "months")


def test_fees_of_all_kinds_stand_beside_each_other_in_any_order() -> None:
    whole, advance = {"sku": "whole", "amount": "5"}, {**ADVANCE, "sku": "ahead"}
    kinds = [
        advance,
        whole,
        by_days("31"),
        by_days("62", "days-ahead", in_advance=True),
        {"sku": "last", "amount": "7"},
    ]
    expected = {
        ("flat_fee", "ahead", PERIOD, PERIOD): (1, 20),
        ("flat_fee", "ahead", PERIOD, FEBRUARY): (1, 20),
        ("flat_fee", "whole", PERIOD, PERIOD): (1, 5),
        ("flat_fee", "fee", PERIOD, PERIOD): (31, 31),
        ("flat_fee", "days-ahead", PERIOD, PERIOD): (31, 62),
        ("flat_fee", "days-ahead", PERIOD, FEBRUARY): (28, 62),
        ("flat_fee", "last", PERIOD, PERIOD): (1, 7),
    }
    for first in range(len(kinds)):
        assert chain(assigned([*kinds[first:], *kinds[:first]]), PERIOD) == expected


def test_a_whole_fee_in_advance_holds_for_the_month_where_a_later_card_counts_days() -> None:
    second = card(
        flat_fees=[{**ADVANCE, "prorate": True, "amount": "31"}, by_days("31", "other", in_advance=True)],
        version=2,
        effective_from=hour_start(START + 10 * DAY),
    )
    assert chain(assigned([ADVANCE], START, first_hour(FEBRUARY)).with_card(second), PERIOD) == {
        ("flat_fee", "fee", PERIOD, PERIOD): (1, 20),
        ("flat_fee", "other", PERIOD, PERIOD): (21, 21),
    }


def test_a_fee_that_rises_after_it_was_paid_is_adjusted_in_its_own_month() -> None:
    raised = card(flat_fees=[{**ADVANCE, "amount": "30"}], version=2, effective_from=hour_start(first_hour(FEBRUARY)))
    known = assigned([ADVANCE]).with_card(raised)
    assert chain(known, PERIOD, FEBRUARY) == {
        ("flat_fee", "fee", PERIOD, PERIOD): (1, 20),
        ("flat_fee", "fee", PERIOD, FEBRUARY): (1, 20),
        ("adjustment", "fee", FEBRUARY, FEBRUARY): (0, 10),
        ("flat_fee", "fee", FEBRUARY, MARCH): (1, 30),
    }


def test_a_whole_fee_in_advance_is_not_given_back_when_a_later_card_lacks_it() -> None:
    second = card(version=2, effective_from=hour_start(START + 10 * DAY))
    assert chain(assigned([ADVANCE]).with_card(second), PERIOD, FEBRUARY) == {
        ("flat_fee", "fee", PERIOD, PERIOD): (1, 20)
    }


def test_tenants_of_the_default_card_pay_each_month_on_its_own_invoice() -> None:
    known = Catalog().with_card(card(flat_fees=[ADVANCE])).with_assignment(Assignment(EVERYONE, "card", 0))
    assert chain(known, PERIOD, FEBRUARY) == {
        ("flat_fee", "fee", PERIOD, PERIOD): (1, 20),
        ("flat_fee", "fee", FEBRUARY, FEBRUARY): (1, 20),
    }


def test_reserved_tenants_pay_no_fee_in_advance() -> None:
    known = Catalog().with_card(card(flat_fees=[ADVANCE])).with_assignment(Assignment("_pool", "card", 0))
    assert chain(known, PERIOD, FEBRUARY, tenant="_pool") == {}


def test_a_fee_moved_into_the_past_of_an_open_month_changes_what_is_owed() -> None:
    period = TenantPeriod("acme", PERIOD)
    assert fees_of(period.lines(assigned([by_days("31")]), closed=False)) == {
        ("flat_fee", "fee", PERIOD, PERIOD): (31, 31)
    }
    ended = assigned([by_days("31")], START, START + 5 * DAY)
    assert fees_of(period.lines(ended, closed=False)) == {("flat_fee", "fee", PERIOD, PERIOD): (5, 5)}


def test_an_end_that_becomes_known_takes_back_what_the_open_month_charged_in_advance() -> None:
    period = TenantPeriod("acme", PERIOD)
    period.lines(assigned([ADVANCE]), closed=False)
    ended = assigned([ADVANCE], START, first_hour(FEBRUARY))
    lines = period.lines(ended, closed=False)
    assert [(line.sku, line.service_period, line.quantity, line.amount) for line in lines] == [("fee", FEBRUARY, 0, 0)]
    assert period.handover() == NOTHING_OPEN


def test_what_a_month_takes_over_survives_as_plain_data() -> None:
    january = TenantPeriod("acme", PERIOD)
    january.add(key(), START, None, {"requests": Decimal(1)})
    january.lines(assigned([ADVANCE, by_days("31", "days", in_advance=True)]), closed=True)
    opening = january.handover()
    assert opening == Opening({}, {("fee", "USD"): 20 * 10**12, ("days", "USD"): 31 * 10**12})
    assert opening_from(opening.document()) == opening


def test_a_month_is_followed_by_the_next() -> None:
    assert (next_period(PERIOD), next_period("2026-12"), HOUR.period(first_hour(MARCH))) == (FEBRUARY, "2027-01", MARCH)
