"""graduated: each unit costs the price of the tier it falls into, counted from the start of the period."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rating.errors import Path
from rating.models.base import Edge, Fee, Money, PriceModel, Quantity, Segment, too_dear
from rating.money import plain


class GraduatedTier(BaseModel):
    """A tier (lower, up_to]: its lower edge is the `up_to` of the tier before it, and the last tier leaves `up_to` out.

    `above` may state the lower edge for readers. `flat_fee` is charged once, by the first unit that enters the tier.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    above: Edge | None = None
    """Lower edge, for readers: it must be the `up_to` of the tier before."""
    up_to: Quantity | None = None
    """Upper edge, included; the last tier leaves it out."""
    price: Money = Decimal(0)
    """What `per` units in this tier cost, as text."""
    flat_fee: Fee = Decimal(0)
    """Charged once, by the first unit that enters the tier."""


class Graduated(PriceModel):
    """Tiers, each with a price per `per` units and perhaps a flat fee.

    `flat_on_zero` says whether the flat fee of the first tier is owed for a period without any usage (it is, unless the
    card says false: then the first unit brings it).
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
        lower = Decimal(0)
        segments = []
        for tier in self.tiers:
            segments.append(Segment(lower, tier.up_to, tier.price, self.per, tier.flat_fee))
            lower = tier.up_to or lower
        return segments

    def charges_nothing_used(self) -> bool:
        """As the card says."""
        return self.flat_on_zero

    def problems(self) -> Iterator[tuple[Path, str]]:
        """Gaps, overlaps and open ends."""
        if not self.tiers:
            yield ("tiers",), "there is no tier: give at least one, the last without up_to"
        lower: Decimal | None = Decimal(0)
        for index, tier in enumerate(self.tiers):
            place: Path = ("tiers", index)
            yield from too_dear(tier.price, self.per, (*place, "price"))
            if lower is not None:  # after a tier that is wrongly open nobody knows where the next one begins
                yield from _edges(tier, lower, place)
            last = index == len(self.tiers) - 1
            if tier.up_to is None and not last:
                yield place, "only the last tier may be open: give it an up_to"
            elif tier.up_to is not None and last and not (lower is not None and tier.up_to <= lower):
                yield (*place, "up_to"), "the last tier must be open: leave its up_to out"
            lower = tier.up_to


def _edges(tier: GraduatedTier, lower: Decimal, place: Path) -> Iterator[tuple[Path, str]]:
    """What is wrong with the edges of a tier that begins where the one before it ends."""
    write = f"write above: {plain(lower)}"
    if tier.above is not None and tier.above > lower:
        yield (*place, "above"), f"a gap: nothing is priced between {plain(lower)} and {plain(tier.above)}, {write}"
    elif tier.above is not None and tier.above < lower:
        yield (*place, "above"), f"an overlap: {plain(tier.above)} to {plain(lower)} is priced already, {write}"
    if tier.up_to is not None and tier.up_to <= lower:
        yield (
            (*place, "up_to"),
            f"{plain(tier.up_to)} is not above the tier before it, which ends at {plain(lower)}: raise it",
        )
