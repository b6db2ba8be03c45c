"""The compiled form of a price: integers in, integers out, rounded once.

A price is made of pieces, one per tier. In each piece it is a + b x quantity, or, where started packages are charged
whole, a + b x packages. Everything is brought to one denominator when it is compiled, so that a price costs one search
for the piece, one multiplication and one division.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor, lcm
from typing import Literal, NamedTuple, Protocol

from rating.money import AMOUNT_SCALE, round_half_away

Basis = Literal["units", "packages", "percent", "multiple"]
"""What a price is for: `per` units, in proportion; each started package of `per` units, whole; and, for a quantity that is
money: percent of it (`per` is 100), or a multiple of it (`per` is 1)."""


class Pricer(Protocol):
    """The price of a quantity as a function of integers: 10^-decimals of the unit in, 10^-12 of the currency out.

    The result is the exact price rounded once, half away from zero.
    """

    def __call__(self, scaled_quantity: int, /) -> int:
        """The rounded price of the quantity."""
        ...


@dataclass(frozen=True, slots=True)
class Segment:
    """The price of the quantities in one tier (lower, upper]; `upper` None is open.

    Entering the tier costs `fee`. Beyond that `per` units cost `unit_price`, in the way that `basis` says. Units are
    counted from `lower`, or, in models where one tier prices the whole quantity, from 0.
    """

    lower: Decimal
    upper: Decimal | None
    unit_price: Decimal
    per: Decimal
    fee: Decimal
    basis: Basis = "units"

    @property
    def slope(self) -> Fraction:
        """The exact price of one unit; of one unit of a full package, where packages are charged whole."""
        return Fraction(self.unit_price) / Fraction(self.per)

    def cost(self, units: Fraction) -> Fraction:
        """What so many units of this tier cost without its fee. Of packages below zero only whole ones are given back."""
        if self.basis == "packages":
            return Fraction(self.unit_price) * ceil(units / Fraction(self.per))
        return units * self.slope


class Shape(NamedTuple):
    """What is compiled: tiers, and how the quantity comes to them.

    `whole`: the tier of the whole quantity prices all of it. `fee_at_zero`: the first tier's fee is owed for nothing.
    `unit`: what 1 of the integers given to the pricer means in units of the tiers. `included`: units that cost nothing,
    before the first tier begins. `share`: the part of the price that is charged, 1 for all of it.
    """

    segments: Sequence[Segment]
    whole: bool
    fee_at_zero: bool
    unit: Fraction
    included: Fraction = Fraction(0)
    share: Fraction = Fraction(1)


class _Piece(NamedTuple):
    """(offset + slope x n) / denominator, n being the integer that is priced, or its packages ceil((n x p - q) / r)."""

    offset: int
    slope: int
    denominator: int
    packages: tuple[int, int, int] | None


def compile_shape(shape: Shape) -> Pricer:
    """The pricer of a price made of tiers."""
    pieces, edges = _pieces(shape)
    if any(piece.packages for piece in pieces):
        return _stepped(shape, pieces, edges)
    first = pieces[0]
    if len(pieces) == 1 and not first.offset and not shape.included:
        return _proportional(first.slope, first.denominator)
    return _linear(shape, pieces, edges)


def _pieces(shape: Shape) -> tuple[list[_Piece], list[int]]:
    """A piece per tier, and the largest integer in each tier but the last."""
    pieces: list[_Piece] = []
    edges: list[int] = []
    reached = Fraction(0)
    for tier in shape.segments:
        base = Fraction(tier.fee) if shape.whole else reached + Fraction(tier.fee)
        origin = shape.included + (Fraction(0) if shape.whole else Fraction(tier.lower))
        pieces.append(_piece(tier, base, origin, shape))
        if tier.upper is not None:
            edges.append(floor((Fraction(tier.upper) + shape.included) / shape.unit))
            reached = base + tier.cost(Fraction(tier.upper) - Fraction(tier.lower))
    return pieces, edges


def _piece(tier: Segment, base: Fraction, origin: Fraction, shape: Shape) -> _Piece:
    scale = shape.share * AMOUNT_SCALE
    if tier.basis != "packages":
        offset = (base - tier.slope * origin) * scale
        slope = tier.slope * shape.unit * scale
        denominator = lcm(offset.denominator, slope.denominator)
        return _Piece(int(offset * denominator), int(slope * denominator), denominator, None)
    offset, slope = base * scale, Fraction(tier.unit_price) * scale
    denominator = lcm(offset.denominator, slope.denominator)
    step, start = shape.unit / Fraction(tier.per), origin / Fraction(tier.per)
    common = lcm(step.denominator, start.denominator)
    packages = int(step * common), int(start * common), common
    return _Piece(int(offset * denominator), int(slope * denominator), denominator, packages)


def _up_to_nothing(shape: Shape, first: _Piece) -> Pricer:
    """The price where no tier is reached: of nothing, of what is included, and below zero, where the first tier credits."""
    owed = shape.fee_at_zero
    fee = Fraction(shape.segments[0].fee) * shape.share * AMOUNT_SCALE
    at_zero = round_half_away(fee.numerator, fee.denominator) if owed else 0
    base = first.offset if owed else 0

    def price(scaled_quantity: int, /) -> int:
        if shape.included:  # what is included costs nothing, so there is nothing to give back
            return at_zero
        count = scaled_quantity if first.packages is None else _packages(scaled_quantity, first.packages)
        return round_half_away(base + first.slope * count, first.denominator)

    return price


def _packages(scaled_quantity: int, packages: tuple[int, int, int]) -> int:
    """Started packages: ceil((n x p - q) / r)."""
    step, start, common = packages
    return -((start - scaled_quantity * step) // common)


def _proportional(slope: int, denominator: int) -> Pricer:
    """One price for all units."""

    def price(scaled_quantity: int, /) -> int:
        return round_half_away(slope * scaled_quantity, denominator)

    return price


def _linear(shape: Shape, pieces: Sequence[_Piece], edges: Sequence[int]) -> Pricer:
    """Tiers in proportion."""
    offsets = [piece.offset for piece in pieces]
    slopes = [piece.slope for piece in pieces]
    denominators = [piece.denominator for piece in pieces]
    up_to_nothing = _up_to_nothing(shape, pieces[0])
    free = floor(shape.included / shape.unit)

    def price(scaled_quantity: int, /) -> int:
        if scaled_quantity <= free:
            return up_to_nothing(scaled_quantity)
        index = bisect_left(edges, scaled_quantity)
        denominator = denominators[index]
        # Prices are not negative, so half away from zero is half up here.
        return (2 * (offsets[index] + slopes[index] * scaled_quantity) + denominator) // (2 * denominator)

    return price


def _stepped(shape: Shape, pieces: Sequence[_Piece], edges: Sequence[int]) -> Pricer:
    """Tiers of which some charge started packages whole."""
    up_to_nothing = _up_to_nothing(shape, pieces[0])
    free = floor(shape.included / shape.unit)

    def price(scaled_quantity: int, /) -> int:
        if scaled_quantity <= free:
            return up_to_nothing(scaled_quantity)
        offset, slope, denominator, packages = pieces[bisect_left(edges, scaled_quantity)]
        count = scaled_quantity if packages is None else _packages(scaled_quantity, packages)
        return (2 * (offset + slope * count) + denominator) // (2 * denominator)

    return price
