"""The terms of a period as a card says them: what a SKU or a whole card charges or credits beyond its prices."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StrictBool, model_validator

from rating.card_fields import PlainSku, Text
from rating.match import Document
from rating.models.base import Fee, PriceModel, Quantity
from rating.modifiers import Modifiers, Price
from rating.percent import Percent
from rating.terms.overage import Committed

LineId = Annotated[
    str,
    Field(min_length=1, max_length=512),
]
"""A line id, or a pattern of ids with `*` and `?`."""


class FlatFee(Document):
    """A fixed amount for each billing period."""

    sku: PlainSku
    """Id of the invoice line."""
    amount: Fee
    """What a month costs, as text: "20.00"."""
    in_advance: StrictBool = False
    """Whether the fee of a month stands on the invoice of the month before; the first month's stands on its own invoice."""
    prorate: StrictBool = False
    """Whether a month in which the card holds for some days only costs these days' share of the amount."""
    description: str | None = None
    """For people."""


class Minimum(Document):
    """The least that the usage of a billing period costs: the difference is charged as a line of its own."""

    sku: PlainSku
    """Id of the invoice line."""
    amount: Fee
    """The least usage charge of a month, as text: "250.00"."""
    description: str | None = None
    """For people."""


class Maximum(Document):
    """The most that the usage of a billing period costs: what is above is given back as a line of its own."""

    sku: PlainSku
    """Id of the invoice line."""
    amount: Fee
    """The greatest usage charge of a month, as text: "5000.00"."""
    description: str | None = None
    """For people."""


class CardCommitment(Document):
    """An amount of usage that the tenant commits to in each billing period."""

    sku: PlainSku
    """Id of the invoice line. What usage above the commitment costs more is a line `<sku>/overage`."""
    amount: Fee
    """What is committed a month, as text: "1000.00"."""
    overage_factor: Quantity = Decimal(1)
    """Usage above the commitment costs its price times this."""
    true_up: StrictBool = True
    """Whether what is missing to the commitment is charged."""
    description: str | None = None
    """For people."""


class LineCommitment(Document):
    """What the tenant commits to use of one line, in each billing period or each window."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["amount"]}, {"required": ["quantity"]}]}, extra="forbid", frozen=True
    )

    amount: Fee | None = None
    """The commitment as an amount: "100.00"."""
    quantity: Quantity | None = None
    """The commitment as a quantity, in converted units: what it costs is the amount committed to."""
    overage_factor: Quantity = Decimal(1)
    """Usage above the commitment costs its price times this."""
    true_up: StrictBool = True
    """Whether what is missing to the commitment is charged, as a line `<sku>/commitment`."""
    window: Literal["period", "hour"] = "period"
    """Whether each billing period is compared with the commitment, or each window (usually an hour) by itself."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.amount is None) == (self.quantity is None):
            raise ValueError('give amount or quantity, one of them: {amount: "100.00"} or {quantity: "50"}')
        return self


class Discount(Document):
    """A reduction of the usage charges of a billing period, as a negative line of its own."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["percent"]}, {"required": ["amount"]}]}, extra="forbid", frozen=True
    )

    sku: PlainSku
    """Id of the invoice line."""
    percent: Percent | None = None
    """How much less the lines cost, in percent: "10"."""
    amount: Fee | None = None
    """How much less the lines cost in all, as text: "50.00"; never more than they cost."""
    skus: Annotated[tuple[LineId, ...], Field(min_length=1)] = ("*",)
    """The lines that it reduces, by id or pattern (`*`, `?`); left out: all usage."""
    description: str | None = None
    """For people."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.percent is None) == (self.amount is None):
            raise ValueError('give percent or amount, one of them: {percent: "10"} or {amount: "50.00"}')
        return self


class Tax(Document):
    """A tax that invoices state on each line."""

    name: Text
    """What invoices call it: VAT."""
    rate_percent: Percent
    """Its rate in percent, as text: "19"."""


class LineTerms(Modifiers):
    """The terms of a period that a SKU may have; each line of it has its own."""

    minimum: Fee | None = None
    """The least that a line costs in a month, after cap and discount; the rest is a line `<sku>/minimum`."""
    commitment: LineCommitment | None = None
    """What the tenant commits to use of each line."""

    def price_of_charge(self, charge: PriceModel) -> Price:
        """The price that a price model makes with the modifiers and the commitment."""
        price, commitment = super().price_of_charge(charge), self.commitment
        if commitment is None:
            return price
        return replace(price, commitment=Committed(commitment.amount, commitment.quantity, commitment.overage_factor))


class CardTerms(Document):
    """The terms of a period that a card may have, in the order in which they apply, before its minimum."""

    discounts: tuple[Discount, ...] = ()
    """What usage costs less; each discount reduces what those before it left."""
    commitment: CardCommitment | None = None
    """What the tenant commits to spend on usage in a month."""
    maximum: Maximum | None = None
    """The most that the usage of a month costs."""
    tax: tuple[Tax, ...] = ()
    """Taxes that invoices state on each line."""
