"""A tenant's prices stated window by window, whatever is published and assigned: for trying a card, and for rating again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rating.aggregations.demands import Demand
from rating.cards import RateCard
from rating.catalog import Assignment, Catalog, Version
from rating.errors import PeriodError
from rating.overrides import Overrides
from rating.windows import HOUR, WindowSize

NEVER_GATHERED = 1 << 40
"""A window after all others."""


class PinnedPrice(NamedTuple):
    """From window `first` on, until the next price or without end, a card version prices; None: there is no price."""

    first: int
    card: RateCard | None
    overrides: Overrides | None = None


@dataclass(frozen=True, slots=True)
class PinnedCatalog(Catalog):
    """A catalog of one tenant that says itself which version holds when: the cards' own times do not count.

    Made by `pinned`.
    """

    prices: tuple[PinnedPrice, ...] = ()

    def card_at(self, tenant_id: str, hour: int) -> RateCard | None:
        """The card version that is stated for a window; None before the first one and for other tenants."""
        if self.assignment_at(tenant_id, hour) is None:
            return None
        price = self.prices[bisect_right(self.prices, hour, key=lambda each: each.first) - 1]
        return None if price.card is None else self.gathered_at(price.card.with_overrides(price.overrides), hour)


def pinned(
    tenant_id: str,
    prices: Sequence[PinnedPrice],
    window: WindowSize = HOUR,
    gathered_from: Mapping[Demand, int] | None = None,
) -> PinnedCatalog:
    """The catalog in which a tenant has exactly these prices, in the order of their first windows.

    `gathered_from` is that of the catalog that the usage was gathered under: what it does not name never was. Left out:
    everything was gathered. Raises PeriodError when two prices begin at one window or they are out of order.
    """
    assignments: list[Assignment] = []
    versions: dict[str, list[Version]] = {}
    for position, price in enumerate(prices):
        following = prices[position + 1].first if position + 1 < len(prices) else None
        if following is not None and following <= price.first:
            raise PeriodError(
                f"prices of {tenant_id} must begin one after the other: {following} is not after {price.first}",
                tenant_id=tenant_id,
            )
        if price.card is not None:
            assignments.append(Assignment(tenant_id, price.card.id, price.first, following, price.overrides))
            versions.setdefault(price.card.id, []).append(Version(price.first, price.card))
    made = PinnedCatalog(
        window,
        0,
        {card_id: tuple(known) for card_id, known in versions.items()},
        {tenant_id: tuple(assignments)} if assignments else {},
        gathered_from or {},
        tuple(prices),
    )
    return made if gathered_from is None else made.gathering(NEVER_GATHERED)
