"""The life of `tokenmill up` once everything is started: until all is ready, until somebody asks it to stop, and its end."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from infra.cli.up.probes import Drain, Left, is_ready
from infra.cli.up.screen import Screen
from infra.cli.up.stack import BROKER, STORE, Stack
from infra.cli.up.upkeep import bound_log, check_memory
from infra.errors import EmbeddedError
from infra.supervisor import Ending, GaveUp, Process, Step, Supervisor

_LOOK_S: Final = 0.2
_UPKEEP_S: Final = 2.0
_REMIND_S: Final = 60.0
_READ_UNTIL_S, _WORKERS_UNTIL_S, _STORED_UNTIL_S, _SINKS_UNTIL_S = 2.0, 4.5, 6.5, 8.0
_STORE_UNTIL_S, _BROKER_UNTIL_S = 9.0, 9.5
"""The end of everything, in seconds from the request; what one step does not need the later ones have."""


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
        remind = time.monotonic() + _REMIND_S
        while self._not_ready and not self._asked:
            self._round()
            self._not_ready = {name: each for name, each in self._not_ready.items() if not is_ready(each.metrics)}
            if self._not_ready and time.monotonic() >= remind:
                self._screen.waiting({name: str(each.log) for name, each in self._not_ready.items()})
                remind = time.monotonic() + _REMIND_S
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

        Where the log goes with the broker, workers and sinks first read what is in it. A further signal ends everything
        at once.
        """
        self._screen.stopping()
        asked = self._asked
        log_is_gone = self._stack.broker is not None and bool(self._stack.broker.part.final)
        workers, sinks = self._drain("worker", log_is_gone), self._drain("sink", log_is_gone)
        ending = Ending(self._supervisor, self._steps(workers, sinks), time.monotonic)
        while not ending.done and self._asked == asked:
            ending.look()
            time.sleep(0.05)
        killed = ending.killed + self._supervisor.kill()
        left = Left(workers.behind, sinks.behind)
        self._screen.stopped(killed, ending.ended_s, left, log_is_gone=log_is_gone)
        return left

    def _drain(self, role: str, wanted: bool) -> Drain:
        services = [service for service in self._stack.services if service.role == role]
        return Drain([service.metrics for service in services] if wanted else (), time.monotonic)

    def _steps(self, workers: Drain, sinks: Drain) -> list[Step]:
        steps = [
            Step(self._stack.names("worker"), _WORKERS_UNTIL_S, workers.done, _READ_UNTIL_S),
            Step(self._stack.names("sink"), _SINKS_UNTIL_S, sinks.done, _STORED_UNTIL_S),
        ]
        if self._stack.store is not None:
            steps.append(Step((STORE,), _STORE_UNTIL_S))
        if self._stack.broker is not None:
            steps.append(Step((BROKER,), _BROKER_UNTIL_S))
        return steps
