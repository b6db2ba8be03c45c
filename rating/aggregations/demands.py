"""What a card needs beyond what is always gathered: sets of ids, and single events.

They cost memory for every id and event, so they are gathered only where a card asks, from the window after it did. Before
that window such a SKU prices nothing, as if the card did not have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from rating.meters import is_custom
from rating.models import Percentage, PriceModel
from rating.overrides import Overrides, skus_named

if TYPE_CHECKING:
    from rating.cards import RateCard, Sku


class Demand(NamedTuple):
    """Something to gather of a leaf (or custom) meter: the ids of its events, or the events themselves."""

    what: Literal["api_keys", "workflows", "events"]
    meter: str


def demands_of(card: RateCard) -> frozenset[Demand]:
    """What a card asks for, also by its overrides."""
    found = {demand for sku in card.skus for demand in _of_sku(sku)}
    for sku_id, charge in card.overrides.charges if card.overrides else ():
        found.update(_of_override(card, sku_id, charge))
    return frozenset(found)


def card_without(card: RateCard, missing: frozenset[Demand]) -> RateCard:
    """The card as it prices windows in which some of what it asks for was not gathered yet.

    SKUs that ask for it are not there, and neither are a tenant's own prices that do.
    """
    kept = tuple(sku for sku in card.skus if missing.isdisjoint(_of_sku(sku)))
    own = card.overrides.charges if card.overrides else ()
    held = tuple((name, charge) for name, charge in own if missing.isdisjoint(_of_override(card, name, charge)))
    return card.varied({"skus": kept}, Overrides(held) if held else None)


def _of_sku(sku: Sku) -> Iterator[Demand]:
    for leaf in sku.leaves:
        if sku.aggregation == "unique_api_keys":
            yield Demand("api_keys", leaf)
        elif sku.aggregation == "unique_workflows":
            yield Demand("workflows", leaf)
    if any(isinstance(cell.price_model, Percentage) for cell in sku.cells):
        yield from _events_of(sku)


def _of_override(card: RateCard, sku_id: str, charge: PriceModel) -> Iterator[Demand]:
    if isinstance(charge, Percentage):
        for sku in skus_named(card, sku_id):
            yield from _events_of(sku)


def _events_of(sku: Sku) -> Iterator[Demand]:
    # Only events of custom meters have amounts of their own; the percentage of another meter is one of its sum.
    if is_custom(sku.meter):
        yield Demand("events", sku.meter)
