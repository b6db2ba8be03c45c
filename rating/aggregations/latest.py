"""latest: the quantity of the last event of the period, by its time."""

from __future__ import annotations

from rating.aggregations.gathered import Gathered, MeteredEvent, Quantity
from rating.aggregations.running import RunningSeries


class LatestSeries(RunningSeries[MeteredEvent]):
    """An hour counts by how far its last event is above (or below) that of the hours before."""

    __slots__ = ()

    def value_of(self, quantity: Quantity) -> MeteredEvent | None:
        """The last event."""
        return quantity.latest if isinstance(quantity, Gathered) else None

    def merge(self, earlier: MeteredEvent, later: MeteredEvent) -> MeteredEvent:
        """The later one, by time and then by identity."""
        return max(earlier, later)

    def position(self, value: MeteredEvent) -> int:
        """Its quantity."""
        return value.quantity

    def gathered(self, value: MeteredEvent) -> Quantity:
        """The event."""
        return Gathered(latest=value)
