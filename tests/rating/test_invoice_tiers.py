# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
"""The tiers of an invoice line: whatever the price is made of, they sum to the line."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from rating import rate
from rating.aggregations.gathered import Gathered, MeteredEvent
from rating.cards import RateCard
from rating.catalog import Catalog
from rating.invoice_tiers import InvoiceTier
from rating.invoices import InvoiceLine, build_invoice
from rating.money import exact_sum
from rating.overrides import overrides_for
from rating.period import TenantPeriod
from tests.rating.builders import (
    PERIOD,
    START,
    Document,
    card,
    catalog,
    graduated,
    key,
    package,
    per_unit,
    sku,
    volume,
)
from tests.rating.prices import charges, modifiers

SECOND_DAY = "2026-01-02T00:00:00Z"
USAGE = st.lists(st.tuples(st.integers(0, 47), st.integers(-200, 2000)), min_size=1, max_size=12)


def the_line(made: Catalog, usage: list[tuple[int, int]]) -> InvoiceLine | None:
    """The only line of an invoice, for images by (hour, quantity)."""
    period = TenantPeriod("acme", PERIOD)
    for hour, quantity in usage:
        period.add(key(), START + hour, None, {"images": Decimal(quantity)})
    lines = [line for line in period.lines(made, closed=True) if line.kind == "usage"]
    return next(iter(build_invoice("acme", PERIOD, "USD", lines, made).lines), None)


def one(charge: Document, **fields: object) -> RateCard:
    return card({**sku("images", "images", charge), **fields})


def shown(line: InvoiceLine) -> list[tuple[str, Decimal, Decimal, Decimal]]:
    return [(tier.kind, tier.lower, tier.quantity, tier.amount) for tier in line.tiers]


@settings(max_examples=60)
@given(charges(), modifiers(), charges(), modifiers(), st.sampled_from(["period", "hour"]), USAGE)
def test_they_sum_to_the_line_through_price_changes_and_corrections(
    charge: Document, fields: Document, later: Document, more: Document, scope: str, usage: list[tuple[int, int]]
) -> None:
    first = one(charge, **fields, tier_scope=scope)
    second = card({**sku("images", "images", later), **more, "tier_scope": scope}, version=2, effective_from=SECOND_DAY)
    line = the_line(catalog(first, second), usage)
    if line is None:
        return
    assert exact_sum(tier.amount for tier in line.tiers) == line.exact_amount
    if "quantity" not in fields and "quantity" not in more:
        assert exact_sum(tier.quantity for tier in line.tiers) == line.quantity


@settings(max_examples=30)
@given(charges(), modifiers(), charges(), USAGE)
def test_under_a_price_of_its_own_a_tenant_keeps_what_the_sku_does_around_it(
    charge: Document, fields: Document, own: Document, usage: list[tuple[int, int]]
) -> None:
    listed = one(charge, **fields)
    overrides = overrides_for(listed, {"images": own})
    uses = [(key(), START + hour, {"images": Decimal(quantity)}) for hour, quantity in usage]
    found = {line.key: line.amount for line in rate(listed, uses, overrides=overrides) if line.kind == "usage"}
    assert found == {line.key: line.amount for line in rate(one(own, **fields), uses) if line.kind == "usage"}
    lines = [line for line in rate(listed, uses, overrides=overrides) if line.kind == "usage"]
    for line in build_invoice("acme", PERIOD, "USD", lines, [listed, listed.with_overrides(overrides)]).lines:
        assert exact_sum(tier.amount for tier in line.tiers) == line.exact_amount
        assert all(tier.override for tier in line.tiers)


def test_converted_quantities_are_shown_in_their_own_unit() -> None:
    priced = one(
        graduated((10, "2", "0"), (None, "1", "0")),
        quantity={"divide_by": 100, "round": "up", "unit": "credits"},
        included="2",
        discount_percent="50",
    )
    line = the_line(catalog(priced), [(0, 950), (30, 551)])
    assert line is not None
    assert (line.quantity, line.unit, line.exact_amount) == (1501, "images", 12)
    assert {tier.unit for tier in line.tiers} == {"credits"}
    assert shown(line) == [("included", 0, 2, 0), ("tier", 0, 10, 20), ("tier", 10, 4, 4), ("discount", 0, 0, -12)]


def test_of_volume_tiers_only_the_one_that_is_charged_is_shown() -> None:
    line = the_line(catalog(one(volume((100, "2", "0"), (None, "1", "0")))), [(0, 60), (5, 60), (6, 60)])
    assert line is not None
    assert shown(line) == [("tier", 100, 180, 180)]


def test_packages_begin_anew_with_each_window_where_tiers_do() -> None:
    whole = the_line(catalog(one(package("1", 10))), [(0, 9), (1, 10)])
    by_hour = the_line(catalog(one(package("1", 10), tier_scope="hour")), [(0, 9), (1, 11)])
    assert whole is not None
    assert by_hour is not None
    assert shown(whole) == [("tier", 0, 19, 2)]
    assert shown(by_hour) == [("tier", 0, 20, 3)]


def test_a_percentage_of_events_is_shown_as_what_it_came_to() -> None:
    charge = {"model": "percentage", "rate": "10", "fixed_fee": "1", "free_events": 1}
    made = catalog(card(sku("sales", "units.sales", charge)))
    period = TenantPeriod("acme", PERIOD)
    for hour, quantity in ((0, 50), (1, 100), (2, 200)):
        event = MeteredEvent(hour, 1, quantity * 10**9)
        gathered = Gathered(total=event.quantity, count=1, largest=event.quantity, latest=event, events=[event])
        period.add_scaled(key(), START + hour, None, {"units.sales": gathered})
    (line,) = build_invoice("acme", PERIOD, "USD", period.lines(made, closed=True), made).lines
    assert line.exact_amount == 32
    assert [(tier.quantity, tier.unit_price, tier.basis, tier.amount) for tier in line.tiers] == [
        (350, 10, "percent", 32)
    ]


def test_a_tier_says_how_it_is_charged() -> None:
    line = the_line(catalog(one(package("15", 10))), [(0, 21)])
    assert line is not None
    assert line.tiers == (
        InvoiceTier(
            "card",
            1,
            Decimal(0),
            None,
            Decimal(21),
            Decimal(15),
            Decimal(10),
            Decimal(45),
            None,
            "tier",
            "packages",
            "images",
        ),
    )


def test_hours_that_fell_to_nothing_bring_no_fee() -> None:
    fee = graduated((10, "1", "5"), (None, "1", "0"))
    line = the_line(catalog(one(fee)), [(0, 3), (0, -3), (1, 4)])
    assert line is not None
    assert line.exact_amount == 9
    assert shown(line) == [("tier", 0, 4, 9)]


def test_a_price_per_unit_and_one_in_tiers_are_shown_by_version() -> None:
    second = card(
        sku("images", "images", volume((5, "3", "0"), (None, "2", "0"))), version=2, effective_from=SECOND_DAY
    )
    line = the_line(catalog(one(per_unit("1")), second), [(0, 4), (30, 4)])
    assert line is not None
    # The position goes on: the second version prices 8 units less what it would have charged for the first 4.
    assert [(tier.card_version, tier.lower, tier.quantity, tier.amount) for tier in line.tiers] == [
        (1, 0, 4, 4),
        (2, 0, -4, -12),
        (2, 5, 8, 16),
    ]
