"""Named fault points: places where a test makes a process die, freeze or wait, and can prove that it did.

Without a plan `reach` does nothing. A plan is the environment variable `TOKENMILL_FAULTS`, a comma-separated list of
`point=nth:action`: at the nth time (counted from 1, per process) this process reaches `point`, do `action`, once:

    kill            SIGKILL to this process
    stop            SIGSTOP to this process; it goes on when somebody sends SIGCONT
    exit            os._exit(70): no cleanup, no flush
    pause:SECONDS   the calling thread sleeps

Each firing is appended to the file `TOKENMILL_FAULT_LOG` (stderr when unset) as one JSON line, and forced to disk,
before the action happens: `{"point", "nth", "action", "pid", "time"}`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from infra.errors import ConfigurationError

PLAN_VARIABLE = "TOKENMILL_FAULTS"
LOG_VARIABLE = "TOKENMILL_FAULT_LOG"
EXIT_STATUS = 70
"""What `exit` exits with (EX_SOFTWARE of sysexits.h), so that a test can tell it from an ordinary failure."""


class Fault(StrEnum):
    """The fault points. A new one comes with a test that proves it happens and that the invariant holds."""

    WORKER_BEFORE_SEND_OFFSETS = "worker.before_send_offsets"
    """Records of a flush are produced, the source offset is not yet part of the transaction."""
    WORKER_IN_TRANSACTION = "worker.in_transaction"
    """Everything of a flush is produced and flushed, the transaction is not committed."""
    WORKER_AFTER_COMMIT = "worker.after_commit"
    """The transaction is committed, Faust's events are not acknowledged."""
    SINK_AFTER_INTENT = "sink.after_intent"
    """The intended range is in the commit metadata, nothing is inserted."""
    SINK_DURING_INSERT = "sink.during_insert"
    """One table holds the rows of a range, the next one does not yet."""
    SINK_AFTER_INSERT = "sink.after_insert"
    """The rows are in ClickHouse, the offsets are not committed."""
    EMITTER_AFTER_PRODUCE = "emitter.after_produce"
    """A batch is produced, its delivery is not confirmed."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One entry of a plan: at the `nth` time that `point` is reached, do `action` (`seconds` only for pause)."""

    point: Fault
    nth: int
    action: str
    seconds: float = 0.0


_ENTRY = re.compile(
    r"(?P<point>[a-z_.]+)=(?P<nth>[1-9][0-9]*):(?P<action>kill|stop|exit|pause:(?P<s>[0-9]+(\.[0-9]+)?))"
)


def parse_plan(text: str) -> tuple[PlannedFault, ...]:
    """Read a plan as described in the module's docstring.

    Raises ConfigurationError that names the entry which cannot be read.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    return tuple(_parse_entry(entry) for entry in entries)


def _parse_entry(entry: str) -> PlannedFault:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ConfigurationError(
            f"{PLAN_VARIABLE}: {entry!r} is not point=nth:action with action kill, stop, exit or pause:SECONDS",
            code="fault_plan",
        )
    try:
        point = Fault(match["point"])
    except ValueError:
        known = ", ".join(Fault)
        raise ConfigurationError(
            f"{PLAN_VARIABLE}: no fault point {match['point']!r}; there are {known}", code="fault_plan"
        ) from None
    seconds = float(match["s"]) if match["s"] else 0.0
    return PlannedFault(point, int(match["nth"]), match["action"].partition(":")[0], seconds)


class FaultPlan:
    """Counts how often each point was reached and fires what is planned. Safe to use from several threads."""

    def __init__(self, planned: tuple[PlannedFault, ...], log: Path | None) -> None:
        self._planned = planned
        self._log = log
        self._reached: dict[Fault, int] = {}
        self._lock = threading.Lock()

    def reach(self, point: Fault) -> None:
        """Count one passage of `point`; log and perform the faults planned for exactly this passage."""
        with self._lock:
            nth = self._reached.get(point, 0) + 1
            self._reached[point] = nth
            due = [fault for fault in self._planned if fault.point is point and fault.nth == nth]
            for fault in due:
                self._write(fault)
        for fault in due:
            _perform(fault)

    def _write(self, fault: PlannedFault) -> None:
        line = json.dumps(
            {
                "point": fault.point.value,
                "nth": fault.nth,
                "action": fault.action,
                "pid": os.getpid(),
                "time": datetime.now(UTC).isoformat(),
            }
        )
        if self._log is None:
            print(f"fault {line}", file=sys.stderr, flush=True)  # noqa: T201
            return
        descriptor = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _perform(fault: PlannedFault) -> None:
    if fault.action == "pause":
        time.sleep(fault.seconds)
    elif fault.action == "exit":
        os._exit(EXIT_STATUS)
    else:
        os.kill(os.getpid(), signal.SIGKILL if fault.action == "kill" else signal.SIGSTOP)
        # The signal may be taken by another thread a moment later: this one must not run past the point meanwhile.
        time.sleep(0.1)


_active: FaultPlan | None = None
_loaded = False
_load_lock = threading.Lock()


def plan_from(environ: Mapping[str, str]) -> FaultPlan | None:
    """The plan that `environ` holds, None without one. Raises ConfigurationError for a plan that cannot be read."""
    text = environ.get(PLAN_VARIABLE, "").strip()
    if not text:
        return None
    log = environ.get(LOG_VARIABLE, "").strip()
    return FaultPlan(parse_plan(text), Path(log) if log else None)


def reach(point: Fault) -> None:
    """Say that the program is at `point`. Does nothing unless a plan (read once, at the first call) names it."""
    global _active, _loaded
    if not _loaded:
        with _load_lock:
            if not _loaded:
                _active = plan_from(os.environ)
                _loaded = True
    if _active is not None:
        _active.reach(point)
