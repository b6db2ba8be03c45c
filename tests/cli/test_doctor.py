"""What `tokenmill doctor` finds, and that it says how to mend it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.cli.doctor import machine
from infra.cli.doctor.broker import broker_checks, skew
from infra.cli.doctor.check import Check
from infra.config import Settings
from infra.kafka import Record, admin, write
from infra.topics import apply
from streams.restore import POSITION_KEY
from tests.cli.conftest import Run
from tests.conftest import MakeSettings
from tests.support import Broker

GIB = machine.GIB


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 9), "problem"), ((3, 11, 0), "ok"), ((3, 13, 5), "ok"), ((3, 14, 0), "warning")]
)
def test_python_must_be_one_that_was_tried(version: tuple[int, ...], state: str) -> None:
    assert machine.python(version).state == state


def test_packages_are_there_and_a_missing_or_another_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.packages().state == "ok"
    monkeypatch.setattr(machine, "version_of", lambda name: None if name == "orjson" else "0.15.3")
    found = machine.packages()
    assert (found.state, found.found) == ("problem", "missing: orjson")
    monkeypatch.setattr(machine, "version_of", lambda name: "0.16.0")
    assert "faust-streaming 0.16.0" in machine.packages().found


@pytest.mark.parametrize(("free", "state"), [(GIB - 1, "problem"), (5 * GIB - 1, "warning"), (5 * GIB, "ok")])
def test_little_disk_is_noticed_also_for_a_directory_that_is_not_there_yet(
    free: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def usage(path: Path) -> object:
        asked.append(path)
        return type("Usage", (), {"free": free, "total": 100 * GIB})

    monkeypatch.setattr("shutil.disk_usage", usage)
    assert machine.disk(tmp_path / "not" / "yet").state == state
    assert asked == [tmp_path]


def test_memory_must_hold_a_worker_with_its_window(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable: 3145728 kB\n")
    assert machine.memory(meminfo, 2 * GIB).state == "ok"
    assert machine.memory(meminfo, 2 * GIB + 1).state == "warning"
    assert machine.memory(tmp_path / "nowhere", GIB).state == "warning"


@pytest.mark.parametrize(
    ("log_time", "state", "said"),
    [
        (100.5, "ok", "agrees"),
        (99.0, "ok", "1.0 s ahead of"),
        (103.5, "warning", "2.5 s behind"),
        (30.0, "problem", "70.0 s ahead of"),
        (200.0, "problem", "99.0 s behind"),
    ],
)
def test_the_clock_is_off_only_as_far_as_the_answer_proves(log_time: float, state: str, said: str) -> None:
    found = skew(100.0, log_time, 101.0)
    assert found.state == state
    assert said in found.found


def test_when_nothing_answers_each_is_a_problem_with_its_remedy(
    tokenmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.cli.reach.COMMAND_S", 0.1)
    away = ("--kafka", "127.0.0.1:1", "--clickhouse", "http://127.0.0.1:1")
    ended = tokenmill("doctor", "--json", *away)
    checks = {check["name"]: check for check in json.loads(ended.out)["checks"]}
    assert ended.code == 1
    assert [name for name, check in checks.items() if check["state"] == "problem"] == ["Kafka", "ClickHouse"]
    assert all(check["mend"] for check in checks.values() if check["state"] != "ok")
    shown = tokenmill("doctor", *away)
    assert shown.code == 1
    assert "2 problems" in shown.out


def _states(found: list[Check]) -> dict[str, str]:
    return {check.name: check.state for check in found if check.name != "Kafka"}


@pytest.mark.kafka
def test_topics_are_compared_with_what_they_should_be(broker: Broker, make_settings: MakeSettings) -> None:
    settings = make_settings(broker, partitions="2")
    topics = settings.topics
    missing = list(broker_checks(settings, probe=False))
    assert _states(missing) == {"topics": "problem"}
    assert "tokenmill topics apply" in missing[-1].mend

    apply(settings)
    logs = {f"log of {topic}": "ok" for topic in (topics.usage_events, topics.gpu_samples)}
    assert _states(list(broker_checks(settings, probe=False))) == {"topics": "ok", **logs}
    if broker.real:
        assert _states(list(broker_checks(settings, probe=True)))["clock"] == "ok"
        left = admin(settings).list_topics(timeout=10).topics
        assert not [name for name in left if name.startswith(f"{settings.topic_prefix}tokenmill.doctor")]

    others = make_settings(broker, partitions="3", topic_prefix=settings.topic_prefix, deployment=settings.deployment)
    assert _states(list(broker_checks(others, probe=False)))["partitions"] == "problem"

    _state_of_another_log(settings)
    found = {check.name: check for check in broker_checks(settings, probe=False)}
    strange = found[f"log of {topics.usage_events}"]
    assert strange.state == "problem"
    assert "partitions 1 follows another log" in strange.found


def _state_of_another_log(settings: Settings) -> None:
    write(settings, settings.topics.state, [Record(POSITION_KEY, b'[5,"elsewhere/topic/2",0,null,0,0,[]]', 1)])
