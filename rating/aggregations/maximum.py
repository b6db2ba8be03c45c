"""max: the largest quantity that one event of the period had."""

from __future__ import annotations

from rating.aggregations.gathered import Gathered, Quantity
from rating.aggregations.running import RunningSeries


class MaxSeries(RunningSeries[int]):
    """An hour counts by how much it exceeds all hours before it."""

    __slots__ = ()

    def value_of(self, quantity: Quantity) -> int | None:
        """The largest quantity."""
        return quantity.largest if isinstance(quantity, Gathered) else None

    def merge(self, earlier: int, later: int) -> int:
        """The larger one."""
        return max(earlier, later)

    def position(self, value: int) -> int:
        """The value."""
        return value

    def gathered(self, value: int) -> Quantity:
        """An event of it."""
        return Gathered(largest=value)
