"""How events reach the log: by which gateway node, how late, in what order, and which of them twice.

Chunk after chunk: what arrives after the end of a chunk waits here, so the order of arrival is that of the whole workload.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from producers.workload.draws import Floats, Ints, Stream, order_of, quantile_table
from producers.workload.figures import (
    DELAY_S,
    DUPLICATE_RUN,
    LATE_S,
    OUTAGE_CUT_S,
    OUTAGE_SHORTEST_HOURS,
    SKEW_S,
    SPOOL_EVENTS,
    VERY_LATE_S,
)
from producers.workload.requests import Requests, joined, no_requests
from producers.workload.shares import Faults, part_of

_HOUR_US = 3_600 * 10**6


@dataclass(frozen=True, slots=True)
class Outage:
    """A gateway node serves from `cut_us` to `down_us` without reaching the log, is gone until `back_us`, then delivers."""

    node: int
    cut_us: int
    down_us: int
    back_us: int


def outages(seed: int, nodes: int, hours: int, per_hour: float) -> tuple[Outage, ...]:
    """One outage a day, in the first half of the day (or of the workload, if that is shorter)."""
    if hours < OUTAGE_SHORTEST_HOURS:
        return ()
    cut = min(OUTAGE_CUT_S * 10**6, int(SPOOL_EVENTS * nodes / max(per_hour, 1) * _HOUR_US))
    found = []
    for day in range(0, hours, 24):
        length = min(24, hours - day) * _HOUR_US
        if length < OUTAGE_SHORTEST_HOURS * _HOUR_US:
            continue
        stream = Stream(seed, "outage", day)
        begin = day * _HOUR_US + int(length * (0.2 + 0.3 * stream.uniform(1)[0]))
        away = int(length * 0.3) if length < 8 * _HOUR_US else int(2.5 * _HOUR_US)
        found.append(Outage(int(stream.below(nodes, 1)[0]), begin, begin + cut, begin + away))
    return tuple(found)


class Delivery:
    """Passes the requests of each chunk on in order of arrival; remembers those that are on their way."""

    def __init__(self, seed: int, nodes: int, resend_us: int, faults: Faults, outages: tuple[Outage, ...]) -> None:
        self._seed = seed
        self._nodes = nodes
        self._resend_us = resend_us
        self._faults = faults
        self._outages = outages
        self._waiting = no_requests()
        self._delay, self._late, self._very_late = (
            quantile_table(knots, 1e6) for knots in (DELAY_S, LATE_S, VERY_LATE_S)
        )
        self._skew_us = _skews(seed, nodes)
        self._seen = 0
        self.duplicates = 0
        """Events sent again so far, those that are still on their way included."""

    def pass_on(self, chunk: int, made: Requests, until_us: int | None) -> Requests:
        """Of everything that was made so far, what arrives before `until_us` (None: all), in order of arrival."""
        self._send(chunk, made)
        everything = joined((self._waiting, made, self._again(chunk, made)))
        if until_us is None:
            self._waiting = no_requests()
            return everything.rows(order_of(everything.arrival_us))
        due = everything.arrival_us < until_us
        order = order_of(np.where(due, everything.arrival_us, until_us))
        arrived = int(np.count_nonzero(due))
        self._waiting = everything.rows(order[arrived:])
        return everything.rows(order[:arrived])

    def _send(self, chunk: int, made: Requests) -> None:
        """When each event arrives, and what its node's clock says."""
        count = len(made)
        draws = Stream(self._seed, "delays", chunk).shorts(2 * count)
        at, chance = draws[:count], draws[count:]
        delay = self._delay[at]
        late = int(self._faults.late * 2**16)
        # 16 bits are too coarse for the rarest: for them the low ones of the id decide too.
        very_late = int(self._faults.very_late * 2**32)
        for rows, table in (
            (np.flatnonzero(chance < late), self._late),
            (_rarest(chance, made, very_late), self._very_late),
        ):
            delay[rows] = table[at[rows]]
        made.arrival_us[:] = made.ended_us + delay
        for outage in self._outages:
            self._cut_off(outage, made)
        skew = self._skew_us[made.node]
        started = np.maximum(made.started_us + skew, 0)
        made.ended_us[:] = np.maximum(made.ended_us + skew, started)
        first = np.clip(made.first_token_us + skew, started, made.ended_us)
        made.first_token_us[:] = np.where(made.first_token_us < 0, -1, first)
        made.started_us[:] = started

    def _cut_off(self, outage: Outage, made: Requests) -> None:
        own = made.node == outage.node
        held = np.flatnonzero(own & (made.arrival_us >= outage.cut_us) & (made.arrival_us < outage.down_us))
        # A spool is read much faster than it was written.
        made.arrival_us[held] = outage.back_us + (made.arrival_us[held] - outage.cut_us) // 100
        if self._nodes > 1:
            gone = own & (made.arrival_us >= outage.down_us) & (made.arrival_us < outage.back_us)
            made.node[gone] = (outage.node + 1) % self._nodes

    def _again(self, chunk: int, made: Requests) -> Requests:
        """The events that are sent again, later: half of them one by one, half in runs of neighbours of one node."""
        before, after = self._seen, self._seen + len(made)
        self._seen = after
        count = part_of(after, self._faults.duplicated) - part_of(before, self._faults.duplicated)
        self.duplicates += count
        if not count:
            return no_requests()
        stream = Stream(self._seed, "duplicates", chunk)
        chosen = _singles_and_runs(stream.choose(len(made), len(made)), made, count)
        again = made.rows(chosen)
        again.arrival_us += self._resend_us + (self._resend_us * stream.uniform(1)[0]).astype(np.int64)
        again.arrival_us += (self._resend_us * 0.2 * stream.uniform(count)).astype(np.int64)
        return again


