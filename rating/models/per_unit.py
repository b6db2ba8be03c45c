"""per_unit: every unit costs the same. 0.15 per 1,000,000 tokens is `price: "0.15"`, `per: 1000000`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Literal

from rating.errors import Path
from rating.models.base import Money, PriceModel, Quantity, Segment, too_dear


class PerUnit(PriceModel):
    """`price` for every `per` units; a part of a block costs its part of the price."""

    model: Literal["per_unit"]
    """Every unit costs the same."""
    price: Money
    """What `per` units cost, as text: "0.15"."""
    per: Quantity = Decimal(1)
    """Units that the price is for: 1000000 tokens, 3600 seconds."""

    def segments(self) -> Sequence[Segment]:
        """One open segment."""
        return (Segment(Decimal(0), None, self.price, self.per, Decimal(0)),)

    def charges_nothing_used(self) -> bool:
        """Never: there is no fee."""
        return False

    def problems(self) -> Iterator[tuple[Path, str]]:
        """A price that no amount could hold."""
        return too_dear(self.price, self.per, ("price",))
