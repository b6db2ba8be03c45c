"""What every price model has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import floor, lcm
from typing import Annotated, Protocol

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from rating.errors import MoneyError, Path
from rating.money import AMOUNT_SCALE, difference, exact_decimal, plain, q12, round_half_away

LARGEST_FEE = Decimal(10**15)
"""The largest fixed amount of a month."""
LARGEST_UNIT_PRICE = Decimal(10**12)
"""The largest price of one unit: 10^13 units a month at this price still fit an amount, 26 digits before the point."""


def _exact(value: object) -> Decimal:
    """Refuses floats before pydantic could turn them into decimals."""
    number = exact_decimal(value)
    if abs(number.adjusted()) > 30 or len(number.as_tuple().digits) > 38:
        raise MoneyError(f"{value} is out of range: use at most 38 digits")
    return number


def _not_negative(value: Decimal) -> Decimal:
    if value < 0:
        raise ValueError(f"{plain(value)} is negative: a charge is 0 or more, reductions are credits")
    return value


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError(f"{plain(value)} is not more than 0")
    return value


def _edge(value: object) -> Decimal:
    return _not_negative(_exact(value))


def _within_limits(value: Decimal) -> Decimal:
    if value > LARGEST_FEE:
        raise ValueError(f"{plain(value)} is too large: amounts have 26 digits before the point, use at most 10^15")
    return value


_AsText = PlainSerializer(plain, return_type=str)
_Schema = WithJsonSchema(
    {"type": ["string", "integer"], "pattern": r"^[0-9]{1,31}(\.[0-9]{1,38})?$", "minimum": 0, "examples": ["0.15"]}
)
_PositiveSchema = WithJsonSchema(
    {
        "type": ["string", "integer"],
        "pattern": r"^(?=.*[1-9])[0-9]{1,31}(\.[0-9]{1,38})?$",
        "minimum": 1,
        "examples": [1000000],
    }
)
Money = Annotated[Decimal, BeforeValidator(_exact), AfterValidator(_not_negative), _AsText, _Schema]
"""A price in a card: a string or an integer, never a float, not negative; written back as a plain string."""
Fee = Annotated[
    Decimal, BeforeValidator(_exact), AfterValidator(_not_negative), AfterValidator(_within_limits), _AsText, _Schema
]
"""A fixed amount in a card: as Money, at most LARGEST_FEE."""
Quantity = Annotated[Decimal, BeforeValidator(_exact), AfterValidator(_positive), _AsText, _PositiveSchema]
"""A quantity in a card (a block size, a tier's upper edge): a string or an integer, never a float, above 0."""
Edge = Annotated[Decimal, BeforeValidator(_edge), _AsText, _Schema]
"""The lower edge of a tier: as Quantity, or 0."""


def too_dear(price: Decimal, per: Decimal, place: Path) -> Iterator[tuple[Path, str]]:
    """Says that a price of `price` per `per` units would make amounts that no record can hold."""
    if Fraction(price) / Fraction(per) > LARGEST_UNIT_PRICE:
        yield (
            place,
            f"{plain(price)} per {plain(per)} is more than {plain(LARGEST_UNIT_PRICE)} a unit: the amounts of a month "
            "may not fit their 26 digits, correct price or per",
        )


@dataclass(frozen=True, slots=True)
class TierSlice:
    """The part of a quantity that fell into one tier (lower, upper], and what it cost.

    `upper` is None for the open tier. `unit_price` is charged per `per` units. `amount` includes the tier's flat fee
    when the slice entered the tier; the slices of a quantity sum exactly to what was charged for it.
    """

    lower: Decimal
    upper: Decimal | None
    quantity: Decimal
    unit_price: Decimal
    per: Decimal
    amount: Decimal


class Pricer(Protocol):
    """The price of a quantity as a function of integers: 10^-decimals of the unit in, 10^-12 of the currency out.

    The result is the exact price rounded once, half away from zero.
    """

    def __call__(self, scaled_quantity: int, /) -> int:
        """The rounded price of the quantity."""
        ...


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a price: for quantities in (lower, upper] it is the price at `lower` + fee + slope x the rest.

    `unit_price` and `per` say where the slope comes from, for invoices.
    """

    lower: Decimal
    upper: Decimal | None
    unit_price: Decimal
    per: Decimal
    fee: Decimal

    @property
    def slope(self) -> Fraction:
        """The exact price of one unit."""
        return Fraction(self.unit_price) / Fraction(self.per)


class PriceModel(BaseModel, ABC):
    """A price model as a card states it: validated, immutable, and able to price any quantity exactly.

    Models say their shape with `segments()`; the arithmetic is here, once. A quantity of 0 costs nothing unless
    `charges_nothing_used` says that the first tier's fee is owed all the same. A quantity below zero, which only
    corrections can cause, is credited at the first tier's unit price.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, use_attribute_docstrings=True)

    @abstractmethod
    def segments(self) -> Sequence[Segment]:
        """The line segments of the price, contiguous from 0, the last one open."""

    @abstractmethod
    def charges_nothing_used(self) -> bool:
        """Whether the first tier's fee is owed for a quantity of 0."""

    def problems(self) -> Iterator[tuple[Path, str]]:
        """What is wrong with the values of this model, beyond their types, with the place inside the charge."""
        return iter(())

    def price_exact(self, quantity: Decimal | int | Fraction) -> Fraction:
        """The exact, unrounded price of a quantity."""
        amount = quantity if isinstance(quantity, Fraction) else Fraction(exact_decimal(quantity))
        price = Fraction(0)
        for index, tier in enumerate(self.segments()):
            lower = Fraction(tier.lower)
            if index and amount <= lower:
                break
            if amount > 0 or self.charges_nothing_used():
                price += Fraction(tier.fee)
            reached = amount if tier.upper is None else min(amount, Fraction(tier.upper))
            price += (reached - lower) * tier.slope
        return price

    def price_of(self, quantity: Decimal | int) -> Decimal:
        """The price of a quantity, rounded once to 12 decimals, half away from zero."""
        return q12(self.price_exact(quantity))

    def pricer(self, decimals: int) -> Pricer:
        """`price_of` for quantities given as integers of 10^-decimals: what the stream calls for every hour."""
        return _compiled(self, decimals)

    def breakdown(self, before: Decimal, after: Decimal) -> tuple[TierSlice, ...]:
        """How the quantity between the positions `before` and `after` (before <= after) of a period spread over tiers.

        The amounts of the slices sum to price_of(after) - price_of(before), where a position of 0 counts as nothing
        charged yet, so that a fee owed at zero is in the first slice.
        """
        slices = []
        charged = self.price_of(before) if before > 0 else Decimal(0)
        for tier in self.segments():
            low = max(before, tier.lower)
            high = after if tier.upper is None else min(after, tier.upper)
            if high <= low:
                continue
            price = self.price_of(high)
            slices.append(
                TierSlice(
                    lower=tier.lower,
                    upper=tier.upper,
                    quantity=difference(high, low),
                    unit_price=tier.unit_price,
                    per=tier.per,
                    amount=difference(price, charged),
                )
            )
            charged = price
        return tuple(slices)


@lru_cache(maxsize=65_536)
def _compiled(model: PriceModel, decimals: int) -> Pricer:
    return compile_segments(model.segments(), model.charges_nothing_used(), decimals)


def compile_segments(segments: Sequence[Segment], charges_nothing_used: bool, decimals: int) -> Pricer:
    """The pricer of a price made of line segments.

    In each segment the price is a + b x quantity. Both are brought to one denominator, so that a price costs one search
    for the segment, one multiplication and one division of integers, and is rounded exactly once.
    """
    unit = Fraction(1, 10**decimals)
    edges: list[int] = []
    offsets: list[int] = []
    slopes: list[int] = []
    denominators: list[int] = []
    reached = Fraction(0)
    for tier in segments:
        reached += Fraction(tier.fee)
        offset = (reached - tier.slope * Fraction(tier.lower)) * AMOUNT_SCALE
        slope = tier.slope * unit * AMOUNT_SCALE
        denominator = lcm(offset.denominator, slope.denominator)
        offsets.append(int(offset * denominator))
        slopes.append(int(slope * denominator))
        denominators.append(denominator)
        if tier.upper is not None:
            edges.append(floor(Fraction(tier.upper) / unit))
            reached += tier.slope * (Fraction(tier.upper) - Fraction(tier.lower))
    at_zero = round_half_away(offsets[0], denominators[0]) if charges_nothing_used else 0
    base_below_zero = offsets[0] if charges_nothing_used else 0

    def price(scaled_quantity: int, /) -> int:
        if scaled_quantity <= 0:
            if not scaled_quantity:
                return at_zero
            return round_half_away(base_below_zero + slopes[0] * scaled_quantity, denominators[0])
        index = bisect_left(edges, scaled_quantity)
        denominator = denominators[index]
        # Prices are not negative, so half away from zero is half up here.
        return (2 * (offsets[index] + slopes[index] * scaled_quantity) + denominator) // (2 * denominator)

    def linear(scaled_quantity: int, /) -> int:
        return round_half_away(slope_only * scaled_quantity, denominator_only)

    if len(segments) == 1 and not offsets[0]:
        slope_only, denominator_only = slopes[0], denominators[0]
        return linear
    return price
