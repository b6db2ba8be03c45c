"""How an amount came about, for invoices: tier by tier, what was included, the discount and the cap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple, get_args

from rating.models import Basis
from rating.modifiers import Price
from rating.money import AMOUNT_SCALE, amount_of, difference, q12, round_half_away

SliceKind = Literal["included", "tier", "discount", "overage", "maximum"]
"""What a part of an amount is, in the order in which an amount comes about."""
_ORDER: tuple[SliceKind, ...] = get_args(SliceKind)


@dataclass(frozen=True, slots=True)
class TierSlice:
    """A part of an amount. The slices of a quantity sum exactly to what was charged for it.

    `tier`: the part of the quantity (in converted units) that fell into the tier (lower, upper], upper None being open,
    and what it cost: `unit_price` per `per` units in the way that `basis` says. `amount` includes the tier's flat fee.
    Where a volume tier was left, its quantity and amount are negative.
    `included`: the quantity that cost nothing. The others have no quantity: `discount` is what `unit_price` percent took
    off, `overage` what usage above a commitment costs more, being charged `unit_price` times, `maximum` what a cap of
    `unit_price` took off.
    """

    kind: SliceKind
    lower: Decimal
    upper: Decimal | None
    quantity: Decimal
    unit_price: Decimal
    per: Decimal
    basis: Basis
    amount: Decimal


class _Name(NamedTuple):
    """What tells the parts of one price apart."""

    kind: SliceKind
    lower: Decimal
    upper: Decimal | None
    unit_price: Decimal
    per: Decimal
    basis: Basis = "units"


class _Part(NamedTuple):
    """A quantity, rounded to 12 decimals only when it is shown, and an amount in 10^-12."""

    quantity: Fraction
    amount: int


_ZERO = Decimal(0)
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
        name = _Name("included", _ZERO, q12(Fraction(price.included)), _ZERO, Decimal(1))
        yield name, _Part(converted - charged, 0)
    exact, shown = Fraction(0), 0
    for tier, quantity, amount in price.charge.spread(charged):
        exact += amount
        rounded = _rounded(exact)
        name = _Name("tier", tier.lower, tier.upper, tier.unit_price, tier.per, tier.basis)
        yield name, _Part(quantity, rounded - shown)
        shown = rounded
    for name, left in _reductions(price, exact):
        rounded = _rounded(left)
        yield name, _Part(Fraction(0), rounded - shown)
        shown = rounded


def _reductions(price: Price, exact: Fraction) -> Iterator[tuple[_Name, Fraction]]:
    """What changes the price of the tiers, each with what the price is after it."""
    if price.discount_percent:
        exact *= price.share
        yield _Name("discount", _ZERO, None, price.discount_percent, Decimal(100), "percent"), exact
    commitment, committed = price.commitment, price.committed
    if commitment is not None and committed is not None:
        exact = commitment.charged(exact, committed)
        yield _Name("overage", _ZERO, None, commitment.overage_factor, Decimal(1), "multiple"), exact
    if price.maximum is not None:
        exact = min(exact, Fraction(price.maximum))
        yield _Name("maximum", _ZERO, None, price.maximum, Decimal(1)), exact


def _rounded(exact: Fraction) -> int:
    return round_half_away(exact.numerator * AMOUNT_SCALE, exact.denominator)
