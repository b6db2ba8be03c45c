"""Sending a trace or a synthetic workload into the log, with progress."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import pyarrow as pa

from infra.cli.outlet import Interrupt, Outlet, Sent
from infra.cli.output import remark
from infra.config import Settings
from producers.trace import Trace
from producers.workload.reservations import Reservations
from producers.workload.workload import Workload
from schemas.kinds import Kind
from schemas.source_rejects import SourceReject

Advance = Callable[[int], None]
"""Called with the number of events that were just handed over."""

_SHOWN_REJECTS = 1_000
_MADE_BEFORE = 1_000_000
"""A workload of up to so many requests is made before the clock starts: what is measured is sending."""


@dataclass(frozen=True, slots=True)
class Fed:
    """What was sent: events and GPU samples that the broker has, the rows of a trace that are no events (the first ones),
    seconds taken, what was not confirmed, and the signal that ended it early."""

    events: int
    samples: int
    rejected: tuple[SourceReject, ...]
    rejected_rows: int
    seconds: float
    sent: Sent
    signal: int | None = None

    @property
    def events_per_s(self) -> int:
        """Events produced per second, confirmed by the broker."""
        return round((self.events + self.samples) / self.seconds) if self.seconds else 0


def show_rejected(fed: Fed) -> None:
    """Report the rows of a trace that are no events, on standard error, each with its file and line."""
    for rejected in fed.rejected:
        remark(f"{rejected.file}, line {rejected.line}: {rejected.reason}")
    if fed.rejected_rows > len(fed.rejected):
        remark(f"... and {fed.rejected_rows - len(fed.rejected):,} more malformed rows: all are dead letters")


def fed_of(sent: Sent, began: float, signal: int | None) -> Fed:
    """What became of everything that was sent since `began` (monotonic seconds)."""
    return Fed(sent.events.delivered, sent.samples.delivered, (), 0, time.monotonic() - began, sent, signal)


def feed_trace(settings: Settings, trace: Trace, advance: Advance, interrupt: Interrupt | None = None) -> Fed:
    """Replay a trace. Raises DeliveryError when the broker did not take everything, unless it is interrupted."""
    rejected: list[SourceReject] = []
    rejected_rows = 0
    began = time.monotonic()
    with Outlet(settings) as outlet:
        for item in trace:
            if interrupt is not None and interrupt.signal:
                break
            if isinstance(item, SourceReject):
                outlet.reject(trace.source, item)
                rejected_rows += 1
                if len(rejected) < _SHOWN_REJECTS:
                    rejected.append(item)
                advance(1)
            else:
                outlet.send(Kind.TOKEN_USAGE, item)
                advance(item.num_rows)
        sent = _close(outlet, interrupt)
    signal = interrupt.signal if interrupt else None
    delivered = sent.events.delivered
    return Fed(delivered, 0, tuple(rejected), rejected_rows, time.monotonic() - began, sent, signal)


def feed_workload(
    settings: Settings,
    workload: Workload,
    advance: Advance,
    interrupt: Interrupt | None = None,
    reservations: Sequence[Reservations] = (),
) -> Fed:
    """Send a workload's events and GPU samples, after what tenants reserve beside it. Raises DeliveryError when the
    broker did not take everything, unless it is interrupted."""
    reserved = ((Kind.TOKEN_USAGE, each.batch()) for each in reservations)
    flow: Iterable[tuple[Kind, pa.RecordBatch]] = chain(reserved, workload.flow())
    if workload.requests <= _MADE_BEFORE:
        flow = list(flow)
    began = time.monotonic()
    with Outlet(settings) as outlet:
        for kind, batch in flow:
            if interrupt is not None and interrupt.signal:
                break
            outlet.send(kind, batch)
            advance(batch.num_rows)
        sent = _close(outlet, interrupt)
    return fed_of(sent, began, interrupt.signal if interrupt else None)


def _close(outlet: Outlet, interrupt: Interrupt | None) -> Sent:
    sent = outlet.close(partial(_interrupted, interrupt))
    return sent if _interrupted(interrupt) else sent.require()


def _interrupted(interrupt: Interrupt | None) -> bool:
    return interrupt is not None and interrupt.signal is not None
