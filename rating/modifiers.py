"""What a SKU does around its price model, in the order of DESIGN D9: convert the quantity, round it, take off what is
included, price the rest, take off the discount, charge more above a commitment, cap the amount.

`Modifiers` are the fields of a card, `Price` is a price model with them: the function P from the quantity of a period
to its amount. P is exact, and rounded once, to 12 decimals, at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema, model_validator

from rating.card_fields import Integer, Text
from rating.models.base import Edge, PositiveFee, PriceModel, Pricer, Quantity
from rating.models.compiled import Shape, compile_shape
from rating.models.words import grouped
from rating.money import AMOUNT_DECIMALS, exact_decimal, plain, q12, round_half_away, to_scaled
from rating.percent import Percent
from rating.terms.overage import Committed, with_overage

Rounding = Literal["up", "down", "nearest"]
"""How a quantity is rounded: up is towards more, down towards less, nearest half away from zero."""
MOST_DECIMALS = 12
"""Decimals, or zeros before the point, that a quantity can be rounded to."""


def _decimals(value: int) -> int:
    if not -MOST_DECIMALS <= value <= MOST_DECIMALS:
        raise ValueError(f"{value} decimals: use {-MOST_DECIMALS} to {MOST_DECIMALS} (-2 rounds to whole hundreds)")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Conversion(_Part):
    """Turns the quantity of the meter into the one that is priced: tokens into thousands or credits, and whole ones.

    The quantity of the period is converted and rounded, not that of an event or an hour.
    """

    divide_by: Quantity | None = None
    """Units of the meter that make one priced unit: "1000"."""
    multiply_by: Quantity | None = None
    """Priced units that one unit of the meter makes: "1.2"."""
    round: Rounding | None = None
    """Rounds the converted quantity of the period: up, down, or to the nearest (a half away from zero)."""
    decimals: (
        Annotated[
            Integer,
            AfterValidator(_decimals),
            WithJsonSchema({"type": "integer", "minimum": -MOST_DECIMALS, "maximum": MOST_DECIMALS}),
        ]
        | None
    ) = None
    """Decimals to round to, 0 if left out; -2 rounds to whole hundreds."""
    unit: Text | None = None
    """Name of the priced unit, for invoices: credits."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.divide_by is None and self.multiply_by is None and self.round is None:
            raise ValueError("it changes nothing: give divide_by, multiply_by or round")
        if self.decimals is not None and self.round is None:
            raise ValueError("decimals without round change nothing: add round: up, down or nearest")
        return self

    @property
    def factor(self) -> Fraction:
        """Priced units that one unit of the meter makes, exactly."""
        return Fraction(self.multiply_by or 1) / Fraction(self.divide_by or 1)

    @property
    def step(self) -> Fraction:
        """What a rounded quantity is a multiple of."""
        return Fraction(10) ** -(self.decimals or 0)

    @property
    def text(self) -> str:
        """The conversion in words, for people."""
        words = [f"divided by {grouped(self.divide_by)}"] if self.divide_by else []
        words += [f"times {grouped(self.multiply_by)}"] if self.multiply_by else []
        if self.round is not None:
            to = "whole units" if not self.decimals else f"{self.decimals} decimals"
            if self.decimals is not None and self.decimals < 0:
                to = f"multiples of {10**-self.decimals:,}"
            words.append(f"rounded {'' if self.round == 'nearest' else self.round + ' '}to {to}")
        return f"quantity {', '.join(words)}" + (f" = {self.unit}" if self.unit else "")

    def of(self, quantity: Fraction) -> Fraction:
        """The quantity that is priced for a quantity of the meter, exactly."""
        converted = quantity * self.factor
        if self.round is None:
            return converted
        return round_quotient(converted / self.step, self.round) * self.step


def round_quotient(value: Fraction, rounding: Rounding) -> int:
    """A number rounded to a whole one."""
    if rounding == "up":
        return ceil(value)
    if rounding == "down":
        return floor(value)
    return round_half_away(value.numerator, value.denominator)


class Allowance(_Part):
    """What a period includes free of charge."""

    quantity: Quantity
    """Units that cost nothing, after the conversion: "100"."""
    rollover: Edge | None = None
    """At most so much of what a period left unused is included in the next one as well."""


def _allowance(value: object) -> object:
    """A number alone is the quantity."""
    return value if isinstance(value, Mapping | Allowance) else {"quantity": value}


class Modifiers(_Part):
    """The fields of a SKU that change what its price model makes of a quantity."""

    quantity: Conversion | None = None
    """How the quantity of the meter becomes the one that is priced."""
    included: Annotated[Allowance, BeforeValidator(_allowance, json_schema_input_type=Quantity | Allowance)] | None = (
        None
    )
    """What a period includes free of charge, in priced units: "100"."""
    discount_percent: Percent | None = None
    """Percent taken off the price: "10"."""
    maximum: PositiveFee | None = None
    """The most that the SKU's line costs in a period, after the discount: "100"."""

    def price_of_charge(self, charge: PriceModel) -> Price:
        """The price that a price model makes with these modifiers."""
        return Price(
            charge=charge,
            conversion=self.quantity,
            included=self.included.quantity if self.included else Decimal(0),
            discount_percent=self.discount_percent or Decimal(0),
            maximum=self.maximum,
        )

    def modifiers_text(self) -> list[str]:
        """The modifiers in words, for people, in the order in which they work."""
        words = []
        conversion = self.quantity
        if conversion is not None:
            words.append(conversion.text)
        if self.included is not None:
            unit = f" {conversion.unit}" if conversion and conversion.unit else ""
            words.append(f"the first {grouped(self.included.quantity)}{unit} included")
            if self.included.rollover:
                words[-1] += f", up to {grouped(self.included.rollover)} of the rest carried over"
        if self.discount_percent:
            words.append(f"{plain(self.discount_percent)} % off")
        if self.maximum is not None:
            words.append(f"at most {plain(self.maximum)} a month")
        return words


