"""How busy the shared GPUs are: the queue that a request meets, and what each cell of ten seconds is given to do.

Each type of GPU is one pool of work. Work is whole numbers (WORK_UNIT), so sums are exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from producers.workload.arrivals import CELL_S, Chunk
from producers.workload.draws import Floats, Ints
from producers.workload.figures import BATCH, CLASSES, FINE_TUNING, LOADED_SPEED
from producers.workload.fleet import Pools

if TYPE_CHECKING:
    from producers.workload.requests import Requests

_CELL_US = CELL_S * 10**6
_LONGEST_WAIT_S = 600.0
_URGENT = np.array([each not in (BATCH, FINE_TUNING) for each in CLASSES])
"""Classes that have a place in the queue; the others take what is left."""


class Waiting:
    """The queue in front of each pool, chunk after chunk: from the work of those that want an answer at once."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._capacity = pools.capacity * CELL_S
        self._backlog = np.zeros(len(pools.capacity))
        self._newest: tuple[int, Floats, Floats] | None = None

    def queue(self, chunk: Chunk, requests: Requests) -> tuple[Floats, Floats]:
        """For each request the seconds it waits and the speed it gets, relative to an empty GPU."""
        cells = (chunk.end_s - chunk.begin_s) // CELL_S
        pool = self._pools.of_deployment[requests.deployment]
        cell = np.clip(requests.started_us // _CELL_US - chunk.begin_s // CELL_S, 0, cells - 1)
        at = pool * cells + cell
        if self._newest is None or self._newest[0] != chunk.number:
            # The retries of a chunk meet the queue that its first attempts made.
            work = np.where(_URGENT[requests.kind], requests.work(), 0)
            given = np.bincount(at, weights=work, minlength=len(self._capacity) * cells).astype(np.float64)
            self._newest = (chunk.number, *self._serve(given.reshape(-1, cells)))
        _, wait, speed = self._newest
        return wait.ravel()[at], speed.ravel()[at]

    def _serve(self, given: Floats) -> tuple[Floats, Floats]:
        """Wait and speed per pool and cell."""
        capacity = self._capacity[:, None]
        after = backlog_after(given, capacity, self._backlog)
        before = np.column_stack((self._backlog, after[:, :-1]))
        self._backlog = after[:, -1]
        wait = np.minimum(before / capacity * CELL_S, _LONGEST_WAIT_S)
        full = np.minimum((given + before) / capacity, 1.0)
        return wait, 1.0 - (1.0 - LOADED_SPEED) * full


def backlog_after(given: Floats, capacity: Floats, backlog: Floats) -> Floats:
    """Work left over after each cell (columns) of each pool (rows), when each cell does at most its capacity."""
    balance = np.cumsum(given - capacity, axis=1) + backlog[:, None]
    lowest = np.minimum(np.minimum.accumulate(balance, axis=1), 0.0)
    left: Floats = np.maximum(balance - lowest, 0.0)
    return left


class Served:
    """What the pools do in each cell: requests give their work evenly from when they run to their end."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._capacity = pools.capacity * CELL_S
        self._backlog = np.zeros(len(pools.capacity))
        self._first_cell = 0
        self._given = np.zeros((len(pools.capacity), 0))

    def add(self, requests: Requests) -> None:
        """Requests that run at or after the last cell that was taken."""
        work = requests.work()
        rows = np.flatnonzero(work)
        if not len(rows):
            return
        pool = self._pools.of_deployment[requests.deployment[rows]]
        start = requests.runs_us[rows] - self._first_cell * _CELL_US
        # Work of no duration is done within a microsecond.
        end = np.maximum(requests.ended_us[rows] - self._first_cell * _CELL_US, start + 1)
        spread = _spread(start, end, work[rows], pool, len(self._capacity))
        size = max(spread.shape[1], self._given.shape[1])
        total = np.zeros((len(self._capacity), size))
        total[:, : self._given.shape[1]] += self._given
        total[:, : spread.shape[1]] += spread
        self._given = total

    def take(self, until_s: int) -> Floats:
        """The busy share of each pool (rows) and cell (columns) up to a second at which nothing before it is to come."""
        return self._serve(until_s // CELL_S - self._first_cell)

    def drain(self) -> int:
        """How many cells it takes until everything is done."""
        cells = max(1, self._given.shape[1])
        given = np.pad(self._given, ((0, 0), (0, cells - self._given.shape[1])))
        left = backlog_after(given, self._capacity[:, None], self._backlog)[:, -1]
        return cells + int(np.ceil((left / self._capacity).max()))

    @property
    def cell(self) -> int:
        """The next cell to be taken."""
        return self._first_cell

    def _serve(self, cells: int) -> Floats:
        given = np.pad(self._given, ((0, 0), (0, max(0, cells - self._given.shape[1]))))
        now, self._given = given[:, :cells], given[:, cells:]
        self._first_cell += cells
        capacity = self._capacity[:, None]
        after = backlog_after(now, capacity, self._backlog)
        before = np.column_stack((self._backlog, after[:, :-1]))
        if cells:
            self._backlog = after[:, -1]
        return np.clip((now + before[:, :cells] - after) / capacity, 0.0, 1.0)


def _spread(start: Ints, end: Ints, work: Ints, pool: Ints, pools: int) -> Floats:
    """Work per pool and cell of requests that each work evenly from start to end (microseconds)."""
    first, last = start // _CELL_US, (end - 1) // _CELL_US
    size = int(last.max()) + 1
    place = pool * size
    inside = (last == first).nonzero()[0]
    total = np.bincount((place + first)[inside], weights=work[inside], minlength=pools * size).astype(np.float64)
    across = (last != first).nonzero()[0]
    if len(across):
        first, last, start, end, place = first[across], last[across], start[across], end[across], place[across]
        rate = work[across] / (end - start)
        total += np.bincount(place + first, weights=rate * ((first + 1) * _CELL_US - start), minlength=pools * size)
        total += np.bincount(place + last, weights=rate * (end - last * _CELL_US), minlength=pools * size)
        # Whole cells in between: for each, the row once more.
        between = last - first - 1
        many = np.repeat(np.arange(len(first)), between)
        step = np.arange(len(many)) - np.repeat(np.cumsum(between) - between, between)
        middle = (place + first + 1)[many] + step
        total += np.bincount(middle, weights=rate[many] * _CELL_US, minlength=pools * size)
    return total.reshape(pools, size)
