# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
"""What is owed for a whole period: fees, minimum, fees without usage; and usage that arrives after closing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.catalog import EVERYONE, Assignment, Catalog
from rating.money import exact_sum
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.windows import hour_start, period_end, period_start
from tests.rating.builders import PERIOD, START, Document, card, catalog, graduated, key, latest, per_unit, sku

TOKENS = sku("in", "input", per_unit("1"))


def period_records(lines: list[RatedLine]) -> dict[tuple[str, str, str], tuple[Decimal, Decimal | None]]:
    """Quantity and amount of the records of whole periods, by kind, SKU and billing period."""
    return {
        (line.kind, line.sku, line.billing_period): (line.quantity, line.amount)
        for line in lines
        if line.window_kind == "period"
    }


def used(period: TenantPeriod, tokens: int | str, hour: int = 0, booked: str | None = None, **fields: Any) -> None:
    period.add(key(**fields), START + hour, booked, {"input_uncached": Decimal(tokens)})


def test_a_flat_fee_is_owed_for_a_period_without_usage_and_stays_the_same() -> None:
    known = catalog(card(TOKENS, flat_fees=[{"sku": "fee", "amount": "20"}, {"sku": "support", "amount": "0.5"}]))
    period = TenantPeriod("acme", PERIOD)
    lines = period.lines(known, closed=False)
    assert period_records(lines) == {
        ("flat_fee", "fee", PERIOD): (1, 20),
        ("flat_fee", "support", PERIOD): (1, Decimal("0.5")),
    }
    fee = lines[0]
    assert (fee.window_start, fee.window_end) == (period_start(PERIOD), period_end(PERIOD))
    assert (fee.currency, fee.card_id, fee.provisional, fee.service_period) == ("USD", "card", True, PERIOD)
    used(period, 5)
    assert period_records(period.lines(known, closed=False)) == {}
    assert len(period_records(period.lines(known, closed=True))) == 2


@pytest.mark.parametrize("tenant", ["acme", "_pool"])
def test_nothing_is_owed_without_a_card_or_by_capacity(tenant: str) -> None:
    known = Catalog() if tenant == "acme" else catalog(card(flat_fees=[{"sku": "fee", "amount": "20"}]))
    assert TenantPeriod(tenant, PERIOD).lines(known, closed=True) == []


def test_the_terms_are_those_of_the_last_card_version_of_the_period() -> None:
    def priced(amount: str, version: int, hour: int, name: str = "card") -> Any:
        fees = [{"sku": f"fee-{name}", "amount": amount}]
        return card(TOKENS, flat_fees=fees, version=version, effective_from=hour_start(START + hour), id=name)

    known = catalog(priced("20", 1, -100), priced("30", 2, 743), priced("40", 3, 744))
    assert period_records(TenantPeriod("acme", PERIOD).lines(known, closed=False)) == {
        ("flat_fee", "fee-card", PERIOD): (1, 30)
    }
    # An assignment that ended in the period still owes its fee, and a later card takes its place.
    ended = Catalog().with_card(priced("20", 1, -100)).with_assignment(Assignment("acme", "card", START, START + 10))
    period = TenantPeriod("acme", PERIOD)
    assert period_records(period.lines(ended, closed=False)) == {("flat_fee", "fee-card", PERIOD): (1, 20)}
    moved = ended.with_card(priced("50", 1, -100, "b")).with_assignment(Assignment("acme", "b", START + 20))
    assert period_records(period.lines(moved, closed=False)) == {
        ("flat_fee", "fee-b", PERIOD): (1, 50),
        ("flat_fee", "fee-card", PERIOD): (0, 0),
    }


def test_the_minimum_charges_what_usage_leaves_open_and_fees_do_not_count() -> None:
    minimum = {"sku": "least", "amount": "100"}
    known = catalog(card(TOKENS, minimum=minimum, flat_fees=[{"sku": "fee", "amount": "20"}]))
    period = TenantPeriod("acme", PERIOD)
    assert period_records(period.lines(known, closed=False))["minimum", "least", PERIOD] == (1, 100)
    used(period, 30)
    used(period, 7, status="error")
    assert period_records(period.lines(known, closed=False)) == {("minimum", "least", PERIOD): (1, 70)}
    used(period, 70, hour=5)
    assert period_records(period.lines(known, closed=False)) == {("minimum", "least", PERIOD): (0, 0)}
    used(period, 70, hour=6)
    assert period_records(period.lines(known, closed=False)) == {}


def test_the_minimum_is_met_by_the_rounded_lines_so_that_the_invoice_comes_to_it() -> None:
    skus = [sku("a", "input_uncached", per_unit("33.333")), sku("b", "output", per_unit("33.333"))]
    period = TenantPeriod("acme", PERIOD)
    period.add(key(), START, None, {"input_uncached": Decimal(1), "output_text": Decimal(1)})
    lines = period.lines(catalog(card(*skus, minimum={"sku": "least", "amount": "100"})), closed=True)
    assert period_records(lines)["minimum", "least", PERIOD] == (1, Decimal("33.34"))


def test_usage_in_another_currency_does_not_count_towards_the_minimum() -> None:
    dollars = card(TOKENS)
    euros = card(TOKENS, id="euros", currency="EUR", minimum={"sku": "least", "amount": "100"})
    known = Catalog().with_card(dollars).with_card(euros).with_assignment(Assignment(EVERYONE, "card", 0))
    known = known.with_assignment(Assignment("acme", "euros", START + 5))
    period = TenantPeriod("acme", PERIOD)
    used(period, 10, hour=4)
    used(period, 20, hour=5)
    lines = period.lines(known, closed=True)
    assert period_records(lines)["minimum", "least", PERIOD] == (1, 80)
    assert [(line.currency, line.amount) for line in lines if line.kind == "usage"] == [("USD", 10), ("EUR", 20)]


FEE_AT_ZERO = graduated((10, "1", "7"), (None, "1", "0"))


@pytest.mark.parametrize(
    ("charge", "name", "match", "owed"),
    [
        (FEE_AT_ZERO, "out", {}, "out"),
        (FEE_AT_ZERO, "{model}/out", {"model": "m"}, "m/out"),
        (FEE_AT_ZERO, "{model}/out", {"model": "m*"}, None),
        (FEE_AT_ZERO | {"flat_on_zero": False}, "out", {}, None),
        ({"model": "flat", "amount": "7", "flat_on_zero": True}, "out", {}, "out"),
        ({"model": "flat", "amount": "7"}, "out", {}, None),
    ],
)
def test_a_fee_at_zero_is_owed_without_usage_if_its_line_is_known(
    charge: Document, name: str, match: dict[str, str], owed: str | None
) -> None:
    known = catalog(card(sku(name, "output", charge, **match)))
    period = TenantPeriod("acme", PERIOD)
    assert period_records(period.lines(known, closed=False)) == ({("flat_fee", owed, PERIOD): (0, 7)} if owed else {})
    period.add(key(), START + 3, None, {"output_text": Decimal(2)})
    lines = period.lines(known, closed=False)
    # The first usage takes the fee over: the hours sum to the price of the period.
    assert period_records(lines) == ({("flat_fee", owed, PERIOD): (0, 0)} if owed else {})
    assert [line.amount for line in lines if line.kind == "usage"] == [7 if charge["model"] == "flat" else 9]


TIERS = card(sku("in", "input", graduated((10, "2", "0"), (None, "1", "0"))))


def test_usage_after_closing_is_an_adjustment_that_names_both_periods() -> None:
    known = catalog(TIERS)
    period = TenantPeriod("acme", PERIOD)
    used(period, 8, hour=5)
    period.lines(known, closed=True)
    used(period, 4, hour=0, booked="2026-03")
    (late,) = period.lines(known, closed=True)
    # All in all 12 tokens cost 2 x 10 + 2 = 22, of which 16 were charged.
    assert (late.kind, late.sku, late.meter, late.quantity, late.amount) == ("adjustment", "in", "input", 4, 6)
    assert (late.service_period, late.billing_period, late.window_kind) == (PERIOD, "2026-03", "period")
    assert (late.window_start, late.window_end) == (period_start("2026-03"), period_end("2026-03"))
    assert (late.provisional, late.currency, late.card_id, late.card_version) == (False, "USD", "card", 1)


def test_adjustments_of_several_billing_periods_build_on_each_other() -> None:
    known = catalog(TIERS)
    period = TenantPeriod("acme", PERIOD)
    used(period, 8, hour=5)
    used(period, 1, booked="2026-04")
    used(period, 1, booked="2026-02")
    lines = period.lines(known, closed=True)
    assert period_records(lines) == {
        ("adjustment", "in", "2026-02"): (1, 2),
        ("adjustment", "in", "2026-04"): (1, 2),
    }
    # More for the earlier billing period takes the cheap places of the later one's usage.
    used(period, 1, hour=9, booked="2026-02")
    assert period_records(period.lines(known, closed=True)) == {
        ("adjustment", "in", "2026-02"): (2, 4),
        ("adjustment", "in", "2026-04"): (1, 1),
    }


def test_late_usage_is_priced_by_the_version_of_its_own_hour() -> None:
    dearer = card(sku("in", "input", per_unit("3")), version=2, effective_from=hour_start(START + 10))
    known = catalog(card(sku("in", "input", per_unit("2"))), dearer)
    period = TenantPeriod("acme", PERIOD)
    used(period, 5, hour=9, booked="2026-02")
    used(period, 5, hour=10, booked="2026-02")
    (late,) = period.lines(known, closed=True)
    assert (late.quantity, late.amount, late.card_version) == (10, 25, 2)


def test_late_usage_without_a_price_stays_unrated_and_uncharged_usage_stays_free() -> None:
    period = TenantPeriod("acme", PERIOD)
    period.add(key(), START, "2026-02", {"images": Decimal(2)})
    used(period, 3, status="error", booked="2026-02")
    known = catalog(TIERS)
    lines = period.lines(known, closed=True)
    assert period_records(lines) == {
        ("unrated", "unrated/images", "2026-02"): (2, None),
        ("adjustment", "uncharged/status_error/input_uncached", "2026-02"): (3, 0),
    }


def test_late_usage_that_is_taken_back_is_an_adjustment_of_nothing() -> None:
    known = catalog(TIERS)
    period = TenantPeriod("acme", PERIOD)
    used(period, 4, booked="2026-02")
    period.lines(known, closed=True)
    used(period, -4, booked="2026-02")
    assert period_records(period.lines(known, closed=True)) == {("adjustment", "in", "2026-02"): (0, 0)}
    assert period.lines(known, closed=True) == []


def test_a_fee_owed_without_usage_is_not_charged_again_by_late_usage() -> None:
    known = catalog(card(sku("out", "output", FEE_AT_ZERO)))
    period = TenantPeriod("acme", PERIOD)
    assert period_records(period.lines(known, closed=True)) == {("flat_fee", "out", PERIOD): (0, 7)}
    period.add(key(), START, "2026-02", {"output_text": Decimal(2)})
    assert period_records(period.lines(known, closed=True)) == {("adjustment", "out", "2026-02"): (2, 2)}


def test_late_usage_gives_back_what_a_minimum_charged_for_it() -> None:
    known = catalog(card(TOKENS, minimum={"sku": "least", "amount": "100"}))
    period = TenantPeriod("acme", PERIOD)
    used(period, 60)
    assert period_records(period.lines(known, closed=True)) == {("minimum", "least", PERIOD): (1, 40)}
    used(period, 30, booked="2026-02")
    used(period, 30, booked="2026-03")
    assert period_records(period.lines(known, closed=True)) == {
        ("adjustment", "in", "2026-02"): (30, 30),
        ("adjustment", "least", "2026-02"): (0, -30),
        ("adjustment", "in", "2026-03"): (30, 30),
        ("adjustment", "least", "2026-03"): (0, -10),
    }


def test_late_usage_gives_nothing_back_of_a_minimum_that_was_met() -> None:
    known = catalog(card(TOKENS, minimum={"sku": "least", "amount": "50"}))
    period = TenantPeriod("acme", PERIOD)
    used(period, 60)
    used(period, 30, booked="2026-02")
    assert period_records(period.lines(known, closed=True)) == {
        ("minimum", "least", PERIOD): (0, 0),
        ("adjustment", "in", "2026-02"): (30, 30),
    }


def test_lines_may_be_late_in_different_billing_periods() -> None:
    known = catalog(card(TOKENS, sku("r", "requests", per_unit("5"))))
    period = TenantPeriod("acme", PERIOD)
    used(period, 3, booked="2026-02")
    period.add(key(), START, "2026-03", {"requests": Decimal(2)})
    assert period_records(period.lines(known, closed=True)) == {
        ("adjustment", "in", "2026-02"): (3, 3),
        ("adjustment", "r", "2026-03"): (2, 10),
    }


def test_one_id_in_two_currencies_gives_two_adjustments_with_keys_of_their_own() -> None:
    euros = card(TOKENS, id="euros", currency="EUR")
    known = Catalog().with_card(card(TOKENS)).with_card(euros).with_assignment(Assignment(EVERYONE, "card", 0))
    known = known.with_assignment(Assignment("acme", "euros", START + 5))
    period = TenantPeriod("acme", PERIOD)
    used(period, 10, hour=4, booked="2026-02")
    used(period, 20, hour=5, booked="2026-02")
    lines = period.lines(known, closed=True)
    assert {(line.sku, line.currency, line.amount) for line in lines} == {
        ("in", "EUR", 20),
        ("in/input/USD", "USD", 10),
    }
    assert len(latest(lines)) == 2


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(1, 9), st.sampled_from([None, "2026-02", "2026-04"])), max_size=10
    ),
    st.data(),
)
@settings(deadline=None)
def test_what_is_late_costs_in_all_what_it_would_have_cost_on_time(
    usage: list[tuple[int, int, str | None]], data: st.DataObject
) -> None:
    tiers = [(7, "0.35", "1.5"), (20, "0.2", "0"), (None, "0.1", "2")]
    first = card(sku("in", "input", graduated(*tiers, per=3)), minimum={"sku": "least", "amount": "4"})
    second = card(
        sku("in", "input", graduated((5, "1", "0"), (None, "0.3", "0"), per=7)),
        minimum={"sku": "least", "amount": "4"},
        version=2,
        effective_from=hour_start(START + 3),
    )
    known = catalog(first, second)
    on_time, late, cut = TenantPeriod("acme", PERIOD), TenantPeriod("acme", PERIOD), TenantPeriod("acme", PERIOD)
    lines: list[RatedLine] = []
    for hour, tokens, booked in data.draw(st.permutations(usage)):
        used(on_time, tokens, hour)
        used(late, tokens, hour, booked)
        used(cut, tokens, hour, booked)
        lines.extend(cut.lines(known, closed=True))
    everything = late.lines(known, closed=True)
    lines.extend(cut.lines(known, closed=True))
    held = {name: line for name, line in latest(lines).items() if line.quantity or line.amount}
    assert held == {name: line for name, line in latest(everything).items() if line.quantity or line.amount}
    charged = [line.amount for line in everything if line.amount is not None and line.sku == "in"]
    at_once = [
        line.amount for line in on_time.lines(known, closed=True) if line.amount is not None and line.sku == "in"
    ]
    assert exact_sum(charged) == exact_sum(at_once)
