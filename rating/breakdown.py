"""How an amount came about, for invoices: tier by tier, what was included, the discount and the cap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from rating.modifiers import Price
from rating.money import AMOUNT_SCALE, amount_of, difference, q12, round_half_away

SliceKind = Literal["included", "tier", "discount", "maximum"]
"""What a part of an amount is, in the order in which an amount comes about."""
_ORDER: tuple[SliceKind, ...] = ("included", "tier", "discount", "maximum")


@dataclass(frozen=True, slots=True)
class TierSlice:
    """A part of an amount. The slices of a quantity sum exactly to what was charged for it.

    `tier`: the part of the quantity (in converted units) that fell into the tier (lower, upper], upper None being open,
    and what it cost: `unit_price` per `per` units, or per started package of `per` units where `in_packages`. `amount`
    includes the tier's flat fee. Where a volume tier was left, its quantity and amount are negative.
    `included`: the quantity that cost nothing. `discount`: what `unit_price` percent took off. `maximum`: what a cap of
    `unit_price` took off. The quantity of these two is 0.
    """

    kind: SliceKind
    lower: Decimal
    upper: Decimal | None
    quantity: Decimal
    unit_price: Decimal
    per: Decimal
    in_packages: bool
    amount: Decimal


class _Name(NamedTuple):
    """What tells the parts of one price apart."""

    kind: SliceKind
    lower: Decimal
    upper: Decimal | None
    unit_price: Decimal
    per: Decimal
    in_packages: bool = False


class _Part(NamedTuple):
    """A quantity, rounded to 12 decimals only when it is shown, and an amount in 10^-12."""

    quantity: Fraction
    amount: int


_NOTHING = _Part(Fraction(0), 0)


def breakdown(price: Price, before: Decimal | None, after: Decimal) -> tuple[TierSlice, ...]:
    """How what was charged between two positions of a period came about.

    The amounts sum to price_of(after) - price_of(before); `before` None is "nothing was charged yet", so that a fee
    that is owed at zero is in the first slice. Positions may fall, and be below zero.
    """
    old = {} if before is None else dict(_parts(price, Fraction(before)))
    new = dict(_parts(price, Fraction(after)))
    names = sorted({*old, *new}, key=lambda name: (_ORDER.index(name.kind), name.lower))
    slices = []
    for name in names:
        was, now = old.get(name, _NOTHING), new.get(name, _NOTHING)
        if was != now:
            # Differences of rounded positions, so that the hours of a period sum to the period here too.
            quantity = difference(q12(now.quantity), q12(was.quantity))
            slices.append(TierSlice(**name._asdict(), quantity=quantity, amount=amount_of(now.amount - was.amount)))
    return tuple(slices)


def _parts(price: Price, position: Fraction) -> Iterator[tuple[_Name, _Part]]:
    """The parts of what a position costs; they sum to its price, rounded."""
    converted = price.converted(position)
    charged = price.charged(converted)
    if price.included:
        name = _Name("included", Decimal(0), price.included, Decimal(0), Decimal(1))
        yield name, _Part(converted - charged, 0)
    exact, shown = Fraction(0), 0
    for tier, quantity, amount in price.charge.spread(charged):
        exact += amount
        rounded = _rounded(exact)
        name = _Name("tier", tier.lower, tier.upper, tier.unit_price, tier.per, tier.package)
        yield name, _Part(quantity, rounded - shown)
        shown = rounded
    if price.discount_percent:
        exact *= price.share
        rounded = _rounded(exact)
        yield (
            _Name("discount", Decimal(0), None, price.discount_percent, Decimal(100)),
            _Part(Fraction(0), rounded - shown),
        )
        shown = rounded
    if price.maximum is not None:
        rounded = min(shown, _rounded(Fraction(price.maximum)))
        yield _Name("maximum", Decimal(0), None, price.maximum, Decimal(1)), _Part(Fraction(0), rounded - shown)


def _rounded(exact: Fraction) -> int:
    return round_half_away(exact.numerator * AMOUNT_SCALE, exact.denominator)
