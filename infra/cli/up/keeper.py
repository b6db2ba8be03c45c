"""The life of `tokenmill up` once everything is started: until all is ready, until somebody asks it to stop, and its end."""

from __future__ import annotations

import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

from infra.cli.up.screen import Screen
from infra.cli.up.stack import BROKER, STORE, Service, Stack
from infra.cli.up.upkeep import bound_log, check_memory
from infra.errors import EmbeddedError, TokenmillError
from infra.lag import consumer_lag
from infra.supervisor import Ending, GaveUp, Process, Step, Supervisor
from sinks.kafka_log import group_of
from sinks.runner import topic_sinks
from streams.transactions import group_id

_LOOK_S: Final = 0.2
_UPKEEP_S: Final = 2.0
_WORKERS_UNTIL_S, _DRAIN_UNTIL_S, _SINKS_UNTIL_S, _STORE_UNTIL_S, _BROKER_UNTIL_S = 4.5, 7.0, 8.0, 9.3, 9.8
"""The end of everything, in seconds from the request; what one step does not need the later ones have."""


@dataclass(frozen=True, slots=True)
class Left:
    """What was in the log and not read when everything stopped: by the workers and by the sinks; None: not known."""

    unrated: int | None = None
    unstored: int | None = None


class Keeper:
    """Looks after a stack. Signals are its own from `__enter__` on: the first asks for the end, the second does not wait."""

    def __init__(self, stack: Stack, supervisor: Supervisor, screen: Screen, log_limit: int) -> None:
        """`log_limit`: bytes that an embedded broker may have."""
        self._stack, self._supervisor, self._screen, self._log_limit = stack, supervisor, screen, log_limit
        self._asked = 0
        self._starting = False
        self._not_ready = {service.name: service for service in stack.services}
        self._next_upkeep = 0.0

    def __enter__(self) -> Keeper:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        for running in (self._stack.broker, self._stack.store):
            if running is not None:
                self._supervisor.add(running.part, running.process)
        for service in self._stack.services:
            self._supervisor.add(self._stack.part(service))
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.kill()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # all is gone: there is nothing left to interrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1
        if self._starting:
            raise KeyboardInterrupt

    @property
    def processes(self) -> dict[str, Process]:
        """What runs now."""
        return self._supervisor.processes

    def until_ready(self) -> bool:
        """Look after the parts until each worker and sink has its share of the work. False: asked to stop before that.

        Raises EmbeddedError when a part is given up.
        """
        while self._not_ready and not self._asked:
            self._round()
            self._not_ready = {name: each for name, each in self._not_ready.items() if not is_ready(each)}
        return not self._asked

    def until_asked(self) -> None:
        """Look after the parts until a signal comes. Raises EmbeddedError when a part is given up or the log is too large."""
        while not self._asked:
            self._round()

    def _round(self) -> None:
        with self._interruptible():
            for event in self._supervisor.look():
                self._screen.event(event, self._log_of(event.name))
                if isinstance(event, GaveUp):
                    raise EmbeddedError(
                        f"{event.name} {event.how}; {event.why} (log: {self._log_of(event.name)})",
                        code="given_up",
                        exit_code=event.exit_code,
                    )
        if time.monotonic() >= self._next_upkeep:
            self._upkeep()
            self._next_upkeep = time.monotonic() + _UPKEEP_S
        time.sleep(_LOOK_S)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Starting a broker or a store again may take long: a signal ends the wait."""
        self._starting = True
        try:
            yield
        except KeyboardInterrupt:
            pass
        finally:
            self._starting = False

    def _upkeep(self) -> None:
        broker = self._stack.broker
        if broker is not None and broker.part.final and BROKER in self.processes:
            check_memory(self.processes[BROKER].pid, self._log_limit)
        for service in self._stack.services:
            bound_log(service.log)
        for running in (self._stack.broker, self._stack.store):
            if running is not None:
                bound_log(running.log)

    def _log_of(self, name: str) -> str:
        logs = {service.name: service.log for service in self._stack.services}
        for running in (self._stack.broker, self._stack.store):
            if running is not None:
                logs[running.part.name] = running.log
        return str(logs[name])

    def stop(self) -> Left:
        """End everything in order, within ten seconds: workers commit, sinks store the rest, then ClickHouse, then the broker.

        A further signal ends everything at once.
        """
        self._screen.stopping()
        asked = self._asked
        keeps = self._stack.broker is None or not self._stack.broker.part.final
        drain = _Drain(self._stack, enough=keeps)
        ending = Ending(self._supervisor, self._steps(drain), time.monotonic)
        while not ending.done and self._asked == asked:
            ending.look()
            time.sleep(0.05)
        killed = ending.killed + self._supervisor.kill()
        self._screen.stopped(killed, drain.left, log_is_gone=not keeps)
        return drain.left

    def _steps(self, drain: _Drain) -> list[Step]:
        workers, sinks = self._stack.names("worker"), self._stack.names("sink")
        steps = [
            Step(workers, _WORKERS_UNTIL_S),
            Step(sinks, _SINKS_UNTIL_S, drain.done, _DRAIN_UNTIL_S),
        ]
        if self._stack.store is not None:
            steps.append(Step((STORE,), _STORE_UNTIL_S))
        if self._stack.broker is not None:
            steps.append(Step((BROKER,), _BROKER_UNTIL_S))
        return steps


class _Drain:
    """Waits, beside the end, until the sinks have stored what the workers committed last.

    Only where the log goes with the broker: another one keeps it, and the next sink goes on where this one stopped.
    """

    def __init__(self, stack: Stack, *, enough: bool) -> None:
        """`enough`: nothing needs to be waited for."""
        self._settings = stack.settings
        self._groups = {
            "unrated": (
                group_id(stack.settings),
                (stack.settings.topics.gpu_samples, stack.settings.topics.usage_events),
            ),
            "unstored": (group_of(stack.settings), tuple(topic_sinks(stack.settings))),
        }
        self._done = threading.Event()
        self._asked = False
        self.left = Left()
        if enough:
            self._done.set()

    def done(self) -> bool:
        """Whether nothing is left to wait for; the first call begins to look."""
        if not self._asked and not self._done.is_set():
            self._asked = True
            threading.Thread(target=self._watch, name="drain", daemon=True).start()
        return self._done.is_set()

    def _watch(self) -> None:
        try:
            while not self._done.is_set():
                unstored = self._behind("unstored")
                self.left = Left(self.left.unrated, unstored)
                if unstored == 0:
                    self.left = Left(self._behind("unrated"), 0)
                    return
        except TokenmillError:
            pass  # the broker does not answer any more: what is left is then not known
        finally:
            self._done.set()

    def _behind(self, which: str) -> int:
        group, topics = self._groups[which]
        return sum(sum(consumer_lag(self._settings, group, topic).values()) for topic in topics)


def is_ready(service: Service, opened: Callable[..., object] = urllib.request.urlopen) -> bool:
    """Whether a service says that it has its share of the work."""
    try:
        opened(f"http://{service.metrics}/readyz", timeout=0.5)
    except (OSError, urllib.error.URLError):
        return False
    return True
