"""When requests come: how many of each class in which piece of time, and at which microsecond.

Time is cut into chunks of whole cells (CELL_S seconds) that hold some ten thousand requests, so a workload of any size is
made piece by piece. The number of requests up to any hour is a fixed part of the whole, so the pieces add up exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise

import numpy as np

from producers.workload.draws import Ints, Stream, lookup
from producers.workload.figures import EXPONENTIAL, RequestClass

CELL_S = 10
"""Load is known per cell: chunks begin and end at multiples of it."""
HOUR_S = 3_600
CHUNK_ROWS = 49_152
"""Requests of a chunk, about: so many fit the processor's caches, and fewer would cost more calls."""
_MOST_HOURS = 24
_WEEK_MINUTES = 7 * 24 * 60
_STEADY_ROWS = 500_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of time in seconds from the start of the workload, and when its requests start, per class, ascending."""

    number: int
    begin_s: int
    end_s: int
    started_us: tuple[Ints, ...]


class Timetable:
    """`counts[i]` requests of class `kinds[i]` over some hours: daily and weekly shape, and bursts."""

    def __init__(
        self, seed: int, kinds: Sequence[RequestClass], counts: Sequence[int], start: datetime, hours: int
    ) -> None:
        self._seed = seed
        self._kinds = kinds
        self._hours = hours
        local = start.astimezone(UTC)
        self._first_minute = (local.weekday() * 24 + local.hour) * 60 + local.minute
        self._weeks = [_week(kind) for kind in kinds]
        self._upto = [self._counts_upto(week, count) for week, count in zip(self._weeks, counts, strict=True)]

    def __iter__(self) -> Iterator[Chunk]:
        """All chunks in order of time; every time alike."""
        number, first = 0, 0
        while first < self._hours:
            last, rows = first + 1, self._rows_in(first)
            while (
                last < self._hours and last - first < _MOST_HOURS and rows + (more := self._rows_in(last)) <= CHUNK_ROWS
            ):
                last, rows = last + 1, rows + more
            for chunk in self._chunks(number, first, last, rows):
                number += 1
                yield chunk
            first = last

    def _counts_upto(self, week: Ints, count: int) -> list[int]:
        """How many of `count` requests come before each hour, and before the end."""
        minutes = (np.arange(_WEEK_MINUTES) + self._first_minute) % _WEEK_MINUTES
        of_hour = week[minutes].reshape(-1, 60).sum(axis=1).tolist()
        weights = [0]
        for hour in range(self._hours):
            weights.append(weights[-1] + of_hour[hour % len(of_hour)])
        return [count * weight // weights[-1] for weight in weights]

    def _rows_in(self, hour: int) -> int:
        return sum(upto[hour + 1] - upto[hour] for upto in self._upto)

    def _chunks(self, number: int, first: int, last: int, rows: int) -> Iterator[Chunk]:
        """One chunk of hours with few requests, or several of one hour with many."""
        if last - first > 1 or rows <= CHUNK_ROWS:
            parts = [
                np.concatenate([self._starts(kind, hour, 0, HOUR_S) for hour in range(first, last)])
                for kind in range(len(self._kinds))
            ]
            yield Chunk(number, first * HOUR_S, last * HOUR_S, tuple(parts))
            return
        cells = HOUR_S // CELL_S
        pieces = min(cells, -(-rows // CHUNK_ROWS))
        borders = [cells * piece // pieces * CELL_S for piece in range(pieces + 1)]
        for piece, (begin, end) in enumerate(pairwise(borders)):
            parts = [self._starts(kind, first, begin, end) for kind in range(len(self._kinds))]
            yield Chunk(number + piece, first * HOUR_S + begin, first * HOUR_S + end, tuple(parts))

    def _starts(self, kind: int, hour: int, begin: int, end: int) -> Ints:
        """Starts of a class from second `begin` to second `end` of an hour."""
        before, after = self._upto[kind][hour], self._upto[kind][hour + 1]
        if before == after:
            return np.zeros(0, dtype=np.int64)
        edges = self._edges(kind, hour)
        lower, upper = ((after - before) * int(edges[place]) // int(edges[-1]) for place in (begin, end))
        within = edges[begin : end + 1] - edges[begin]
        stream = Stream(self._seed, "arrivals", kind, hour, begin)
        return (hour * HOUR_S + begin) * 10**6 + _placed(stream, within, upper - lower)

    def _edges(self, kind: int, hour: int) -> Ints:
        """The summed rate of an hour's seconds, from 0."""
        first = self._first_minute + hour * 60
        rates = np.repeat(self._weeks[kind][(np.arange(60) + first) % _WEEK_MINUTES], 60)
        on_off = self._kinds[kind].on_off
        if on_off is not None:
            bursts = rates * _bursts(Stream(self._seed, "bursts", kind, hour), *on_off)
            rates = bursts if bursts.any() else rates  # an hour may fall into one pause
        return np.concatenate(([0], np.cumsum(rates)))


class SteadyTimetable:
    """`per_second[i]` requests of class `kinds[i]` each second, without end: no daily shape and no bursts."""

    def __init__(self, seed: int, per_second: Sequence[Fraction]) -> None:
        self._seed = seed
        self._per_second = per_second
        self._step_s = CELL_S * max(1, min(6, int(_STEADY_ROWS / 100 / max(1, sum(per_second)) / CELL_S)))

    def __iter__(self) -> Iterator[Chunk]:
        """Chunks of equal length, for ever."""
        number = 0
        while True:
            begin, end = number * self._step_s, (number + 1) * self._step_s
            edges = np.arange(end - begin + 1)
            parts = [
                begin * 10**6
                + _placed(Stream(self._seed, "arrivals", kind, number), edges, int(rate * end) - int(rate * begin))
                for kind, rate in enumerate(self._per_second)
            ]
            yield Chunk(number, begin, end, tuple(parts))
            number += 1


def _week(kind: RequestClass) -> Ints:
    """The relative rate of each minute of a week from Monday, as whole numbers."""
    minute = np.arange(_WEEK_MINUTES)
    weekend = np.where(minute >= 5 * 24 * 60, kind.weekend, 1.0)
    return np.rint(lookup(kind.per_minute, minute % (24 * 60) / 60) * weekend).astype(np.int64)


def _bursts(stream: Stream, mean_on: float, mean_off: float) -> Ints:
    """1 for every second of an hour in a burst, 0 for every second in a pause."""
    cycles = int(HOUR_S / (mean_on + mean_off) * 2) + 16
    lengths = lookup(EXPONENTIAL, stream.uniform(cycles * 2)) * np.tile([mean_off, mean_on], cycles)
    # An hour begins anywhere in a cycle.
    changes = np.cumsum(lengths) - stream.uniform(1)[0] * (mean_on + mean_off)
    on: Ints = np.searchsorted(changes, np.arange(HOUR_S), side="right") % 2
    return on


def _placed(stream: Stream, edges: Ints, count: int) -> Ints:
    """`count` places in microseconds under a rate whose sums up to each second are `edges`, ascending.

    A Poisson process, given its number of events: independent places under the rate curve.
    """
    if not count or not edges[-1]:
        return np.zeros(count, dtype=np.int64)
    places = np.sort(stream.uniform(count)) * edges[-1]
    starts = np.searchsorted(places, edges)
    starts[-1] = count  # rounding may put the last place on the last edge
    second = np.repeat(np.arange(len(edges) - 1), np.diff(starts))
    rate = np.maximum(np.diff(edges), 1)
    within = np.clip((places - edges[second]) / rate[second], 0.0, 0.999_999)
    placed: Ints = ((second + within) * 1e6).astype(np.int64)
    return placed
