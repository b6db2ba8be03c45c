"""How events reach the log: by which gateway node, how late, in what order, and which of them twice."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from producers.workload.draws import Ints, choose, lookup, stream
from producers.workload.figures import DELAY_S, DUPLICATE_SHARE, VERY_LATE_S, VERY_LATE_SHARE


class DeliveryPlan:
    """The order of all events of a workload, cut into batches; every row once, some of them again in a later batch."""

    def __init__(self, seed: int, ended_us: Ints, nodes: int, batch_rows: int) -> None:
        count = len(ended_us)
        self.nodes = nodes
        self._batch_rows = batch_rows
        self._seed = seed
        self.node: Ints = stream(seed, "nodes").integers(0, nodes, count)
        self._arrival_us = ended_us + _delays_us(seed, count)
        self.duplicated: Ints = np.sort(choose(stream(seed, "duplicates"), count, round(count * DUPLICATE_SHARE)))

    def __iter__(self) -> Iterator[Ints]:
        """The batches of all nodes, by the arrival of their last row: positions of rows, all of one node."""
        return iter(self._batches)

    @cached_property
    def _batches(self) -> list[Ints]:
        batches: list[tuple[int, int, Ints]] = []
        for node in range(self.nodes):
            for rows in self._batches_of(node):
                batches.append((int(self._arrival_us[rows].max()), len(batches), rows))
        return [rows for _, _, rows in sorted(batches, key=lambda batch: batch[:2])]

    def _batches_of(self, node: int) -> list[Ints]:
        """The batches of one node. A row is sent again at least one whole batch after the first time."""
        own = np.flatnonzero(self.node == node)
        own = own[np.argsort(self._arrival_us[own], kind="stable")]
        place = np.empty(len(self.node), dtype=np.int64)
        place[own] = np.arange(len(own))
        again = self.duplicated[self.node[self.duplicated] == node]
        wait = stream(self._seed, f"duplicates of {node}").integers(1, 4, len(again)) * self._batch_rows
        # Those that would be sent after the node's last event make batches of their own: still later ones.
        within = place[again] + wait < len(own)
        sequence = np.concatenate((own, again[within]))
        position = np.concatenate((np.arange(len(own)), place[again[within]] + wait[within]))
        sequence = sequence[np.argsort(position, kind="stable")]
        return [*_cut(sequence, self._batch_rows), *_cut(again[~within], self._batch_rows)]


def _delays_us(seed: int, count: int) -> Ints:
    """From the end of each request to its arrival: mostly below seconds, a few of them for more than an hour."""
    random = stream(seed, "delays")
    delay = lookup(DELAY_S, random.random(count))
    late = choose(random, count, max(1, round(count * VERY_LATE_SHARE)))
    shortest, longest = VERY_LATE_S
    delay[late] = shortest + (longest - shortest) * (0.01 + 0.99 * random.random(len(late)))
    return (delay * 1e6).astype(np.int64)


def _cut(rows: Ints, size: int) -> list[Ints]:
    return [rows[begin : begin + size] for begin in range(0, len(rows), size)]
