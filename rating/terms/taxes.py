"""Taxes on invoices: the rate and the amount of each line. Nothing of it is in rated records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from rating.money import currency_exponent, exact_sum, from_scaled, round_half_away
from rating.terms.fields import Tax


@dataclass(frozen=True, slots=True)
class LineTax:
    """A tax on a line, or on all lines that have it: its rate in percent, and its amount in the currency's decimals."""

    name: str
    rate_percent: Decimal
    amount: Decimal


def taxes_on(amount: Decimal, taxes: Iterable[Tax], currency: str) -> tuple[LineTax, ...]:
    """The taxes on the rounded amount of a line, each rounded once, half away from zero, to the currency."""
    exponent = currency_exponent(currency)
    found = []
    for tax in taxes:
        exact = Fraction(amount) * Fraction(tax.rate_percent) / 100 * 10**exponent
        rounded = from_scaled(round_half_away(exact.numerator, exact.denominator), exponent)
        found.append(LineTax(tax.name, tax.rate_percent, rounded))
    return tuple(found)


def summed(taxes: Iterable[LineTax]) -> tuple[LineTax, ...]:
    """The taxes of an invoice: the sum of its lines by name and rate, in the order of names and rates."""
    found: dict[tuple[str, Decimal], Decimal] = {}
    for tax in taxes:
        name = tax.name, tax.rate_percent
        found[name] = exact_sum((found[name], tax.amount)) if name in found else tax.amount
    return tuple(LineTax(*name, found[name]) for name in sorted(found))
