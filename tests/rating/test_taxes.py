# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
"""Taxes on invoices: rate and amount of each line, rounded line by line, and what is to be paid."""

from __future__ import annotations

from decimal import Decimal

import pytest

from infra.cli.invoice_view import invoice_json
from rating.batch import rate
from rating.errors import InvoiceError
from rating.invoices import Invoice, build_invoice
from rating.money import exact_sum
from rating.period import TenantPeriod
from rating.terms.taxes import LineTax
from rating.windows import hour_start
from tests.rating.builders import PERIOD, START, card, catalog, key, per_unit, sku

VAT = {"name": "VAT", "rate_percent": "19"}


def invoice(tokens: int, currency: str = "USD", price: str = "0.35", **fields: object) -> Invoice:
    made = card(sku("in", "input", per_unit(price)), currency=currency, **fields)
    records = rate(made, [(key(), START, {"input_uncached": Decimal(tokens)})])
    return build_invoice("acme", PERIOD, currency, records, [made])


def test_each_line_says_its_taxes_and_the_total_stays_without_them() -> None:
    found = invoice(3, tax=[VAT, {"name": "levy", "rate_percent": "0.5"}], flat_fees=[{"sku": "fee", "amount": "20"}])
    assert {line.sku: line.taxes for line in found.lines} == {
        "in": (LineTax("VAT", Decimal(19), Decimal("0.20")), LineTax("levy", Decimal("0.5"), Decimal("0.01"))),
        "fee": (LineTax("VAT", Decimal(19), Decimal("3.80")), LineTax("levy", Decimal("0.5"), Decimal("0.10"))),
    }
    assert found.taxes == (
        LineTax("VAT", Decimal(19), Decimal("4.00")),
        LineTax("levy", Decimal("0.5"), Decimal("0.11")),
    )
    assert (found.total, found.total_with_taxes) == (Decimal("21.05"), Decimal("25.16"))


def test_without_taxes_what_is_to_be_paid_is_the_total() -> None:
    found = invoice(3)
    assert (found.taxes, found.total_with_taxes) == ((), found.total)


@pytest.mark.parametrize(
    ("currency", "price", "tokens", "tax"),
    [("USD", "0.5", 1, "0.10"), ("JPY", "50", 1, "10"), ("JPY", "5", 1, "1"), ("KWD", "0.005", 1, "0.001")],
)
def test_tax_is_rounded_half_away_from_zero_to_the_currency(currency: str, price: str, tokens: int, tax: str) -> None:
    (found,) = invoice(tokens, currency, price, tax=[VAT]).taxes
    assert (found.amount, str(found.amount)) == (Decimal(tax), tax)


def test_credits_take_their_tax_off_again() -> None:
    found = invoice(10, price="1", tax=[VAT], discounts=[{"sku": "off", "percent": "50"}])
    taxes = {line.sku: exact_sum(tax.amount for tax in line.taxes) for line in found.lines}
    assert taxes == {"in": Decimal("1.90"), "off": Decimal("-0.95")}
    assert found.total_with_taxes == Decimal("5.95")


def test_half_a_cent_of_tax_is_rounded_away_from_zero_on_credits_too() -> None:
    found = invoice(
        1, price="0.5", tax=[{"name": "VAT", "rate_percent": "1"}], discounts=[{"sku": "off", "percent": "100"}]
    )
    assert found.total_with_taxes == 0


def test_the_tax_is_that_of_the_card_in_force_at_the_last_usage_of_the_line() -> None:
    first = card(sku("in", "input", per_unit("1")), tax=[{"name": "VAT", "rate_percent": "16"}])
    second = card(sku("in", "input", per_unit("1")), tax=[VAT], version=2, effective_from=hour_start(START + 10))
    period = TenantPeriod("acme", PERIOD)
    for hour in (5, 15):
        period.add(key(), START + hour, None, {"input_uncached": Decimal(50)})
    known = catalog(first, second)
    found = build_invoice("acme", PERIOD, "USD", period.lines(known, closed=True), known)
    assert found.taxes == (LineTax("VAT", Decimal(19), Decimal("19.00")),)


def test_a_line_whose_card_is_not_known_has_no_tax_by_mistake() -> None:
    made = card(flat_fees=[{"sku": "fee", "amount": "20"}], tax=[VAT])
    records = TenantPeriod("acme", PERIOD).lines(catalog(made), closed=True)
    with pytest.raises(InvoiceError, match="card card version 1, which says the taxes on fee, is not among the cards"):
        build_invoice("acme", PERIOD, "USD", records, [])


def test_invoices_as_json_have_the_taxes_as_exact_text() -> None:
    document = invoice_json(invoice(3, tax=[VAT]))
    tax = {"name": "VAT", "rate_percent": "19", "amount": "0.20"}
    assert (document["taxes"], document["total"], document["total_with_taxes"]) == ([tax], "1.05", "1.25")
    lines = document["lines"]
    assert isinstance(lines, list)
    assert lines[0]["taxes"] == [tax]
