"""per_unit: every unit costs the same. 0.15 per 1,000,000 tokens is `price: "0.15"`, `per: 1000000`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from rating.models.base import Money, PriceModel, Quantity, Segment


class PerUnit(PriceModel):
    """`price` for every `per` units; a part of a block costs its part of the price."""

    model: Literal["per_unit"]
    price: Money
    per: Quantity = Decimal(1)

    def segments(self) -> Sequence[Segment]:
        """One open segment."""
        return (Segment(Decimal(0), None, self.price, self.per, Decimal(0)),)

    def charges_nothing_used(self) -> bool:
        """Never: there is no fee."""
        return False
