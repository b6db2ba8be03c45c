from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.errors import ConfigurationError
from infra.faults import EXIT_STATUS, Fault, FaultPlan, PlannedFault, parse_plan, plan_from
from tests.support import eventually

_PROGRAM = """
import sys
from infra.faults import Fault, reach
for number in range(1, 5):
    reach(Fault.SINK_AFTER_INSERT)
    print(number, flush=True)
"""


def _start(plan: str, log: Path) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "TOKENMILL_FAULTS": plan, "TOKENMILL_FAULT_LOG": str(log)}
    return subprocess.Popen([sys.executable, "-c", _PROGRAM], env=environ, stdout=subprocess.PIPE)


def _fired(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize(("action", "status"), [("kill", -signal.SIGKILL), ("exit", EXIT_STATUS)])
def test_a_process_dies_at_the_nth_passage_and_the_log_says_so(tmp_path: Path, action: str, status: int) -> None:
    log = tmp_path / "faults"
    process = _start(f"sink.after_insert=3:{action}", log)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status
    assert output.split() == [b"1", b"2"]
    (entry,) = _fired(log)
    assert (entry["point"], entry["nth"], entry["action"], entry["pid"]) == (
        "sink.after_insert",
        3,
        action,
        process.pid,
    )


def test_a_stopped_process_goes_on_when_it_is_continued(tmp_path: Path) -> None:
    log = tmp_path / "faults"
    process = _start("sink.after_insert=2:stop", log)
    try:
        eventually(lambda: os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT), timeout=60)
        assert [entry["action"] for entry in _fired(log)] == ["stop"]
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, output.split()) == (0, [b"1", b"2", b"3", b"4"])


def test_without_a_plan_nothing_happens(tmp_path: Path) -> None:
    log = tmp_path / "faults"
    process = _start("", log)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.split(), log.exists()) == (0, [b"1", b"2", b"3", b"4"], False)


def test_each_planned_fault_fires_once_and_only_at_its_point(tmp_path: Path) -> None:
    log = tmp_path / "faults"
    plan = FaultPlan(parse_plan("sink.after_intent=1:pause:0, sink.after_insert=2:pause:0.001"), log)
    for _ in range(5):
        plan.reach(Fault.SINK_AFTER_INTENT)
        plan.reach(Fault.SINK_AFTER_INSERT)
        plan.reach(Fault.WORKER_AFTER_COMMIT)
    assert [(entry["point"], entry["nth"]) for entry in _fired(log)] == [
        ("sink.after_intent", 1),
        ("sink.after_insert", 2),
    ]


def test_a_plan_is_read() -> None:
    assert parse_plan("worker.in_transaction=12:kill,emitter.after_produce=1:pause:2.5") == (
        PlannedFault(Fault.WORKER_IN_TRANSACTION, 12, "kill"),
        PlannedFault(Fault.EMITTER_AFTER_PRODUCE, 1, "pause", 2.5),
    )
    assert plan_from({}) is None
    assert plan_from({"TOKENMILL_FAULTS": " "}) is None


@pytest.mark.parametrize(
    "text",
    [
        "nowhere=1:kill",
        "sink.after_insert",
        "sink.after_insert=0:kill",
        "sink.after_insert=1:melt",
        "sink.after_insert=1:pause",
    ],
)
def test_a_plan_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="TOKENMILL_FAULTS"):
        parse_plan(text)
