"""Sending a synthetic workload by the clock: so many events a second, no more and no fewer."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from infra.cli.feeding import Fed, fed_of
from infra.cli.outlet import Interrupt, Outlet
from infra.config import Settings
from producers.workload.live import LiveWorkload
from schemas.kinds import Kind

COLLECTOR = "collector/usage"
"""Source of the batches that carry the events of all gateways; each event names its own gateway."""

_TICK_S = 0.1
_LINGER_S = 1.0
"""A node with little traffic lingers longer than the setting says: batches of a few events would be mostly headers."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop: after so many seconds, after so many events; None means never."""

    seconds: float | None
    events: int | None

    def due(self, rate: float, elapsed_s: float) -> int:
        """How many events are to be sent by now."""
        if self.seconds is not None:
            elapsed_s = min(elapsed_s, self.seconds)
        due = int(rate * elapsed_s)
        return due if self.events is None else min(due, self.events)

    def total(self, rate: float) -> int | None:
        """How many events it will be in all, None without end."""
        bounds = [self.events] if self.events is not None else []
        if self.seconds is not None:
            bounds.append(int(rate * self.seconds))
        return min(bounds, default=None)


def feed_live(
    settings: Settings,
    workload: LiveWorkload,
    limits: Limits,
    advance: Callable[[int], None],
    interrupt: Interrupt,
) -> Fed:
    """Send events at the workload's rate until a limit or a signal. Raises DeliveryError when the broker did not take
    everything, unless it is interrupted."""
    queue = _Queue(workload)
    queue.first()  # making the first events takes a moment; the clock starts after it
    total = limits.total(workload.rate)
    began = time.monotonic()
    sent = 0
    with Outlet(settings, max(settings.linger_s, _LINGER_S)) as outlet:
        while (total is None or sent < total) and interrupt.signal is None:
            due = limits.due(workload.rate, time.monotonic() - began) - sent
            for kind, batch in queue.next(due):
                outlet.send(kind, batch, COLLECTOR if kind == Kind.TOKEN_USAGE else None)
            sent += max(0, due)
            advance(max(0, due))
            interrupt.wait(max(_TICK_S, (sent + 1) / workload.rate - (time.monotonic() - began)))
        result = outlet.close(lambda: interrupt.signal is not None)
    return fed_of(result if interrupt.signal else result.require(), began, interrupt.signal)


class _Queue:
    """Events one after the other, and GPU samples once the time that they tell of has passed."""

    def __init__(self, workload: LiveWorkload) -> None:
        self._stretches = workload.stretches()
        self._events: pa.RecordBatch | None = None
        self._samples: list[pa.RecordBatch] = []

    def first(self) -> None:
        """Have the first events ready."""
        if self._events is None:
            stretch = next(self._stretches)
            self._events, self._samples = stretch.events, stretch.samples

    def next(self, count: int) -> Iterator[tuple[Kind, pa.RecordBatch]]:
        """The next `count` events, and what samples have become due with them."""
        while count > 0:
            self.first()
            assert self._events is not None  # noqa: S101  # first() has seen to it
            piece = self._events.slice(0, count)
            self._events = self._events.slice(piece.num_rows)
            count -= piece.num_rows
            if piece.num_rows:
                yield Kind.TOKEN_USAGE, piece
            if not self._events.num_rows:
                for batch in self._samples:
                    yield Kind.GPU_UTILIZATION, batch
                self._events = None
