"""graduated_percentage: a percentage of a quantity that is money, by tier: 3 % of the first 1,000, 2 % above."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from rating.errors import Path
from rating.models.base import Fee, Money, PriceModel, Segment, too_dear
from rating.models.tiers import Tier, edge_problems

_PERCENT = Decimal(100)


class PercentageTier(Tier):
    """A tier: more than the one before it ends at, up to and with `up_to`."""

    rate: Money = Decimal(0)
    """Percent of the part of the quantity in this tier, as text: "2.9"."""
    flat_fee: Fee = Decimal(0)
    """Charged once, by the first unit that enters the tier."""


class GraduatedPercentage(PriceModel):
    """Tiers, each with a rate in percent of the part of the quantity that falls into it, and perhaps a flat fee.

    The quantity is an amount in the currency of the card, e.g. a custom meter that counts what was sold. `flat_on_zero`
    as in graduated.
    """

    model: Literal["graduated_percentage"]
    """A percentage of a quantity that is money, by tier."""
    tiers: Annotated[tuple[PercentageTier, ...], Field(json_schema_extra={"minItems": 1})]
    """The tiers from the smallest quantities up, the last one open."""
    flat_on_zero: bool = True
    """Whether the flat fee of the first tier is owed without any usage."""

    def segments(self) -> Sequence[Segment]:
        """One segment per tier: the rate is the price of 100 units."""
        lower = Decimal(0)
        segments = []
        for tier in self.tiers:
            segments.append(Segment(lower, tier.up_to, tier.rate, _PERCENT, tier.flat_fee, "percent"))
            lower = tier.up_to or lower
        return segments

    def charges_nothing_used(self) -> bool:
        """As the card says."""
        return self.flat_on_zero

    def problems(self) -> Iterator[tuple[Path, str]]:
        """Gaps, overlaps, open ends, and rates that make amounts that no record can hold."""
        yield from edge_problems(self.tiers)
        for index, tier in enumerate(self.tiers):
            yield from too_dear(tier.rate, _PERCENT, ("tiers", index, "rate"))
