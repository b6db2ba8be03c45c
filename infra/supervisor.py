"""Keeping processes running: restarts with back-off, giving up, and an orderly end. A state machine without a clock of its own.

Each look at the processes says what happened since the last one, as events; whoever runs the machine shows and logs them.
A process that ended is started again only after it is gone for good, and after a wait that doubles with each failure in a
row. A run that lasted `steady_s` makes up for the failures before it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from infra.errors import TokenmillError

_TAIL_LINES = 12
_CONFIGURATION = 2
"""The exit code of a process that cannot work as it is configured: starting it again would change nothing."""


class Process(Protocol):
    """A started process."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def exit_status(self) -> int | None:
        """What it ended with (negative: by which signal), None while it runs."""

    def send(self, signal_number: int) -> None:
        """Send a signal; nothing when it has ended."""

    def kill(self) -> None:
        """End it with SIGKILL and wait until it is gone."""

    def log_tail(self, lines: int = 8) -> str:
        """The last lines that it wrote, joined with ' | '."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait before a restart, and how many failures in a row are too many; seconds."""

    first_s: float = 0.5
    longest_s: float = 30.0
    failures: int = 6
    steady_s: float = 60.0

    def wait_s(self, failures: int) -> float:
        """The wait after that many failures in a row."""
        return min(self.first_s * 2.0 ** min(failures - 1, 30), self.longest_s)


