"""What leads into the log: one emitter per source, what became of everything together, and an end by a signal."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType, TracebackType
from typing import Self

import pyarrow as pa

from infra.config import Settings
from producers.emitter import Delivery, Emitter
from schemas.kinds import Kind
from schemas.source_rejects import SourceReject

GPU_COLLECTOR = "collector/gpu"
"""Source of the batches that carry the samples of all GPU nodes; each sample names its own agent."""

_DELIVERY_S = 120.0
_HURRIED_S = 10.0
_STEP_S = 0.25


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of the events and of the GPU samples."""

    events: Delivery
    samples: Delivery

    @property
    def together(self) -> Delivery:
        """Both in one."""
        return _added([self.events, self.samples])

    def require(self) -> Self:
        """This if the broker has everything. Raises DeliveryError otherwise."""
        self.together.require()
        return self


class Outlet:
    """Sends batches by the emitter of their source, GPU samples through one collector. Close it, or use it with `with`."""

    def __init__(self, settings: Settings, linger_s: float | None = None) -> None:
        self._settings = settings
        self._linger_s = linger_s
        self._emitters: dict[tuple[Kind, str], Emitter] = {}

    def send(self, kind: Kind, batch: pa.RecordBatch, source: str | None = None) -> None:
        """A batch of one source, or one that a collector (`source`) has packed."""
        if source is None:
            source = GPU_COLLECTOR if kind == Kind.GPU_UTILIZATION else batch.column("source")[0].as_py()
        self._emitter(kind, source).emit_batch(batch)

    def reject(self, source: str, rejected: SourceReject) -> None:
        """Input that is no event."""
        self._emitter(Kind.TOKEN_USAGE, source).emit_rejected(rejected)

    def delivered(self) -> int:
        """Events and samples that the broker has confirmed so far."""
        return sum(each.delivery().delivered for each in self._emitters.values())

    def close(self, hurried: Callable[[], bool] = lambda: False) -> Sent:
        """Send what waits, and say what became of everything. Waits at most 120 s, 10 s once `hurried` says so."""
        for emitter in self._emitters.values():
            emitter.flush(0)
        began = time.monotonic()
        while waiting := [each for each in self._emitters.values() if each.delivery().pending]:
            if time.monotonic() - began > (_HURRIED_S if hurried() else _DELIVERY_S):
                break
            waiting[0].flush(_STEP_S)
        closed = {place: emitter.close(_STEP_S) for place, emitter in self._emitters.items()}
        samples = [delivery for (kind, _), delivery in closed.items() if kind == Kind.GPU_UTILIZATION]
        events = [delivery for (kind, _), delivery in closed.items() if kind != Kind.GPU_UTILIZATION]
        return Sent(_added(events), _added(samples))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for emitter in self._emitters.values():
            emitter.close(0.0 if error is not None else _DELIVERY_S)

    def _emitter(self, kind: Kind, source: str) -> Emitter:
        place = (kind, source)
        if place not in self._emitters:
            self._emitters[place] = Emitter(self._settings, source, kind=kind, linger_s=self._linger_s)
        return self._emitters[place]


class Interrupt:
    """The first Ctrl-C, SIGTERM or SIGHUP asks for an end and is noted in `signal`; a second one ends at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._asked = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until a signal comes; whether one has."""
        return self._asked.wait(max(0.0, seconds))

    def note(self, number: int, frame: FrameType | None) -> None:
        """What a signal does."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        self._asked.set()


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Signals end what runs in this block in good order. One that is ignored (nohup) stays so."""
    interrupt = Interrupt()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    heard = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in heard:
        signal.signal(number, interrupt.note)
    try:
        yield interrupt
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)


def _added(deliveries: list[Delivery]) -> Delivery:
    total = partial(_sum, deliveries)
    reasons = tuple(dict.fromkeys(reason for each in deliveries for reason in each.reasons))
    return Delivery(total("delivered"), total("failed"), total("pending"), reasons, total("delivered_bytes"))


def _sum(deliveries: list[Delivery], name: str) -> int:
    return sum(getattr(each, name) for each in deliveries)
