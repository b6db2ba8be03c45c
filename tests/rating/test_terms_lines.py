# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
"""What a line owes beyond its hours: minimum, commitment with overage and true-up, by the period and by the window."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.batch import rate
from rating.catalog import EVERYONE, Assignment, Catalog
from rating.invoices import build_invoice
from rating.money import exact_sum, q12
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.windows import hour_start
from tests.rating.builders import PERIOD, START, Document, card, catalog, graduated, key, per_unit, sku
from tests.rating.test_account import period_records, used

HOURS_OF_JANUARY = 31 * 24


def line(price: Document, name: str = "in", **fields: Any) -> Document:
    return {**sku(name, "input", price), **fields}


def amount_of(lines: list[RatedLine], kind: str = "usage") -> Decimal:
    return exact_sum(each.amount for each in lines if each.kind == kind and each.amount is not None)


def closed(document: Document, usage: dict[int, int], **fields: Any) -> list[RatedLine]:
    """The records of a closed January with so many tokens by hour."""
    period = TenantPeriod("acme", PERIOD)
    for hour, tokens in usage.items():
        used(period, tokens, hour)
    return period.lines(catalog(card(document, **fields)), closed=True)


@pytest.mark.parametrize(("tokens", "missing"), [(0, 50), (30, 20), (50, 0), (70, 0)])
def test_the_minimum_of_a_sku_charges_what_its_line_leaves_open(tokens: int, missing: int) -> None:
    found = period_records(closed(line(per_unit("1"), minimum="50"), {0: tokens}))
    assert found == {("minimum", "in/minimum", PERIOD): (int(missing > 0), missing)}


def test_the_minimum_of_a_line_counts_after_its_discount_and_its_cap() -> None:
    discounted = closed(line(per_unit("1"), minimum="50", discount_percent="50"), {0: 60})
    assert (amount_of(discounted), amount_of(discounted, "minimum")) == (30, 20)
    capped = closed(line(per_unit("1"), minimum="50", maximum="50"), {0: 90})
    assert (amount_of(capped), amount_of(capped, "minimum")) == (50, 0)


def test_a_line_and_its_minimum_come_to_the_minimum_on_the_invoice() -> None:
    made = card(line(per_unit("0.333"), minimum="10"), sku("out", "output", per_unit("0.333")))
    usage = [(key(), START, {"input_uncached": Decimal(10), "output_text": Decimal(1)})]
    invoice = build_invoice("acme", PERIOD, "USD", rate(made, usage), [made])
    amounts = {each.sku: each.amount for each in invoice.lines}
    assert amounts == {"in": Decimal("3.33"), "in/minimum": Decimal("6.67"), "out": Decimal("0.33")}


def test_each_line_of_a_template_has_its_own_minimum_once_it_has_usage() -> None:
    made = card({**sku("{model}/in", "input", per_unit("1")), "minimum": "50"})
    period = TenantPeriod("acme", PERIOD)
    used(period, 20, model="a")
    used(period, 60, model="b")
    assert period_records(period.lines(catalog(made), closed=True)) == {
        ("minimum", "a/in/minimum", PERIOD): (1, 30),
        ("minimum", "b/in/minimum", PERIOD): (0, 0),
    }


def test_a_minimum_of_a_line_known_without_usage_holds_when_another_line_is_used() -> None:
    document = {**sku("{model}/in", "input", per_unit("1"), model="a"), "minimum": "50"}
    assert period_records(closed(document, {}))["minimum", "a/in/minimum", PERIOD] == (1, 50)


def test_records_of_a_line_say_whose_line_it_is() -> None:
    document = {**sku("{model}/in", "input", per_unit("1"), model="m"), "minimum": "50", "seller_id": "reseller"}
    (found,) = [each for each in closed(document, {0: 1}) if each.kind == "minimum"]
    assert (found.seller_id, found.dimensions, found.meter, found.unit) == (
        "reseller",
        {"model": "m"},
        "minimum",
        "months",
    )


def test_a_fee_that_a_line_owes_without_usage_counts_towards_its_minimum() -> None:
    price = graduated((10, "1", "7"), (None, "1", "0"))
    assert period_records(closed(line(price, minimum="50"), {})) == {
        ("flat_fee", "in", PERIOD): (0, 7),
        ("minimum", "in/minimum", PERIOD): (1, 43),
    }


# --- commitments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "charged", "missing"), [(0, 0, 100), (30, 60, 40), (50, 100, 0), (60, 130, 0), (80, 190, 0)]
)
@pytest.mark.parametrize("commitment", [{"amount": "100"}, {"quantity": "50"}])
def test_above_the_commitment_usage_costs_the_factor_and_below_it_the_rest_is_owed(
    commitment: Document, tokens: int, charged: int, missing: int
) -> None:
    lines = closed(line(per_unit("2"), commitment={**commitment, "overage_factor": "1.5"}), {0: tokens})
    assert amount_of(lines) == charged
    assert period_records(lines) == {("commitment", "in/commitment", PERIOD): (int(missing > 0), missing)}


def test_without_true_up_nothing_is_owed_below_the_commitment() -> None:
    lines = closed(line(per_unit("2"), commitment={"amount": "100", "overage_factor": "2", "true_up": False}), {0: 60})
    assert (amount_of(lines), period_records(lines)) == (140, {})
    lines = closed(line(per_unit("2"), commitment={"amount": "100", "overage_factor": "2", "true_up": False}), {0: 3})
    assert (amount_of(lines), period_records(lines)) == (6, {})


def test_the_hour_that_crosses_the_commitment_costs_both_prices() -> None:
    lines = closed(line(per_unit("2"), commitment={"amount": "100", "overage_factor": "1.5"}), {3: 40, 5: 20, 9: 10})
    assert [each.amount for each in lines if each.kind == "usage"] == [80, 20 + Decimal("30"), 30]


@pytest.mark.parametrize("order", [(3, 5, 9), (9, 5, 3), (5, 9, 3)])
def test_overage_falls_on_the_later_hours_in_whatever_order_usage_comes(order: tuple[int, ...]) -> None:
    known = catalog(card(line(per_unit("2"), commitment={"amount": "100", "overage_factor": "1.5"})))
    period = TenantPeriod("acme", PERIOD)
    found: dict[object, RatedLine] = {}
    for hour in order:
        used(period, {3: 40, 5: 20, 9: 10}[hour], hour)
        found |= {each.key: each for each in period.lines(known, closed=False)}
    usage = sorted((each for each in found.values() if each.kind == "usage"), key=lambda each: each.window_start)
    assert [each.amount for each in usage] == [80, 50, 30]


def test_the_steps_of_a_line_are_allowance_price_discount_overage_cap_commitment_minimum() -> None:
    document = line(
        per_unit("2"),
        included="10",
        discount_percent="10",
        commitment={"amount": "90", "overage_factor": "2"},
        maximum="200",
        minimum="150",
    )
    # 60 tokens: 50 charged at 2 less 10 % = 90, which is what is committed to; the minimum asks for 60 more.
    assert period_records(closed(document, {0: 60})) == {
        ("commitment", "in/commitment", PERIOD): (0, 0),
        ("minimum", "in/minimum", PERIOD): (1, 60),
    }
    # 100 tokens: 162, so 72 above the commitment count twice: 234, capped at 200.
    assert amount_of(closed(document, {0: 100})) == 200
    # 20 tokens: 18; 72 to the commitment, 60 more to the minimum.
    assert period_records(closed(document, {0: 20})) == {
        ("commitment", "in/commitment", PERIOD): (1, 72),
        ("minimum", "in/minimum", PERIOD): (1, 60),
    }


def test_a_commitment_of_a_quantity_costs_what_that_quantity_costs_in_its_tiers() -> None:
    price = graduated((10, "2", "0"), (None, "1", "0"))
    document = line(price, commitment={"quantity": "15", "overage_factor": "3"})
    assert period_records(closed(document, {0: 5}))["commitment", "in/commitment", PERIOD] == (1, 15)
    assert amount_of(closed(document, {0: 17})) == 25 + 2 * 3


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=6),
    st.decimals("0.01", "30", places=2),
    st.decimals("0.25", "3", places=2),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_hours_with_overage_sum_to_the_price_of_the_period(
    tokens: list[int], committed: Decimal, factor: Decimal, by_quantity: bool
) -> None:
    tiers = graduated((7, "0.333", "0.11"), (30, "0.2", "0"), (None, "0.1", "2"), per=7)
    commitment = {"quantity" if by_quantity else "amount": str(committed), "overage_factor": str(factor)}
    lines = closed(line(tiers, commitment=commitment), dict(enumerate(tokens)))

    def price(quantity: Fraction) -> Fraction:
        found, lower = Fraction(0), Fraction(0)
        for upper, unit, fee in ((7, "0.333", "0.11"), (30, "0.2", "0"), (None, "0.1", "2")):
            if quantity > lower:
                reached = quantity if upper is None else min(quantity, Fraction(upper))
                found += Fraction(fee) + (reached - lower) * Fraction(unit) / 7
                lower = reached if upper is None else Fraction(upper)
        return found

    plain = price(Fraction(sum(tokens)))
    edge = price(Fraction(committed)) if by_quantity else Fraction(committed)
    expected = plain if plain <= edge else edge + (plain - edge) * Fraction(factor)
    assert amount_of(lines) == q12(expected)


def test_overage_of_less_than_a_rounding_step_counts() -> None:
    lines = closed(line(per_unit("0.0100000000004"), commitment={"amount": "0.01", "overage_factor": "2"}), {0: 1})
    assert amount_of(lines) == Decimal("0.010000000001")


def test_a_price_change_inside_the_period_prices_each_hour_by_its_own_commitment() -> None:
    first = card(line(per_unit("2"), commitment={"amount": "100", "overage_factor": "1.5"}))
    second = card(
        line(per_unit("4"), commitment={"amount": "100", "overage_factor": "2"}),
        version=2,
        effective_from=hour_start(START + 10),
    )
    period = TenantPeriod("acme", PERIOD)
    used(period, 40, 5)
    used(period, 10, 12)
    lines = period.lines(catalog(first, second), closed=True)
    # At 4 a token the first 40 alone would cost 100 + 60 x 2, the 50 of both 100 + 100 x 2.
    assert [each.amount for each in lines if each.kind == "usage"] == [80, 80]
    assert period_records(lines) == {("commitment", "in/commitment", PERIOD): (0, 0)}


# --- commitments by the window -----------------------------------------------------------------------------------------

BY_HOUR = line(per_unit("2"), tier_scope="hour", commitment={"amount": "10", "overage_factor": "2", "window": "hour"})


def for_hours(first: int, last: int, document: Document, usage: dict[int, int]) -> list[RatedLine]:
    """The records of a tenant that is assigned for these hours of January."""
    made = card(document)
    known = Catalog().with_card(made).with_assignment(Assignment("acme", "card", START + first, START + last + 1))
    period = TenantPeriod("acme", PERIOD)
    for hour, tokens in usage.items():
        used(period, tokens, hour)
    return period.lines(known, closed=True)


def test_each_window_is_compared_with_its_own_commitment() -> None:
    lines = for_hours(0, 2, BY_HOUR, {0: 2, 1: 8, 2: 5})
    assert [each.amount for each in lines if each.kind == "usage"] == [4, 10 + 6 * 2, 10]
    assert period_records(lines) == {("commitment", "in/commitment", PERIOD): (1, 6)}


def test_windows_without_usage_owe_the_commitment_while_the_card_holds() -> None:
    lines = for_hours(4, 9, BY_HOUR, {5: 2, 6: 8})
    (found,) = [each for each in lines if each.kind == "commitment"]
    assert (found.quantity, found.unit, found.amount) == (5, "windows", 4 * 10 + 6)
    unused = for_hours(4, 9, BY_HOUR, {})
    assert period_records(unused) == {("commitment", "in/commitment", PERIOD): (6, 60)}
    whole_month = closed(BY_HOUR, {5: 3})
    assert amount_of(whole_month, "commitment") == 10 * HOURS_OF_JANUARY - 6


def test_a_commitment_by_the_window_holds_beside_lines_without_one() -> None:
    known = Catalog().with_card(card(BY_HOUR, sku("out", "output", per_unit("1"))))
    known = known.with_assignment(Assignment("acme", "card", START, START + 3))
    period = TenantPeriod("acme", PERIOD)
    used(period, 9, 1)
    period.add(key(), START + 1, None, {"output_text": Decimal(5)})
    assert period_records(period.lines(known, closed=True)) == {("commitment", "in/commitment", PERIOD): (2, 20)}


def test_a_commitment_by_the_window_follows_the_card_in_force_in_each_window() -> None:
    raised = line(
        per_unit("2"), tier_scope="hour", commitment={"amount": "20", "overage_factor": "2", "window": "hour"}
    )
    known = Catalog().with_card(card(BY_HOUR))
    known = known.with_card(card(raised, version=2, effective_from=hour_start(START + 3)))
    known = known.with_assignment(Assignment("acme", "card", START, START + 5))
    period = TenantPeriod("acme", PERIOD)
    used(period, 1, 0)
    used(period, 9, 4)
    lines = period.lines(known, closed=True)
    assert period_records(lines) == {("commitment", "in/commitment", PERIOD): (5, 8 + 10 + 10 + 20 + 2)}


@pytest.mark.parametrize("later", [line(per_unit("2"), tier_scope="hour"), sku("out", "output", per_unit("1"))])
def test_the_hours_of_an_earlier_version_owe_its_commitment(later: Document) -> None:
    second = card(later, version=2, effective_from=hour_start(START + 3))
    known = Catalog().with_card(card(BY_HOUR)).with_card(second)
    known = known.with_assignment(Assignment("acme", "card", START, START + 5))
    period = TenantPeriod("acme", PERIOD)
    assert period_records(period.lines(known, closed=True)) == {("commitment", "in/commitment", PERIOD): (3, 30)}
    used(period, 4, 1)
    used(period, 1, 4)
    assert period_records(period.lines(known, closed=True)) == {("commitment", "in/commitment", PERIOD): (3, 22)}


def test_a_version_without_the_line_between_two_with_it_owes_nothing() -> None:
    between = card(sku("out", "output", per_unit("1")), version=2, effective_from=hour_start(START + 2))
    again = card(BY_HOUR, version=3, effective_from=hour_start(START + 4))
    known = Catalog().with_card(card(BY_HOUR)).with_card(between).with_card(again)
    known = known.with_assignment(Assignment("acme", "card", START, START + 5))
    lines = TenantPeriod("acme", PERIOD).lines(known, closed=True)
    assert period_records(lines) == {("commitment", "in/commitment", PERIOD): (3, 30)}


def test_a_line_and_its_commitment_by_the_window_come_to_the_rounded_sum() -> None:
    document = line(
        per_unit("0.333"), tier_scope="hour", commitment={"amount": "1", "overage_factor": "1", "window": "hour"}
    )
    lines = for_hours(0, 2, document, {0: 1, 1: 2, 2: 4})
    # 1 + 1 + 1.332, of which 2.331 was used: the line is 2.33 and the commitment what is missing to 3.33.
    assert (amount_of(lines), amount_of(lines, "commitment")) == (Decimal("2.331"), Decimal("1.00"))


# --- commitments of cells ----------------------------------------------------------------------------------------------


def by_night(**fields: Any) -> Document:
    """1 a token from midnight to 6, else 3."""
    bucket = {"from": "00:00", "to": "06:00", "name": "night", "charge": per_unit("1"), **fields}
    charge = {"model": "time_of_day", "time_zone": "UTC", "buckets": [bucket], "default": per_unit("3")}
    return line(charge, tier_scope="hour")


def test_a_bucket_of_hours_may_have_a_commitment_of_its_own() -> None:
    committed = {"quantity": "4", "overage_factor": "2", "window": "hour", "true_up": False}
    lines = closed(by_night(commitment=committed), {2: 10, 10: 5})
    assert {each.sku: each.amount for each in lines if each.kind == "usage"} == {
        "in/night": 4 + 6 * 2,
        "in/other": 5 * 3,
    }
    assert period_records(lines) == {}


def test_a_commitment_of_a_bucket_is_owed_in_its_own_hours() -> None:
    lines = closed(by_night(commitment={"quantity": "4", "window": "hour"}), {2: 1, 10: 5})
    assert period_records(lines) == {("commitment", "in/night/commitment", PERIOD): (31 * 6, 31 * 6 * 4 - 1)}
    # Nights from 0 to 6 of the hours 3 to 29: three of the first, five of the second.
    some = for_hours(3, 28, by_night(commitment={"quantity": "4", "window": "hour"}), {})
    assert period_records(some) == {("commitment", "in/night/commitment", PERIOD): (8, 32)}


def test_each_part_of_the_day_owes_the_commitment_of_the_sku_in_its_hours() -> None:
    document = {**by_night(), "commitment": {"amount": "2", "window": "hour"}}
    assert period_records(for_hours(0, 23, document, {})) == {
        ("commitment", "in/night/commitment", PERIOD): (6, 12),
        ("commitment", "in/other/commitment", PERIOD): (18, 36),
    }


def test_the_commitment_of_a_cell_takes_the_place_of_that_of_its_sku() -> None:
    cells = [
        {"region": "eu", "charge": per_unit("1"), "commitment": {"amount": "30", "overage_factor": "2"}},
        {"region": "us", "charge": per_unit("1")},
    ]
    document = line({"model": "matrix", "by": ["region"], "cells": cells}, commitment={"amount": "10"})
    period = TenantPeriod("acme", PERIOD)
    for region in ("eu", "us"):
        used(period, 40, region=region)
    lines = period.lines(catalog(card(document)), closed=True)
    assert {each.sku: each.amount for each in lines if each.kind == "usage"} == {"in/eu": 50, "in/us": 40}
    unused = TenantPeriod("acme", PERIOD)
    assert period_records(unused.lines(catalog(card(document)), closed=True)) == {
        ("commitment", "in/eu/commitment", PERIOD): (1, 30),
        ("commitment", "in/us/commitment", PERIOD): (1, 10),
    }


def test_usage_in_another_currency_owes_nothing_under_these_terms() -> None:
    euros = card(line(per_unit("1"), minimum="50"), id="euros", currency="EUR")
    known = Catalog().with_card(card(line(per_unit("1")))).with_card(euros)
    known = known.with_assignment(Assignment(EVERYONE, "card", 0)).with_assignment(
        Assignment("acme", "euros", START + 5)
    )
    period = TenantPeriod("acme", PERIOD)
    used(period, 10, 4)
    used(period, 20, 5)
    assert period_records(period.lines(known, closed=True)) == {("minimum", "in/minimum", PERIOD): (1, 30)}
