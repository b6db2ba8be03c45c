"""What the tiers of all models have in common: their edges, and what can be wrong with those."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from rating.errors import Path
from rating.models.base import LARGEST_FEE, Edge, Fee, Money, Quantity, too_dear
from rating.models.compiled import Segment
from rating.money import plain


class Tier(BaseModel):
    """A tier (lower, up_to]: its lower edge is the `up_to` of the tier before it, and the last tier leaves `up_to` out.

    `above` may state the lower edge for readers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    above: Edge | None = None
    """Lower edge, for readers: it must be the `up_to` of the tier before."""
    up_to: Quantity | None = None
    """Upper edge, included; the last tier leaves it out."""


class PricedTier(Tier):
    """A tier with a price per block of units, or per started package."""

    price: Money = Decimal(0)
    """What `per` units in this tier cost, as text; with `package` what one package costs."""
    flat_fee: Fee = Decimal(0)
    """Charged once, by the first unit that enters the tier."""
    package: Quantity | None = None
    """Units of a package: in this tier started packages are charged whole, and `price` is that of one package."""


def priced_segments(tiers: Sequence[PricedTier], per: Decimal) -> list[Segment]:
    """One segment per tier."""
    lower = Decimal(0)
    segments = []
    for tier in tiers:
        segment = Segment(lower, tier.up_to, tier.price, per, tier.flat_fee)
        segments.append(replace(segment, per=tier.package, basis="packages") if tier.package else segment)
        lower = tier.up_to or lower
    return segments


def price_problems(tiers: Sequence[PricedTier], per: Decimal) -> Iterator[tuple[Path, str]]:
    """Edges that do not fit, prices that no amount could hold, and a `per` that prices nothing."""
    yield from edge_problems(tiers)
    for index, tier in enumerate(tiers):
        place: Path = ("tiers", index, "price")
        if tier.package is None:
            yield from too_dear(tier.price, per, place)
        else:
            yield from package_problems(tier.price, tier.package, place)
    if per != 1 and tiers and all(tier.package is not None for tier in tiers):
        yield ("per",), "no tier uses it: the price of a tier with a package is for one package, leave per out"


def package_problems(price: Decimal, size: Decimal, place: Path) -> Iterator[tuple[Path, str]]:
    """A package whose price no amount could hold, alone or times a month's packages."""
    if price > LARGEST_FEE:
        yield place, f"{plain(price)} is too large: a package costs at most 10^15"
    else:
        yield from too_dear(price, size, place)


def edge_problems(tiers: Sequence[Tier]) -> Iterator[tuple[Path, str]]:
    """Gaps, overlaps and open ends."""
    if not tiers:
        yield ("tiers",), "there is no tier: give at least one, the last without up_to"
    lower: Decimal | None = Decimal(0)
    for index, tier in enumerate(tiers):
        place: Path = ("tiers", index)
        if lower is not None:  # after a tier that is wrongly open nobody knows where the next one begins
            yield from _edges(tier, lower, place)
        last = index == len(tiers) - 1
        if tier.up_to is None and not last:
            yield place, "only the last tier may be open: give it an up_to"
        elif tier.up_to is not None and last and not (lower is not None and tier.up_to <= lower):
            yield (*place, "up_to"), "the last tier must be open: leave its up_to out"
        lower = tier.up_to


def _edges(tier: Tier, lower: Decimal, place: Path) -> Iterator[tuple[Path, str]]:
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
