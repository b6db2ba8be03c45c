"""time_weighted: level x time, in unit-hours. Events are changes of the level; `rating.levels` spreads it over the hours.

Times are whole microseconds, quantities billionths of a unit, so level x time is exact. The position of the period is
rounded to billionths of a unit-hour, half away from zero, which is what a record can hold: 3.6 microseconds of one unit.
"""

from __future__ import annotations

from rating.aggregations.gathered import Quantity
from rating.aggregations.running import RunningSeries
from rating.money import round_half_away

HOUR_US = 3_600_000_000


class TimeWeightedSeries(RunningSeries[int]):
    """Values are level x microseconds."""

    __slots__ = ()

    def value_of(self, quantity: Quantity) -> int | None:
        """Level x microseconds, as `rating.levels` gives it."""
        return quantity if isinstance(quantity, int) else None

    def merge(self, earlier: int, later: int) -> int:
        """The sum."""
        return earlier + later

    def position(self, value: int) -> int:
        """Unit-hours."""
        return round_half_away(value, HOUR_US)

    def gathered(self, value: int) -> Quantity:
        """The value."""
        return value
