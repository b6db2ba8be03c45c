"""unique_api_keys, unique_workflows: how many different ids the events of a period have.

An id counts in the first hour that has it, so the hours sum to the number of different ids of the period. An earlier
event that comes later moves it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from rating.aggregations.gathered import Gathered, Quantity
from rating.aggregations.names import Scope
from rating.series import Series
from rating.skus import Line

Ids = Literal["api_keys", "workflows"]


class UniqueSeries(Series):
    """Sets of ids: what is new in each hour."""

    __slots__ = ("_first", "_ids", "_sets")

    def __init__(self, scope: Scope = "period", ids: Ids = "api_keys") -> None:
        """`ids`: which ids of the events are counted."""
        super().__init__(scope)
        self._ids = ids
        self._sets: dict[int, tuple[dict[int, None], Line]] = {}
        self._first: dict[int, int] = {}
        """The first hour of each id."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held: values that come to 0 are held."""
        return not self._sets

    def take(self, hour: int, value: Quantity, line: Line) -> None:
        """Adds the ids of an hour."""
        found = self._found(value)
        if not found:
            return
        known, line = self._sets.setdefault(hour, ({}, line))
        for one in found:
            if one not in known:
                known[one] = None
                self._count(one, hour, line)

    def content(self) -> Iterator[tuple[int, Quantity, Line]]:
        """The ids by hour."""
        for hour in sorted(self._sets):
            ids, line = self._sets[hour]
            yield hour, (Gathered(api_keys=ids) if self._ids == "api_keys" else Gathered(workflows=ids)), line

    def _found(self, value: Quantity) -> Mapping[int, None]:
        if not isinstance(value, Gathered):
            return {}
        return value.api_keys if self._ids == "api_keys" else value.workflows

    def _count(self, one: int, hour: int, line: Line) -> None:
        if not self._anew:
            first = self._first.get(one)
            if first is not None and first <= hour:
                return
            if first is not None:
                self.add(first, -1, self._sets[first][1])
            self._first[one] = hour
        self.add(hour, 1, line)
