"""Sending a trace or a synthetic workload into the log, with progress."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow as pa

from infra.cli.output import remark
from infra.config import Settings
from producers.emitter import Delivery, Emitter
from producers.rejected import Rejected
from producers.trace import Trace
from producers.workload.workload import Workload
from schemas.kinds import Kind

Advance = Callable[[int], None]
"""Called with the number of events that were just handed over."""

_DELIVERY_S = 120.0
_SHOWN_REJECTS = 1_000


@dataclass(frozen=True, slots=True)
class Fed:
    """What was sent: events offered, GPU samples, the rows of a trace that are no events (the first ones), seconds taken."""

    events: int
    samples: int
    rejected: tuple[Rejected, ...]
    rejected_rows: int
    seconds: float

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


def feed_trace(settings: Settings, trace: Trace, advance: Advance) -> Fed:
    """Replay a trace. Raises DeliveryError when the broker did not take everything."""
    rejected: list[Rejected] = []
    rejected_rows = 0
    began = time.monotonic()
    with Emitter(settings, trace.source) as emitter:
        for item in trace:
            if isinstance(item, Rejected):
                emitter.emit_rejected(item)
                rejected_rows += 1
                if len(rejected) < _SHOWN_REJECTS:
                    rejected.append(item)
                advance(1)
            else:
                emitter.emit_batch(item)
                advance(item.num_rows)
        delivery = emitter.close(_DELIVERY_S).require()
    return Fed(delivery.delivered, 0, tuple(rejected), rejected_rows, time.monotonic() - began)


def feed_workload(settings: Settings, workload: Workload, advance: Advance) -> Fed:
    """Send a workload's events and GPU samples. Raises DeliveryError when the broker did not take everything."""
    # Made before the clock starts: what is measured is sending.
    events, samples = list(workload.batches()), list(workload.gpu_samples())
    began = time.monotonic()
    sent_samples = _send(settings, Kind.GPU_UTILIZATION, iter(samples), advance)
    sent_events = _send(settings, Kind.TOKEN_USAGE, iter(events), advance)
    return Fed(sent_events.delivered, sent_samples.delivered, (), 0, time.monotonic() - began)


def _send(settings: Settings, kind: Kind, batches: Iterator[pa.RecordBatch], advance: Advance) -> Delivery:
    """Each batch by the emitter of its source; a batch comes from one source."""
    delivered = 0
    with ExitStack() as stack:
        emitters: dict[str, Emitter] = {}
        for batch in batches:
            source = batch.column("source")[0].as_py()
            if source not in emitters:
                emitters[source] = stack.enter_context(Emitter(settings, source, kind=kind))
            emitters[source].emit_batch(batch)
            advance(batch.num_rows)
        for emitter in emitters.values():
            delivered += emitter.close(_DELIVERY_S).require().delivered
    return Delivery(delivered, 0, 0)
