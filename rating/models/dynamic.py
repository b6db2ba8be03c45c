"""dynamic: the quantity is the amount. The event carries what it costs, and the card may put a margin on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Literal

from rating.errors import Path
from rating.models.base import Money, PriceModel, Segment, too_dear


class Dynamic(PriceModel):
    """`multiplier` times the quantity, which is an amount in the currency of the card, carried by the events."""

    model: Literal["dynamic"]
    """The quantity is money that the events carry: it is passed on, times a multiplier."""
    multiplier: Money = Decimal(1)
    """What the amount is multiplied by, as text: "1.25" adds a margin of 25 %."""

    def segments(self) -> Sequence[Segment]:
        """One open segment: the multiplier is the price of one unit of money."""
        return (Segment(Decimal(0), None, self.multiplier, Decimal(1), Decimal(0), "multiple"),)

    def charges_nothing_used(self) -> bool:
        """Never: there is no fee."""
        return False

    def problems(self) -> Iterator[tuple[Path, str]]:
        """A multiplier that makes amounts that no record can hold."""
        return too_dear(self.multiplier, Decimal(1), ("multiplier",))
