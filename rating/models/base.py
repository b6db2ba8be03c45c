"""What every price model has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from rating.errors import MoneyError, Path
from rating.models.compiled import Pricer, Segment, Shape, compile_shape
from rating.models.words import PriceRow, price_line, price_rows
from rating.money import exact_decimal, plain, q12

__all__ = [
    "LARGEST_FEE",
    "LARGEST_UNIT_PRICE",
    "Edge",
    "Fee",
    "Money",
    "PositiveFee",
    "PriceModel",
    "Pricer",
    "Quantity",
    "Segment",
    "too_dear",
]

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
PositiveFee = Annotated[
    Decimal,
    BeforeValidator(_exact),
    AfterValidator(_positive),
    AfterValidator(_within_limits),
    _AsText,
    _PositiveSchema,
]
"""A fixed amount in a card that is not 0: as Fee."""
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


class PriceModel(BaseModel, ABC):
    """A price model as a card states it: validated, immutable, and able to price any quantity exactly.

    Models say their shape with `segments()`; the arithmetic is here, once. A quantity of 0 costs nothing unless
    `charges_nothing_used` says that the first tier's fee is owed all the same. A quantity below zero, which only
    corrections can cause, is credited as the first tier charges: in proportion, or in whole packages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, use_attribute_docstrings=True)
    whole_quantity: ClassVar[bool] = False
    """Whether the tier that the whole quantity falls into prices all of it, instead of each tier its own part."""

    @abstractmethod
    def segments(self) -> Sequence[Segment]:
        """The tiers of the price, contiguous from 0, the last one open."""

    @abstractmethod
    def charges_nothing_used(self) -> bool:
        """Whether the first tier's fee is owed for a quantity of 0."""

    def problems(self) -> Iterator[tuple[Path, str]]:
        """What is wrong with the values of this model, beyond their types, with the place inside the charge."""
        return iter(())

    def spread(self, quantity: Fraction) -> list[tuple[Segment, Fraction, Fraction]]:
        """The tiers that a quantity reaches, each with its part of the quantity and its part of the exact price.

        The parts sum to the quantity and to its price. Of a model with `whole_quantity` it is one tier; of the others the
        first tier is always there, also for a quantity of 0 or less.
        """
        found: list[tuple[Segment, Fraction, Fraction]] = []
        for index, tier in enumerate(self.segments()):
            if index and quantity <= Fraction(tier.lower):
                break
            upper = quantity if tier.upper is None else min(quantity, Fraction(tier.upper))
            part = quantity if self.whole_quantity else upper - Fraction(tier.lower)
            owed = quantity > 0 or self.charges_nothing_used()
            found.append((tier, part, tier.cost(part) + (Fraction(tier.fee) if owed else 0)))
        return found[-1:] if self.whole_quantity else found

    def price_exact(self, quantity: Decimal | int | Fraction) -> Fraction:
        """The exact, unrounded price of a quantity."""
        exact = quantity if isinstance(quantity, Fraction) else Fraction(exact_decimal(quantity))
        return sum((price for _, _, price in self.spread(exact)), Fraction(0))

    def price_of(self, quantity: Decimal | int) -> Decimal:
        """The price of a quantity, rounded once to 12 decimals, half away from zero."""
        return q12(self.price_exact(quantity))

    def steepest(self) -> Fraction:
        """The largest price of one unit."""
        return max((segment.slope for segment in self.segments()), default=Fraction(0))

    def text(self, unit: str) -> str:
        """The price in one line, for people: `0.15 per 1,000,000 tokens`. `unit` is what the quantity counts."""
        return price_line(self.segments(), self.whole_quantity, unit)

    def rows(self, unit: str) -> list[PriceRow]:
        """The price as rows of a table, a tier or a fee each."""
        return price_rows(self.segments(), self.whole_quantity, unit)

    def pricer(self, decimals: int) -> Pricer:
        """`price_of` for quantities given as integers of 10^-decimals: what the stream calls for every hour."""
        return _compiled(self, decimals)


@lru_cache(maxsize=65_536)
def _compiled(model: PriceModel, decimals: int) -> Pricer:
    unit = Fraction(1, 10**decimals)
    return compile_shape(Shape(model.segments(), model.whole_quantity, model.charges_nothing_used(), unit))
