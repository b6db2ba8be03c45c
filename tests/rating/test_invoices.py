# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
from __future__ import annotations

import decimal
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating import rate
from rating.cards import RateCard
from rating.errors import CurrencyError, InvoiceError
from rating.invoices import Invoice, build_invoice, by_currency
from rating.money import exact_sum
from rating.period import TenantPeriod
from rating.windows import hour_start
from tests.rating.builders import PERIOD, START, card, catalog, graduated, key, per_unit, sku


def invoice(only: RateCard, usage: Sequence[tuple[int, str, str | int]]) -> Invoice:
    """The invoice for (hour, leaf, quantity)."""
    lines = rate(only, [(key(), START + hour, {leaf: Decimal(quantity)}) for hour, leaf, quantity in usage])
    return build_invoice("acme", PERIOD, only.currency, lines, [only])


@pytest.mark.parametrize(
    ("currency", "price", "amount"),
    [
        ("JPY", "0.5", "2"),  # 1.5
        ("JPY", "0.4999", "1"),  # 1.4997
        ("USD", "0.0117", "0.04"),  # 0.0351
        ("USD", "0.005", "0.02"),  # 0.015
        ("KWD", "0.0005", "0.002"),  # 0.0015
        ("KWD", "0.00049", "0.001"),  # 0.00147
    ],
)
def test_a_line_is_rounded_once_to_the_decimals_of_its_currency(currency: str, price: str, amount: str) -> None:
    # Three hours: rounding each of them would give another amount.
    made = invoice(
        card(sku("in", "input", per_unit(price)), currency=currency), [(h, "input_uncached", 1) for h in range(3)]
    )
    (line,) = made.lines
    assert str(line.amount) == str(made.total) == amount
    assert line.exact_amount == Decimal(price) * 3


def test_the_total_is_the_sum_of_the_rounded_lines() -> None:
    only = card(
        sku("a", "input_uncached", per_unit("33.333")),
        sku("b", "output", per_unit("33.333")),
        sku("c", "requests", per_unit("33.334")),
    )
    made = invoice(only, [(0, "input_uncached", 1), (0, "output_text", 1), (0, "requests", 1)])
    assert [str(line.amount) for line in made.lines] == ["33.33", "33.33", "33.33"]
    assert str(made.total) == "99.99"


def test_an_invoice_with_a_minimum_comes_to_the_minimum() -> None:
    only = card(
        sku("a", "input_uncached", per_unit("33.333")),
        sku("b", "output", per_unit("33.333")),
        minimum={"sku": "least", "amount": "100"},
    )
    assert str(invoice(only, [(0, "input_uncached", 1), (0, "output_text", 1)]).total) == "100.00"


def test_tiers_show_where_the_quantity_went_also_after_a_late_event_crossed_them() -> None:
    only = card(sku("out", "output", graduated((10, "2", "5"), (20, "1.5", "0"), (None, "1", "0"))))
    made = invoice(only, [(4, "output_text", 18), (9, "output_text", 7), (0, "output_reasoning", 3)])
    (line,) = made.lines
    assert [(t.lower, t.upper, t.quantity, t.unit_price, t.amount) for t in line.tiers] == [
        (0, 10, 10, 2, 25),
        (10, 20, 10, Decimal("1.5"), 15),
        (20, None, 8, 1, 8),
    ]
    assert (line.quantity, line.exact_amount) == (28, 48)


def test_tiers_are_grouped_by_the_version_that_priced_them() -> None:
    first = card(sku("out", "output", graduated((10, "2", "0"), (None, "1", "0"))))
    second = card(
        sku("out", "output", graduated((10, "4", "0"), (None, "3", "0"))),
        version=2,
        effective_from=hour_start(START + 2),
    )
    known = catalog(first, second)
    period = TenantPeriod("acme", PERIOD)
    for hour in range(4):
        period.add(key(), START + hour, None, {"output_text": Decimal(6)})
    made = build_invoice("acme", PERIOD, "USD", period.lines(known, closed=True), known)
    (line,) = made.lines
    assert [(t.card_version, t.lower, t.quantity, t.amount) for t in line.tiers] == [
        (1, 0, 10, 20),
        (1, 10, 2, 2),
        (2, 10, 12, 36),
    ]


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["output_text", "requests"]), st.integers(1, 30)), max_size=12
    ),
    st.sampled_from([5, 28, 60]),
)
@settings(deadline=None, max_examples=60)
def test_tiers_sum_to_the_line_and_lines_to_the_records(usage: list[tuple[int, str, int]], precision: int) -> None:
    only = card(
        sku("out", "output", graduated((7, "0.35", "1.5"), (20, "0.2", "0"), (None, "0.1", "2"), per=3)),
        sku("r", "requests", {"model": "flat", "amount": "9.995"}),
        flat_fees=[{"sku": "fee", "amount": "1.005"}],
    )
    records = rate(only, [(key(), START + hour, {leaf: Decimal(quantity)}) for hour, leaf, quantity in usage])
    with decimal.localcontext(decimal.Context(prec=precision, rounding=decimal.ROUND_DOWN)):
        made = build_invoice("acme", PERIOD, "USD", records, [only])
    for line in made.lines:
        own = [record for record in records if record.sku == line.sku]
        assert line.exact_amount == exact_sum(record.amount for record in own if record.amount is not None)
        assert line.quantity == exact_sum(record.quantity for record in own)
        if line.kind == "usage":
            assert exact_sum(tier.amount for tier in line.tiers) == line.exact_amount
            assert exact_sum(tier.quantity for tier in line.tiers) == line.quantity
    assert made.total == exact_sum(line.amount for line in made.lines)


