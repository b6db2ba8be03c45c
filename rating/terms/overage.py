"""Prices above a commitment: what is beyond the committed amount costs its price times a factor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import floor

from rating.models.compiled import Pricer
from rating.money import AMOUNT_SCALE, round_half_away


@dataclass(frozen=True, slots=True)
class Committed:
    """What is committed to of a line, as its card says it: an amount, or a quantity in converted units."""

    amount: Decimal | None
    quantity: Decimal | None
    overage_factor: Decimal

    def charged(self, price: Fraction, committed: Fraction) -> Fraction:
        """What a price comes to: as it is up to the amount `committed`, its excess times the factor."""
        return price if price <= committed else committed + (price - committed) * Fraction(self.overage_factor)


def with_overage(pricer: Pricer, committed: Fraction, exact: Callable[[int], Fraction]) -> Pricer:
    """The pricer of a price with overage. `pricer` prices without it, `exact` gives the whole exact price."""
    # A rounded amount below this is of a price below the commitment, however it was rounded.
    surely_below = floor(committed * AMOUNT_SCALE)

    def price(scaled_quantity: int, /) -> int:
        amount = pricer(scaled_quantity)
        if amount < surely_below:
            return amount
        scaled = exact(scaled_quantity) * AMOUNT_SCALE
        return round_half_away(scaled.numerator, scaled.denominator)

    return price