@dataclass(frozen=True, slots=True)
class Part:
    """What is kept running: its name, how it is started, and why it cannot be started again, if it cannot."""

    name: str
    start: Callable[[], Process]
    """Starts it; may wait until it serves. Raises TokenmillError when it can't."""
    final: str = ""
    """Not empty: it must not end, and this says what its end means."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process runs; `attempt` counts the starts, from 1."""

    name: str
    pid: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Died:
    """A process ended, or could not be started, and will be started again in `wait_s` seconds. `how` says it in words."""

    name: str
    how: str
    tail: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A process is not started again: nothing will help, or nothing has. `exit_code` is what this is worth to a caller."""

    name: str
    how: str
    tail: str
    why: str
    exit_code: int = 1


Event = Started | Died | GaveUp


class Phase(StrEnum):
    """Where a process is in its life."""

    RUNNING = "running"
    WAITING = "waiting"
    """It ended and will be started again."""
    GIVEN_UP = "given_up"
    ENDED = "ended"
    """It ended because it was told to."""


@dataclass(slots=True)
class _Kept:
    part: Part
    phase: Phase = Phase.WAITING
    process: Process | None = None
    since: float = 0.0
    """When the process was started, or when it is to be."""
    attempts: int = 0
    failures: int = 0
    """In a row."""


class Supervisor:
    """Keeps parts running until it is told to stop them."""

    def __init__(self, clock: Callable[[], float], patience: Patience | None = None) -> None:
        """`clock` gives seconds from any beginning that never go back."""
        self._clock = clock
        self._patience = patience or Patience()
        self._kept: dict[str, _Kept] = {}

    def add(self, part: Part, running: Process | None = None) -> None:
        """Keep one more part, started at the next look; `running`: it was started already."""
        kept = self._kept[part.name] = _Kept(part, since=self._clock())
        if running is not None:
            kept.phase, kept.process, kept.attempts = Phase.RUNNING, running, 1

    def phase(self, name: str) -> Phase:
        """Where a part is."""
        return self._kept[name].phase

    @property
    def processes(self) -> dict[str, Process]:
        """What runs now, by name."""
        return {name: kept.process for name, kept in self._kept.items() if kept.process is not None}

    def look(self) -> list[Event]:
        """Look at every part: notice what ended, start what is due. What happened, in order."""
        happened: list[Event] = []
        for kept in self._kept.values():
            if kept.phase is Phase.RUNNING and kept.process is not None:
                status = kept.process.exit_status
                if status is not None:
                    happened.append(self._ended(kept, kept.process, status))
            elif kept.phase is Phase.WAITING and self._clock() >= kept.since:
                happened.append(self._start(kept))
        return happened

    def _start(self, kept: _Kept) -> Event:
        kept.attempts += 1
        try:
            process = kept.part.start()
        except TokenmillError as error:
            return self._failed(kept, error.message, "", error.exit_code)
        kept.phase, kept.process, kept.since = Phase.RUNNING, process, self._clock()
        return Started(kept.part.name, process.pid, kept.attempts)

    def _ended(self, kept: _Kept, process: Process, status: int) -> Event:
        if self._clock() - kept.since >= self._patience.steady_s:
            kept.failures = 0
        kept.process = None
        return self._failed(kept, described(status), process.log_tail(_TAIL_LINES), status)

    def _failed(self, kept: _Kept, how: str, tail: str, status: int) -> Event:
        name = kept.part.name
        kept.failures += 1
        kept.phase = Phase.GIVEN_UP
        if kept.part.final:
            return GaveUp(name, how, tail, kept.part.final)
        if status == _CONFIGURATION:
            return GaveUp(name, how, tail, "it cannot work as it is configured", _CONFIGURATION)
        if kept.failures >= self._patience.failures:
            return GaveUp(name, how, tail, f"it failed {kept.failures} times in a row")
        wait_s = self._patience.wait_s(kept.failures)
        kept.phase, kept.since = Phase.WAITING, self._clock() + wait_s
        return Died(name, how, tail, wait_s)

    def end(self, names: Sequence[str]) -> None:
        """Ask parts to end, and start them no more."""
        for name in names:
            kept = self._kept[name]
            if kept.phase is Phase.WAITING:
                kept.phase = Phase.ENDED
            elif kept.process is not None and kept.phase is Phase.RUNNING:
                kept.phase = Phase.ENDED
                kept.process.send(signal.SIGTERM)

    def gone(self, names: Sequence[str]) -> bool:
        """Whether none of these parts runs."""
        return all(
            kept.process is None or kept.process.exit_status is not None
            for kept in (self._kept[name] for name in names)
        )

    def kill(self, names: Sequence[str] | None = None) -> list[str]:
        """End parts at once (default: all, the last added first); the names of those that still ran."""
        killed = []
        for name in reversed(self._kept) if names is None else names:
            kept = self._kept[name]
            if kept.phase is not Phase.GIVEN_UP:
                kept.phase = Phase.ENDED
            if kept.process is not None and kept.process.exit_status is None:
                kept.process.kill()
                killed.append(name)
        return killed


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an orderly end: these parts are asked to end, once `first` holds, and killed when `until_s` has passed.

    `until_s` counts from the beginning of the whole end, so what one step saves the next ones have.
    """

    names: tuple[str, ...]
    until_s: float
    first: Callable[[], bool] = lambda: True
    first_until_s: float = 0.0
    """How long `first` is waited for, counted as `until_s`."""


class Ending:
    """The orderly end of a supervisor's parts, step by step; `look` as often as you like until it is `done`."""

    def __init__(self, supervisor: Supervisor, steps: Sequence[Step], clock: Callable[[], float]) -> None:
        self._supervisor, self._clock = supervisor, clock
        self._steps = list(steps)
        self._began = clock()
        self._asked = False
        self.killed: list[str] = []
        """Parts that did not end in their time."""
        self.ended_s: dict[str, float] = {}
        """When each part was gone, in seconds since the beginning of the end."""

    @property
    def done(self) -> bool:
        """Whether every step is over."""
        return not self._steps

    def look(self) -> None:
        """Go on as far as possible without waiting."""
        while self._steps:
            step, passed = self._steps[0], self._clock() - self._began
            if not self._asked:
                if passed < step.first_until_s and not step.first():
                    return
                self._supervisor.end(step.names)
                self._asked = True
            if not self._supervisor.gone(step.names):
                if passed < step.until_s:
                    return
                self.killed += self._supervisor.kill(step.names)
            self.ended_s |= dict.fromkeys(step.names, round(passed, 2))
            self._steps.pop(0)
            self._asked = False


def described(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