def test_uncharged_usage_is_shown_at_zero_and_unrated_usage_apart() -> None:
    made = invoice(
        card(sku("in", "input", per_unit("1")), not_charged=["requests"]),
        [(0, "input_uncached", 1), (0, "requests", 2), (1, "images", 3), (2, "images", 4)],
    )
    assert [(line.sku, line.amount, line.quantity) for line in made.lines] == [
        ("in", 1, 1),
        ("uncharged/not_charged/requests", 0, 2),
    ]
    assert [(each.meter, each.quantity) for each in made.unrated] == [("images", 7)]
    assert made.total == 1


def test_an_adjustment_is_a_line_of_the_period_it_is_booked_in() -> None:
    known = catalog(card(sku("in", "input", per_unit("0.004"))))
    period = TenantPeriod("acme", PERIOD)
    period.add(key(), START, None, {"input_uncached": Decimal(1)})
    period.add(key(), START, "2026-02", {"input_uncached": Decimal(2)})
    records = period.lines(known, closed=True)
    with pytest.raises(InvoiceError):
        build_invoice("acme", PERIOD, "USD", records, known)
    made = build_invoice(
        "acme", "2026-02", "USD", [line for line in records if line.billing_period == "2026-02"], known
    )
    (line,) = made.lines
    assert (line.kind, line.service_period, line.quantity, str(line.amount)) == ("adjustment", PERIOD, 2, "0.01")


def test_records_that_fell_to_nothing_are_not_on_the_invoice() -> None:
    first = catalog(card(sku("old", "input", per_unit("1"))))
    second = first.with_card(card(sku("new", "input", per_unit("3")), version=2))
    period = TenantPeriod("acme", PERIOD)
    period.add(key(), START, None, {"input_uncached": Decimal(2)})
    records = {line.key: line for known in (first, second) for line in period.lines(known, closed=False)}
    made = build_invoice("acme", PERIOD, "USD", records.values(), second)
    assert [(line.sku, line.amount) for line in made.lines] == [("new", 6)]
    assert made.provisional


def test_two_currencies_on_one_invoice_raise_and_can_be_split() -> None:
    dollars, euros = (
        card(sku("a", "input", per_unit("1"))),
        card(sku("b", "output", per_unit("1")), id="e", currency="EUR"),
    )
    records = rate(dollars, [(key(), START, {"input_uncached": Decimal(1), "images": Decimal(1)})])
    records += rate(euros, [(key(), START, {"output_text": Decimal(2)})])
    with pytest.raises(CurrencyError):
        build_invoice("acme", PERIOD, "USD", records, [dollars, euros])
    split = by_currency(records)
    totals = {name: build_invoice("acme", PERIOD, name, own, [dollars, euros]).total for name, own in split.items()}
    assert totals == {"EUR": 2, "USD": 1}
    assert sum(len(own) for own in split.values()) == len(records)
    assert by_currency([record for record in records if record.currency is None]) == {}


def test_records_that_do_not_belong_raise() -> None:
    only = card(sku("in", "input", per_unit("1")))
    records = rate(only, [(key(), START, {"input_uncached": Decimal(1)})])
    with pytest.raises(InvoiceError):
        build_invoice("other", PERIOD, "USD", records, [only])
    with pytest.raises(InvoiceError):
        build_invoice("acme", PERIOD, "USD", [*records, replace(records[0], quantity=Decimal(3))], [only])
    with pytest.raises(InvoiceError):
        build_invoice("acme", PERIOD, "USD", records, [])
    with pytest.raises(CurrencyError):
        build_invoice("acme", PERIOD, "XXX", records, [only])


def test_an_empty_invoice_is_zero_in_its_currency() -> None:
    made = build_invoice("acme", PERIOD, "KWD", [], [])
    assert (str(made.total), made.lines, made.provisional) == ("0.000", (), False)
