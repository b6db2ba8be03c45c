# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
"""What a card charges or credits for all usage of a period, in its order; and what late usage changes of it."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.batch import rate
from rating.cards import RateCard
from rating.invoices import Invoice, build_invoice
from rating.money import exact_sum
from rating.overrides import overrides_for
from rating.period import TenantPeriod
from rating.rated import RatedLine
from tests.rating.builders import PERIOD, START, Document, card, catalog, graduated, key, latest, per_unit, sku
from tests.rating.test_account import period_records, used

IN = sku("in", "input", per_unit("1"))
OUT = sku("out", "output", per_unit("1"))


def of_month(made: RateCard, tokens_in: int | str = 0, tokens_out: int | str = 0) -> dict[tuple[str, str], Decimal]:
    """The amounts of the records of the whole month, by kind and SKU."""
    period = TenantPeriod("acme", PERIOD)
    usage = {"input_uncached": Decimal(tokens_in), "output_text": Decimal(tokens_out)}
    period.add(key(), START, None, {name: tokens for name, tokens in usage.items() if tokens})
    lines = period.lines(catalog(made), closed=True)
    return {(each.kind, each.sku): each.amount for each in lines if each.window_kind == "period" and each.amount}


def invoice_of(made: RateCard, **tokens: str) -> Invoice:
    records = rate(made, [(key(), START, {name: Decimal(value) for name, value in tokens.items()})])
    return build_invoice("acme", PERIOD, made.currency, records, [made])


def test_a_percent_discount_takes_a_part_off_the_lines_it_names() -> None:
    discounts = [{"sku": "loyal", "percent": "10", "skus": ["in*"]}]
    assert of_month(card(IN, OUT, discounts=discounts), 100, 30) == {("credit", "loyal"): -10}


def test_a_discount_may_name_several_lines() -> None:
    other = sku("calls", "requests", per_unit("1"))
    made = card(IN, OUT, other, discounts=[{"sku": "loyal", "percent": "10", "skus": ["in", "o?t"]}])
    assert of_month(made, 100, 30) == {("credit", "loyal"): -13}


@pytest.mark.parametrize("discount", [{"percent": "50"}, {"amount": "3"}])
def test_usage_that_was_given_back_has_no_discount(discount: Document) -> None:
    assert of_month(card(IN, discounts=[{"sku": "off", **discount}]), -10) == {}


def test_a_discount_is_rounded_half_away_from_zero_and_not_a_hair_before() -> None:
    for percent, off in (("50", "-0.01"), ("49.99999999", None)):
        made = card(sku("in", "input", per_unit("0.01")), discounts=[{"sku": "off", "percent": percent}])
        assert of_month(made, 1) == ({("credit", "off"): Decimal(off)} if off else {})


def test_an_amount_discount_takes_off_no_more_than_the_lines_cost() -> None:
    discounts = [{"sku": "welcome", "amount": "50"}]
    assert of_month(card(IN, OUT, discounts=discounts), 100, 30) == {("credit", "welcome"): -50}
    assert of_month(card(IN, OUT, discounts=discounts), 20, 10) == {("credit", "welcome"): -30}
    assert of_month(card(IN, OUT, discounts=discounts)) == {}


def test_a_discount_reduces_what_those_before_it_left() -> None:
    first, second = {"sku": "first", "percent": "50", "skus": ["in"]}, {"sku": "second", "amount": "60"}
    third = {"sku": "third", "percent": "50", "skus": ["in"]}
    # 100 and 100: 50 off; 60 of the 150 left, which leaves 30 of the first line, of which half goes.
    assert of_month(card(IN, OUT, discounts=[first, second, third]), 100, 100) == {
        ("credit", "first"): -50,
        ("credit", "second"): -60,
        ("credit", "third"): -15,
    }


@given(
    st.lists(
        st.one_of(
            st.builds(lambda percent: {"percent": str(percent)}, st.decimals(0, 100, places=1)),
            st.builds(lambda amount: {"amount": str(amount)}, st.decimals(0, 3, places=2)),
        ),
        min_size=1,
        max_size=4,
    ),
    st.decimals(0, 3, places=3),
    st.decimals(0, 3, places=3),
)
@settings(deadline=None, max_examples=60)
def test_discounts_never_take_off_more_than_the_rounded_lines_cost(
    discounts: list[Document], price_in: Decimal, price_out: Decimal
) -> None:
    named = [{"sku": f"d{number}", **discount} for number, discount in enumerate(discounts)]
    made = card(
        sku("in", "input", per_unit(str(price_in))), sku("out", "output", per_unit(str(price_out))), discounts=named
    )
    invoice = invoice_of(made, input_uncached="1", output_text="1")
    assert invoice.total >= 0
    credits = [line for line in invoice.lines if line.kind == "credit"]
    assert all(line.exact_amount == line.amount <= 0 for line in credits)


def test_a_commitment_of_the_card_charges_what_is_missing_to_it() -> None:
    made = card(IN, OUT, commitment={"sku": "commit", "amount": "100", "overage_factor": "1.5"})
    assert of_month(made, 30, 20) == {("commitment", "commit"): 50}
    assert of_month(made, 60, 40) == {}
    assert of_month(made, 100, 40) == {("commitment", "commit/overage"): 20}


def test_a_commitment_without_true_up_only_charges_the_overage() -> None:
    made = card(IN, commitment={"sku": "commit", "amount": "100", "overage_factor": "2", "true_up": False})
    assert of_month(made, 30) == {}
    assert of_month(made, 130) == {("commitment", "commit/overage"): 30}


def test_usage_above_a_commitment_may_be_cheaper() -> None:
    made = card(IN, commitment={"sku": "commit", "amount": "100", "overage_factor": "0.5"})
    assert of_month(made, 140) == {("commitment", "commit/overage"): -20}


def test_the_cap_gives_back_what_usage_costs_above_it() -> None:
    made = card(IN, OUT, maximum={"sku": "cap", "amount": "100"}, flat_fees=[{"sku": "fee", "amount": "20"}])
    assert of_month(made, 80, 50) == {("credit", "cap"): -30, ("flat_fee", "fee"): 20}
    assert of_month(made, 80, 20) == {("flat_fee", "fee"): 20}


def test_the_terms_of_a_card_apply_in_their_order() -> None:
    made = card(
        {**IN, "minimum": "60"},
        OUT,
        discounts=[{"sku": "off", "percent": "50"}],
        commitment={"sku": "commit", "amount": "50", "overage_factor": "2"},
        maximum={"sku": "cap", "amount": "120"},
        minimum={"sku": "least", "amount": "100"},
    )
    # 40 + 20 to the minimum of the line, 40: 100 less half of 80 is 60; 10 above the commitment count twice: 70.
    assert of_month(made, 40, 40) == {
        ("minimum", "in/minimum"): 20,
        ("credit", "off"): -40,
        ("commitment", "commit/overage"): 10,
        ("minimum", "least"): 30,
    }
    # 200 less 100 is 100; 50 above the commitment: 150; capped at 120.
    assert of_month(made, 100, 100) == {
        ("credit", "off"): -100,
        ("commitment", "commit/overage"): 50,
        ("credit", "cap"): -30,
    }
    # Nothing used: 60 of the line, nothing to take off, 10 above the commitment, 30 to the minimum.
    assert of_month(made) == {
        ("minimum", "in/minimum"): 60,
        ("commitment", "commit/overage"): 10,
        ("minimum", "least"): 30,
    }


@pytest.mark.parametrize("currency", ["USD", "JPY", "KWD"])
@given(
    price_in=st.decimals("0.0001", "60", places=4),
    price_out=st.decimals("0.0001", "60", places=4),
    percent=st.decimals(0, 100, places=1),
)
@settings(deadline=None, max_examples=25)
def test_the_invoice_stays_within_minimum_and_cap_to_the_last_digit(
    currency: str, price_in: Decimal, price_out: Decimal, percent: Decimal
) -> None:
    made = card(
        sku("in", "input", per_unit(str(price_in))),
        sku("out", "output", per_unit(str(price_out))),
        currency=currency,
        discounts=[{"sku": "off", "percent": str(percent), "skus": ["in"]}],
        maximum={"sku": "cap", "amount": "70"},
        minimum={"sku": "least", "amount": "40"},
    )
    invoice = invoice_of(made, input_uncached="1", output_text="1")
    usage = exact_sum(each.amount for each in invoice.lines if each.kind == "usage" or each.sku == "off")
    assert invoice.total == min(max(usage, Decimal(40)), Decimal(70))


def test_amounts_of_the_terms_may_be_a_tenants_own() -> None:
    made = card(
        IN,
        commitment={"sku": "commit", "amount": "100", "overage_factor": "2"},
        maximum={"sku": "cap", "amount": "150"},
    )
    own = made.with_overrides(overrides_for(made, {"commit": "50", "cap": "60"}))
    assert of_month(own, 70) == {("commitment", "commit/overage"): 20, ("credit", "cap"): -30}
    assert of_month(made, 70) == {("commitment", "commit"): 30}


def test_a_tenants_own_cap_below_the_minimum_is_followed_by_the_minimum() -> None:
    made = card(IN, maximum={"sku": "cap", "amount": "150"}, minimum={"sku": "least", "amount": "100"})
    own = made.with_overrides(overrides_for(made, {"cap": "60"}))
    assert of_month(own, 150) == {("credit", "cap"): -90, ("minimum", "least"): 40}


# --- usage after closing ----------------------------------------------------------------------------------------------


def late(made: RateCard, on_time: int, *booked: tuple[str, int]) -> dict[tuple[str, str, str], tuple[Any, Any]]:
    """The records of the whole month with some tokens on time and others late."""
    period = TenantPeriod("acme", PERIOD)
    if on_time:
        used(period, on_time)
    for billing_period, tokens in booked:
        used(period, tokens, hour=1, booked=billing_period)
    return {
        name: record for name, record in period_records(period.lines(catalog(made), closed=True)).items() if any(record)
    }


def test_late_usage_gives_back_what_the_minimum_of_a_line_charged_for_it() -> None:
    assert late(card({**IN, "minimum": "100"}), 60, ("2026-02", 30), ("2026-03", 30)) == {
        ("minimum", "in/minimum", PERIOD): (1, 40),
        ("adjustment", "in", "2026-02"): (30, 30),
        ("adjustment", "in/minimum", "2026-02"): (0, -30),
        ("adjustment", "in", "2026-03"): (30, 30),
        ("adjustment", "in/minimum", "2026-03"): (0, -10),
    }


def test_the_order_in_which_late_usage_is_booked_does_not_matter() -> None:
    made = card({**IN, "minimum": "100"})
    booked = (("2026-02", 30), ("2026-03", 30), ("2026-05", 3))
    assert late(made, 60, *booked) == late(made, 60, *reversed(booked))


def test_late_usage_that_was_taken_back_does_not_hide_that_of_other_lines() -> None:
    period = TenantPeriod("acme", PERIOD)
    used(period, 30, booked="2026-02")
    used(period, -30, booked="2026-02")
    period.add(key(), START, "2026-02", {"output_text": Decimal(10)})
    assert period_records(period.lines(catalog(card(IN, OUT)), closed=True)) == {
        ("adjustment", "out", "2026-02"): (10, 10)
    }


def test_late_usage_gives_back_what_a_commitment_charged_and_pays_its_overage() -> None:
    made = card({**IN, "commitment": {"amount": "100", "overage_factor": "2"}})
    assert late(made, 60, ("2026-02", 60)) == {
        ("commitment", "in/commitment", PERIOD): (1, 40),
        ("adjustment", "in", "2026-02"): (60, 80),
        ("adjustment", "in/commitment", "2026-02"): (0, -40),
    }


def test_late_usage_gives_back_what_a_commitment_by_the_window_charged_for_its_window() -> None:
    made = card({**IN, "tier_scope": "hour", "commitment": {"amount": "10", "overage_factor": "2", "window": "hour"}})
    found = late(made, 4, ("2026-02", 7))
    assert found["adjustment", "in", "2026-02"] == (7, 7)
    assert found["adjustment", "in/commitment", "2026-02"] == (0, -7)
    assert found["commitment", "in/commitment", PERIOD] == (31 * 24, 10 * 31 * 24 - 4)


def test_late_usage_of_a_line_that_had_none_gives_back_its_whole_minimum() -> None:
    assert late(card({**IN, "minimum": "20"}), 0, ("2026-02", 30)) == {
        ("minimum", "in/minimum", PERIOD): (1, 20),
        ("adjustment", "in", "2026-02"): (30, 30),
        ("adjustment", "in/minimum", "2026-02"): (0, -20),
    }


def test_late_usage_under_a_cap_that_was_reached_costs_nothing() -> None:
    made = card(IN, maximum={"sku": "cap", "amount": "100"})
    assert late(made, 90, ("2026-02", 30)) == {
        ("adjustment", "in", "2026-02"): (30, 30),
        ("adjustment", "cap", "2026-02"): (0, -20),
    }


def test_late_usage_is_discounted_and_counts_towards_the_commitment_of_the_card() -> None:
    made = card(
        IN,
        discounts=[{"sku": "off", "percent": "10"}],
        commitment={"sku": "commit", "amount": "90", "overage_factor": "2"},
    )
    assert late(made, 50, ("2026-02", 100)) == {
        ("credit", "off", PERIOD): (1, -5),
        ("commitment", "commit", PERIOD): (1, 45),
        ("adjustment", "in", "2026-02"): (100, 100),
        ("adjustment", "off", "2026-02"): (0, -10),
        ("adjustment", "commit", "2026-02"): (0, -45),
        ("adjustment", "commit/overage", "2026-02"): (0, 45),
    }


def rich_card() -> RateCard:
    """Every term at once; prices are whole, so that nothing is rounded on the way."""
    return card(
        {
            **sku("in", "input", graduated((7, "3", "1"), (20, "2", "0"), (None, "1", "2"))),
            "minimum": "30",
            "commitment": {"amount": "25", "overage_factor": "2"},
            "included": "2",
        },
        {
            **sku("out", "output", per_unit("2")),
            "tier_scope": "hour",
            "commitment": {"quantity": "1", "overage_factor": "3", "window": "hour"},
        },
        {**sku("{model}/calls", "requests", per_unit("5")), "maximum": "40", "minimum": "10"},
        discounts=[{"sku": "off", "percent": "10", "skus": ["in", "*/calls"]}, {"sku": "gift", "amount": "7"}],
        commitment={"sku": "commit", "amount": "1600", "overage_factor": "1.5"},
        maximum={"sku": "cap", "amount": "1700"},
        minimum={"sku": "least", "amount": "1650"},
    )


USAGE = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(["input_uncached", "output_text", "requests"]),
        st.integers(1, 12),
        st.sampled_from(["m", "n"]),
        st.sampled_from([None, "2026-02", "2026-04"]),
    ),
    max_size=12,
)


@given(USAGE, st.data())
@settings(deadline=None, max_examples=80)
def test_terms_are_the_same_in_any_order_and_cut_and_late_usage_costs_what_it_would_have_cost_on_time(
    usage: list[tuple[int, str, int, str, str | None]], data: st.DataObject
) -> None:
    known = catalog(rich_card())
    on_time, whole, cut = (TenantPeriod("acme", PERIOD) for _ in range(3))
    lines: list[RatedLine] = []
    for hour, meter, quantity, model, booked in data.draw(st.permutations(usage)):
        for period, when in ((on_time, None), (whole, booked), (cut, booked)):
            period.add(key(model), START + hour, when, {meter: Decimal(quantity)})
        if data.draw(st.booleans()):
            lines.extend(cut.lines(known, closed=True))
    everything = whole.lines(known, closed=True)
    lines.extend(cut.lines(known, closed=True))
    held = {name: line for name, line in latest(lines).items() if line.quantity or line.amount}
    assert held == {name: line for name, line in latest(everything).items() if line.quantity or line.amount}
    assert total(everything) == total(on_time.lines(known, closed=True))


def total(lines: list[RatedLine]) -> Decimal:
    return exact_sum(line.amount for line in lines if line.amount is not None)


@pytest.mark.parametrize("precision", [4, 28, 60])
def test_the_decimal_context_does_not_matter(precision: int) -> None:
    period = TenantPeriod("acme", PERIOD)
    for hour in range(5):
        period.add(key(), START + hour, None, {"input_uncached": Decimal(7), "output_text": Decimal(3)})
        period.add(key(), START + hour, "2026-02", {"requests": Decimal(hour), "input_uncached": Decimal(1)})
    usual = period.lines(catalog(rich_card()), closed=True)
    again = TenantPeriod("acme", PERIOD)
    with localcontext() as context:
        context.prec = precision
        for hour in range(5):
            again.add(key(), START + hour, None, {"input_uncached": Decimal(7), "output_text": Decimal(3)})
            again.add(key(), START + hour, "2026-02", {"requests": Decimal(hour), "input_uncached": Decimal(1)})
        assert latest(again.lines(catalog(rich_card()), closed=True)) == latest(usual)