def in_batches(rows: Requests, nodes: int, batch_rows: int) -> Iterator[Ints]:
    """Positions of rows (in order of arrival) as the nodes send them: batches of one node, by their last arrival."""
    by_node = np.argsort(rows.node.astype(np.int16), kind="stable")
    borders = np.concatenate(([0], np.cumsum(np.bincount(rows.node, minlength=nodes))))
    batches = [
        by_node[begin : min(begin + batch_rows, int(border))]
        for node, border in enumerate(borders[1:])
        for begin in range(int(borders[node]), int(border), batch_rows)
    ]
    yield from sorted(batches, key=lambda batch: int(batch[-1]))


def _singles_and_runs(shuffled: Ints, made: Requests, count: int) -> Ints:
    """`count` different rows: half of them alone, the others runs of one node's rows that end next to each other."""
    singles = shuffled[: count - count // 2]
    left = count // 2
    taken = np.zeros(len(made), dtype=bool)
    taken[singles] = True
    node = made.node[shuffled[-1]]
    own = np.flatnonzero((made.node == node) & ~taken)
    own = own[order_of(made.ended_us[own])]
    runs = [own[begin : begin + DUPLICATE_RUN] for begin in range(0, len(own), 8 * DUPLICATE_RUN)]
    found = np.concatenate([*runs, shuffled[:0]])[:left]
    taken[found] = True
    rest = shuffled[~taken[shuffled]][: left - len(found)]
    return np.concatenate((singles, found, rest))


def _rarest(chance: Ints | np.ndarray[tuple[int], np.dtype[np.uint16]], made: Requests, limit: int) -> Ints:
    fine = (made.request_id[:, 0] & np.uint64(0xFFFF)).astype(np.int64)
    # The other end of the chances, so that a late event is not drawn twice.
    return np.flatnonzero(((0xFFFF - chance.astype(np.int64)) << 16) + fine < limit)


def _skews(seed: int, nodes: int) -> Ints:
    """How far each node's clock is ahead, in microseconds."""
    usual, worst = SKEW_S
    skews: Floats = (2 * Stream(seed, "clocks").uniform(nodes) - 1) * usual
    if nodes > 1:
        skews[-1] = worst
    return (skews * 1e6).astype(np.int64)
