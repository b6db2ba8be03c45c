"""Levels: custom meters whose events are changes (+2 GPUs reserved, -1), counted as level x time.

A level goes on until it changes, over windows and periods, also where there is no event at all. Everything here is linear
in the changes, so a change that comes late only adds what it would have added before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rating.usage import UsageKey
from rating.windows import WindowSize


class LevelId(NamedTuple):
    """Whose level: usage key and custom meter. `booked` is the later billing period of changes that came late."""

    key: UsageKey
    meter: str
    booked: str | None


class LevelTime(NamedTuple):
    """Level x microseconds that a window has more (or less) than when it was last asked for."""

    level: LevelId
    hour: int
    weighted: int


class _Level:
    """One level over the windows of a period."""

    __slots__ = ("changes", "dirty_from", "opening", "told")

    def __init__(self) -> None:
        self.opening = 0
        """What earlier periods left."""
        self.changes: dict[int, tuple[int, int]] = {}
        """By window: sum of the changes, and of change x microseconds to the end of the window."""
        self.told: list[int] = []
        """What was told of each window from the first one on."""
        self.dirty_from: int | None = None


class Levels:
    """The levels of one tenant's period."""

    def __init__(self, first: int, last: int, window: WindowSize) -> None:
        """`first`, `last`: the windows of the period."""
        self._first, self._last = first, last
        self._window_us = window.microseconds
        self._levels: dict[LevelId, _Level] = {}

    def add(self, level: LevelId, hour: int, change: int, weighted: int) -> None:
        """Adds changes of one window: their sum, and the sum of change x microseconds to the end of the window."""
        known = self._levels.setdefault(level, _Level())
        before = known.changes.get(hour, (0, 0))
        known.changes[hour] = (before[0] + change, before[1] + weighted)
        known.dirty_from = hour if known.dirty_from is None else min(known.dirty_from, hour)

    def carry(self, opening: Mapping[LevelId, int]) -> None:
        """States what all earlier periods left; what is not named is 0."""
        for level in opening.keys() | self._levels.keys():
            left = opening.get(level, 0)
            known = self._levels.setdefault(level, _Level()) if left else self._levels.get(level)
            if known is not None and known.opening != left:
                known.opening, known.dirty_from = left, self._first

    def moved(self, now: int) -> Iterator[LevelTime]:
        """What changed since the last call in the windows up to `now`, the last one that has begun.

        Levels of late changes are told for all windows: their period has ended.
        """
        for level, known in self._levels.items():
            reached = self._last if level.booked is not None else min(now, self._last)
            told_to = self._first + len(known.told)
            start = told_to if known.dirty_from is None else min(told_to, known.dirty_from)
            if start <= reached:
                known.dirty_from = None
                yield from self._spread(level, known, start, reached)

    def _spread(self, level: LevelId, known: _Level, start: int, reached: int) -> Iterator[LevelTime]:
        height = known.opening + sum(change for hour, (change, _) in known.changes.items() if hour < start)
        for hour in range(start, reached + 1):
            change, weighted = known.changes.get(hour, (0, 0))
            whole = height * self._window_us + weighted
            height += change
            place = hour - self._first
            if place == len(known.told):
                known.told.append(0)
            if whole != known.told[place]:
                yield LevelTime(level, hour, whole - known.told[place])
                known.told[place] = whole
