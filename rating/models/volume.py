"""volume: the tier that the quantity of the whole period falls into prices all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rating.errors import Path
from rating.models.base import Fee, PriceModel, Quantity, Segment
from rating.models.tiers import PricedTier, price_problems, priced_segments


class VolumeTier(PricedTier):
    """A tier: its price and its flat fee are for the whole quantity, when that is above the tier before, up to `up_to`."""

    flat_fee: Fee = Decimal(0)
    """Charged once, when the quantity falls into the tier."""


class Volume(PriceModel):
    """Tiers, of which exactly one is charged: the one that the quantity of the period falls into, for all of it.

    When the quantity crosses an edge everything before is priced anew, so an hour may cost less than nothing (101 units
    may be cheaper than 100), and amounts are provisional until the period closes. Packages are counted from 0.
    `flat_on_zero` as in graduated.
    """

    whole_quantity: ClassVar[bool] = True
    model: Literal["volume"]
    """All units cost the price of the tier that the quantity of the period falls into."""
    tiers: Annotated[tuple[VolumeTier, ...], Field(json_schema_extra={"minItems": 1})]
    """The tiers from the smallest quantities up, the last one open."""
    per: Quantity = Decimal(1)
    """Units that the prices are for: 1000000 tokens, 3600 seconds."""
    flat_on_zero: bool = True
    """Whether the flat fee of the first tier is owed without any usage."""

    def segments(self) -> Sequence[Segment]:
        """One segment per tier."""
        return priced_segments(self.tiers, self.per)

    def charges_nothing_used(self) -> bool:
        """As the card says."""
        return self.flat_on_zero

    def problems(self) -> Iterator[tuple[Path, str]]:
        """Gaps, overlaps, open ends, and prices that no amount could hold."""
        return price_problems(self.tiers, self.per)
