"""count: how many events have the meter, whatever their quantity."""

from __future__ import annotations

from collections.abc import Iterator

from rating.aggregations.gathered import Gathered, Quantity
from rating.series import Series
from rating.skus import Line


class CountSeries(Series):
    """Counts of events add up."""

    __slots__ = ()

    def take(self, hour: int, value: Quantity, line: Line) -> None:
        """Adds the events of an hour."""
        if isinstance(value, Gathered):
            self.add(hour, value.count, line)

    def content(self) -> Iterator[tuple[int, Quantity, Line]]:
        """The counts."""
        for hour, quantity, line in zip(self._hours, self._quantities, self._lines, strict=True):
            yield hour, Gathered(count=quantity), line
