"""A workload that follows the clock: as many events as asked at any time, none of them from the future."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile

import numpy as np
import pytest

from infra.errors import ConfigurationError
from producers.workload import Faults
from producers.workload.figures import SKEW_S
from producers.workload.live import LiveWorkload, Stretch
from schemas.kinds import Kind
from schemas.validation import validate

START = datetime(2026, 3, 31, 23, 59, 30, 123_456, tzinfo=UTC)


def first(workload: LiveWorkload, seconds: float) -> list[Stretch]:
    return list(takewhile(lambda stretch: stretch.arrival_s[0] < seconds, workload.stretches()))


@pytest.mark.parametrize(("rate", "seconds"), [(0.5, 900), (40, 300), (600, 60)])
def test_as_many_events_arrive_as_were_asked_for(rate: float, seconds: int) -> None:
    arrived = np.concatenate([each.arrival_s for each in first(LiveWorkload(rate, START), seconds)])
    assert (np.diff(arrived) >= 0).all()
    assert arrived[0] >= 0
    count = int((arrived < seconds).sum())
    assert count == pytest.approx(rate * seconds, abs=4 * (rate * 10) ** 0.5 + 0.01 * rate * seconds)


def test_events_are_valid_and_their_times_follow_the_clock() -> None:
    stretches = first(LiveWorkload(300, START, faults=Faults(very_late=0)), 60)
    ids: list[str] = []
    for stretch in stretches:
        assert validate(Kind.TOKEN_USAGE, stretch.events).all_good
        ids += stretch.events["id"].to_pylist()
        for arrived, ended in zip(stretch.arrival_s, stretch.events["ended_at"].to_pylist(), strict=True):
            behind = arrived - (ended - START).total_seconds()
            assert -SKEW_S[1] <= behind < 961
    assert 0 < len(ids) - len(set(ids)) < 0.02 * len(ids)


def test_samples_begin_with_the_start_and_end_with_the_events_they_come_with() -> None:
    energy: dict[tuple[object, object], int] = {}
    for stretch in first(LiveWorkload(50, START), 200):
        for batch in stretch.samples:
            assert validate(Kind.GPU_UTILIZATION, batch).all_good
            for row in batch.to_pylist():
                assert START <= row["time"] <= START + timedelta(seconds=float(stretch.arrival_s[-1]) + 30)
                assert energy.get((row["gpu_uuid"], row["mig_instance_id"]), -1) < row["energy_mj_counter"]
                energy[row["gpu_uuid"], row["mig_instance_id"]] = row["energy_mj_counter"]
    assert energy


def test_the_same_seed_at_another_time_makes_other_events() -> None:
    runs = [LiveWorkload(100, START + timedelta(minutes=minutes)) for minutes in (0, 0, 1)]
    ids = [set(next(iter(run.stretches())).events["id"].to_pylist()) for run in runs]
    assert ids[0] == ids[1]
    assert not ids[0] & ids[2]


def test_arguments_that_make_no_sense_are_all_named() -> None:
    with pytest.raises(ConfigurationError) as e:
        LiveWorkload(0, START, tenants=0, profile="nonsense", faults=Faults(failed=2))
    assert len(e.value.data["problems"]) == 4  # type: ignore[arg-type]