@dataclass(frozen=True, slots=True)
class Price:
    """A price model with the modifiers of a SKU: what the quantity of a period costs.

    Quantities are those of the meter; `included` is in converted units. What is included costs nothing, also when
    corrections bring the quantity below zero: there is nothing to give back then.
    """

    charge: PriceModel
    conversion: Conversion | None = None
    included: Decimal | Fraction = Decimal(0)
    discount_percent: Decimal = Decimal(0)
    maximum: Decimal | None = None
    commitment: Committed | None = None

    @property
    def committed(self) -> Fraction | None:
        """The exact amount that is committed to, of which what is above it is priced differently; None if nothing is."""
        if self.commitment is None:
            return None
        if self.commitment.quantity is None:
            return Fraction(self.commitment.amount or 0)
        return self.charge.price_exact(self.charged(Fraction(self.commitment.quantity))) * self.share

    @property
    def share(self) -> Fraction:
        """The part of the price that is left after the discount."""
        return 1 - Fraction(self.discount_percent) / 100

    def converted(self, quantity: Fraction) -> Fraction:
        """The quantity in the units that are priced, rounded as the card says; what is included is part of it."""
        return quantity if self.conversion is None else self.conversion.of(quantity)

    def charged(self, converted: Fraction) -> Fraction:
        """What is left of a converted quantity above what is included."""
        return max(Fraction(0), converted - Fraction(self.included)) if self.included else converted

    def reduced(self, price: Fraction) -> Fraction:
        """What the price model's exact price comes to after the discount, above a commitment, and under the cap."""
        left = price * self.share
        if self.commitment is not None and self.committed is not None:
            left = self.commitment.charged(left, self.committed)
        return left if self.maximum is None else min(left, Fraction(self.maximum))

    def price_exact(self, quantity: Decimal | int | Fraction) -> Fraction:
        """The exact, unrounded price of a quantity of the meter."""
        exact = quantity if isinstance(quantity, Fraction) else Fraction(exact_decimal(quantity))
        return self.reduced(self.charge.price_exact(self.charged(self.converted(exact))))

    def price_of(self, quantity: Decimal | int) -> Decimal:
        """The price of a quantity, rounded once to 12 decimals, half away from zero."""
        return q12(self.price_exact(quantity))

    def pricer(self, decimals: int) -> Pricer:
        """`price_of` for quantities given as integers of 10^-decimals: what the stream calls for every hour."""
        return _compiled(self, decimals)


@lru_cache(maxsize=65_536)
def _compiled(price: Price, decimals: int) -> Pricer:
    conversion = price.conversion
    if conversion is None and not price.included and not price.discount_percent:
        pricer = price.charge.pricer(decimals)
    else:
        unit = Fraction(1, 10**decimals) * (conversion.factor if conversion else 1)
        rounds = conversion is not None and conversion.round is not None
        pricer = compile_shape(
            Shape(
                price.charge.segments(),
                price.charge.whole_quantity,
                price.charge.charges_nothing_used(),
                unit=conversion.step if conversion and rounds else unit,
                included=Fraction(price.included),
                share=price.share,
            )
        )
        if conversion is not None and conversion.round is not None:
            pricer = _rounding(pricer, unit / conversion.step, conversion.round)
    if price.committed is not None:
        uncapped, step = replace(price, maximum=None), 10**decimals
        pricer = with_overage(pricer, price.committed, lambda scaled: uncapped.price_exact(Fraction(scaled, step)))
    return pricer if price.maximum is None else _capped(pricer, price.maximum)


def _rounding(pricer: Pricer, ratio: Fraction, rounding: Rounding) -> Pricer:
    """A pricer of rounded quantities, for integers of which one is `ratio` times what the quantity is rounded to."""
    numerator, denominator = ratio.numerator, ratio.denominator

    def up(scaled_quantity: int, /) -> int:
        return pricer(-(-scaled_quantity * numerator // denominator))

    def down(scaled_quantity: int, /) -> int:
        return pricer(scaled_quantity * numerator // denominator)

    def nearest(scaled_quantity: int, /) -> int:
        return pricer(round_half_away(scaled_quantity * numerator, denominator))

    return {"up": up, "down": down, "nearest": nearest}[rounding]


def _capped(pricer: Pricer, maximum: Decimal) -> Pricer:
    """Rounding keeps the order of amounts, so the smaller of the rounded ones is the smaller one, rounded."""
    most = to_scaled(q12(maximum), AMOUNT_DECIMALS)

    def price(scaled_quantity: int, /) -> int:
        return min(pricer(scaled_quantity), most)

    return price
