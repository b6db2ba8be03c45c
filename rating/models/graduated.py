"""graduated: each unit costs the price of the tier it falls into, counted from the start of the period."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from rating.errors import Path
from rating.models.base import PriceModel, Quantity, Segment
from rating.models.tiers import PricedTier, price_problems, priced_segments


class GraduatedTier(PricedTier):
    """A tier: more than the one before it ends at, up to and with `up_to`."""


class Graduated(PriceModel):
    """Tiers, each with a price per `per` units or per started package, and perhaps a flat fee.

    `flat_on_zero` says whether the flat fee of the first tier is owed for a period without any usage (it is, unless the
    card says false: then the first unit brings it). Packages are counted from the lower edge of their tier; one that
    the upper edge cuts short is charged whole too.
    """

    model: Literal["graduated"]
    """Each unit costs the price of the tier that it falls into."""
    tiers: Annotated[tuple[GraduatedTier, ...], Field(json_schema_extra={"minItems": 1})]
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
