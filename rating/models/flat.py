"""flat: one fixed amount for a period in which the SKU was used, however much."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from rating.models.base import Fee, PriceModel, Segment


class Flat(PriceModel):
    """`amount` once a period, brought by its first usage, or owed without any when `flat_on_zero` is true."""

    model: Literal["flat"]
    """One fixed amount for a month in which it was used."""
    amount: Fee
    """What the month costs, as text: "50.00"."""
    flat_on_zero: bool = False
    """Whether it is owed without any usage as well."""

    def segments(self) -> Sequence[Segment]:
        """A fee and no slope."""
        return (Segment(Decimal(0), None, Decimal(0), Decimal(1), self.amount),)

    def charges_nothing_used(self) -> bool:
        """As the card says."""
        return self.flat_on_zero
