"""Aggregations whose position is not a sum of the hours' quantities: max, latest, time_weighted."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterator
from typing import Generic, TypeVar

from rating.aggregations.gathered import Quantity
from rating.aggregations.names import Scope
from rating.series import Series
from rating.skus import Line

Value = TypeVar("Value")


class RunningSeries(Series, Generic[Value]):
    """Merges the values of the hours from the first one on; an hour's quantity is what its value moves the position by.

    An hour that moves it by nothing has no quantity, as if it were without usage.
    """

    __slots__ = ("_changed_from", "_moved", "_running", "_value_hours", "_value_lines", "_values")

    def __init__(self, scope: Scope = "period") -> None:
        super().__init__(scope)
        self._value_hours: list[int] = []
        self._values: list[Value] = []
        self._value_lines: list[Line] = []
        self._running: list[Value] = []
        """The merge of the values up to and including each hour."""
        self._moved: list[int] = []
        self._changed_from: int | None = None

    @abstractmethod
    def value_of(self, quantity: Quantity) -> Value | None:
        """What this aggregation reads out of what was gathered; None if there is nothing."""

    @abstractmethod
    def merge(self, earlier: Value, later: Value) -> Value:
        """Both values together; `earlier` is of the same or of earlier hours."""

    @abstractmethod
    def position(self, value: Value) -> int:
        """The quantity that a value means, in the line's smallest unit."""

    @abstractmethod
    def gathered(self, value: Value) -> Quantity:
        """What comes to this value when it is taken."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held: values that come to 0 are held."""
        return not self._values

    def take(self, hour: int, value: Quantity, line: Line) -> None:
        """Merges what was gathered into the value of an hour."""
        found = self.value_of(value)
        if found is None:
            return
        place = bisect_left(self._value_hours, hour)
        if place < len(self._value_hours) and self._value_hours[place] == hour:
            self._values[place] = self.merge(self._values[place], found)
        else:
            self._value_hours.insert(place, hour)
            self._values.insert(place, found)
            self._value_lines.insert(place, line)
            self._running.insert(place, found)
            self._moved.insert(place, 0)
        if self._changed_from is None or hour < self._changed_from:
            self._changed_from = hour

    def content(self) -> Iterator[tuple[int, Quantity, Line]]:
        """The values of the hours."""
        for hour, value, line in zip(self._value_hours, self._values, self._value_lines, strict=True):
            yield hour, self.gathered(value), line

    def settle(self) -> tuple[int, list[int]]:
        """Computes what changed, as every series does."""
        if self._changed_from is not None:
            self._move(bisect_left(self._value_hours, self._changed_from))
            self._changed_from = None
        return super().settle()

    def _move(self, first: int) -> None:
        """Brings the quantities of the hours from a place on up to date."""
        for place in range(first, len(self._values)):
            before = 0
            value = self._values[place]
            if place and not self._anew:
                value = self.merge(self._running[place - 1], value)
                before = self.position(self._running[place - 1])
            self._running[place] = value
            moved = self.position(value) - before
            self.add(self._value_hours[place], moved - self._moved[place], self._value_lines[place])
            self._moved[place] = moved
