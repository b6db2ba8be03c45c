"""The synthetic workload: the same bytes for a seed, honest totals, and samples that agree with the tokens served."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from infra.errors import ConfigurationError
from producers.workload import Faults, TokenTotals, Workload
from producers.workload.figures import CLASSES, GPU_TYPES, PROFILES
from producers.workload.fleet import IDLE, POOL, pools_of
from producers.workload.load import Served, backlog_after
from producers.workload.requests import no_requests
from schemas.batch import encode_batch
from schemas.kinds import Kind
from schemas.validation import validate

START = datetime(2026, 1, 1, tzinfo=UTC)
MEDIUM = Workload(seed=11, requests=20_000, hours=3, batch_rows=500)


@pytest.fixture(scope="module")
def batches() -> list[pa.RecordBatch]:
    return list(MEDIUM.batches())


@pytest.fixture(scope="module")
def events(batches: list[pa.RecordBatch]) -> list[dict[str, object]]:
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.fixture(scope="module")
def samples() -> list[dict[str, object]]:
    return [row for batch in MEDIUM.gpu_samples() for row in batch.to_pylist()]


def fingerprint(workload: Workload) -> str:
    digest = hashlib.sha256()
    for batch in (*workload.batches(), *workload.gpu_samples()):
        digest.update(encode_batch(batch))
    return digest.hexdigest()


def test_a_seed_fixes_every_byte_also_in_another_process() -> None:
    made = fingerprint(Workload(seed=2, requests=2_000, hours=1))
    assert fingerprint(Workload(seed=2, requests=2_000, hours=1)) == made
    assert fingerprint(Workload(seed=3, requests=2_000, hours=1)) != made
    program = (
        "from tests.producers.test_workload import Workload, fingerprint\n"
        "print(fingerprint(Workload(seed=2, requests=2_000, hours=1)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == made


@pytest.mark.parametrize(
    "workload",
    [
        Workload(requests=1, hours=1),
        Workload(requests=7, tenants=1, models=1, hours=1, nodes=1, batch_rows=1),
        Workload(requests=500, tenants=300, models=7, hours=30, start=datetime(2026, 1, 3, 5, 30, tzinfo=UTC)),
        MEDIUM,
        Workload(requests=120_000, hours=1, seed=3),
        *(Workload(requests=300, hours=2, profile=name) for name in PROFILES),
        Workload(requests=3_000, hours=5, faults=Faults(0.5, 0.5, 1.0, 0.5, 0.5, 0.1)),
        Workload(requests=3_000, hours=5, faults=Faults(0, 0, 0, 0, 0, 0)),
    ],
    ids=["one", "narrow", "wide", "medium", "several chunks an hour", *PROFILES, "all faults", "no faults"],
)
def test_every_event_and_every_sample_is_valid(workload: Workload) -> None:
    assert all(validate(Kind.TOKEN_USAGE, batch).all_good for batch in workload.batches())
    assert all(validate(Kind.GPU_UTILIZATION, batch).all_good for batch in workload.gpu_samples())
    assert workload.expected().unique == workload.requests


def test_expected_totals_are_those_of_the_events(events: list[dict[str, object]]) -> None:
    expected = MEDIUM.expected()
    unique = {(event["source"], event["id"]): event for event in events}
    assert (expected.offered, expected.unique, expected.duplicates) == (
        len(events), len(unique), len(events) - len(unique),
    )  # fmt: skip
    assert expected.unique == 20_000
    assert dict(expected.by_status) == Counter(event["status"] for event in unique.values())
    sums = {False: Counter(), True: Counter()}  # type: dict[bool, Counter[tuple[object, object, str]]]
    for event in unique.values():
        for charged in {False, event["status"] != "error"}:
            for name, column in (
                ("input", "input_tokens"),
                ("cache_read", "cache_read_input_tokens"),
                ("cache_write", "cache_write_input_tokens"),
                ("output", "output_tokens"),
                ("reasoning", "reasoning_output_tokens"),
                ("training", "training_tokens"),
            ):
                sums[charged][event["tenant_id"], event["response_model"], name] += event[column]  # type: ignore[operator]
            sums[charged][event["tenant_id"], event["response_model"], "requests"] += 1
    for charged, by_pair, total in (
        (False, expected.by_tenant_model, expected.tokens),
        (True, expected.charged_by_tenant_model, expected.charged),
    ):
        for (tenant, model), totals in by_pair.items():
            names = ("requests", "input", "cache_read", "cache_write", "output", "reasoning", "training")
            assert totals == TokenTotals(*(sums[charged][tenant, model, name] for name in names))
        assert sum(totals.output for totals in by_pair.values()) == total.output
    assert expected.charged.cache_read > 0
    assert expected.charged.reasoning > 0


def test_what_a_meter_has_to_cope_with_is_in_there(events: list[dict[str, object]]) -> None:
    statuses = Counter(event["status"] for event in events)
    assert statuses["error"] > 300
    assert statuses["aborted"] > 100
    assert {event["gpu_type"] for event in events} == {"H100", "H200", "B200"}
    assert {event["tenant_id"] for event in events} == set(MEDIUM.tenant_ids)
    assert {event["response_model"] for event in events} == set(MEDIUM.model_names)
    assert {event["source"] for event in events} == set(MEDIUM.sources)
    for event in events:
        if event["status"] == "error":
            assert event["output_tokens"] == 0
            assert event["first_token_at"] is None
            assert event["error_type"]


def test_a_retry_follows_its_failed_attempt_with_an_id_of_its_own(events: list[dict[str, object]]) -> None:
    unique = {event["id"]: event for event in events}
    retries = [event for event in unique.values() if event["attempt"] == 2]
    assert len(retries) == 295
    first = {event["request_id"]: event for event in unique.values() if event["attempt"] == 1}
    for retry in retries:
        failed = first[retry["request_id"]]
        assert failed["status"] == "error"
        assert retry["status"] == "success"
        assert retry["started_at"] > failed["ended_at"]  # type: ignore[operator]
        assert (retry["tenant_id"], retry["response_model"]) == (failed["tenant_id"], failed["response_model"])


def test_a_duplicate_is_the_same_event_again_mostly_in_a_later_batch(batches: list[pa.RecordBatch]) -> None:
    seen: dict[str, tuple[int, dict[str, object]]] = {}
    later, runs = [], 0
    before = False
    for number, batch in enumerate(batches):
        assert batch.num_rows <= 500
        assert len(batch["source"].unique()) == 1
        for row in batch.to_pylist():
            again = row["id"] in seen
            if again:
                earlier, content = seen[row["id"]]
                assert content == row
                later.append(number > earlier)
                runs += before
            seen.setdefault(row["id"], (number, row))
            before = again
    assert len(later) == 100
    assert sum(later) > 80
    assert runs > 10  # neighbours that are sent again together


def test_events_arrive_out_of_order_some_of_them_more_than_an_hour_late(events: list[dict[str, object]]) -> None:
    newest = datetime.min.replace(tzinfo=UTC)
    lateness = []
    for event in events:
        ended = event["ended_at"]
        assert isinstance(ended, datetime)
        newest = max(newest, ended)
        lateness.append(newest - ended)
    assert max(lateness) > timedelta(hours=1)
    assert sum(late > timedelta(minutes=1) for late in lateness) > 100


def test_the_clock_and_the_shape_of_the_day() -> None:
    workload = Workload(seed=1, requests=30_000, hours=24, start=START)
    columns = workload.columns
    started = columns.started_us[columns.attempt == 1]
    assert started.min() >= 0
    assert started.max() < 24 * 3600 * 10**6
    assert (np.diff(columns.started_us) >= 0).all()
    hours = columns.started_us // (3600 * 10**6)
    code = np.bincount(hours[columns.kind == 1], minlength=24)
    assert code[19] > 4 * code[9]  # its evening peak against the trough of the morning
    shares = np.bincount(columns.kind, minlength=len(CLASSES)) / len(columns)
    assert shares == pytest.approx([each.share for each in CLASSES], abs=0.001)
    assert np.argmax(np.bincount(columns.tenant)) == 0


def test_token_lengths_have_the_medians_of_their_traces() -> None:
    columns = Workload(seed=1, requests=50_000, hours=6).columns
    for number, (inputs, outputs) in enumerate([(1020, 129), (1469, 13), (6909, 350), (11_587, 69)]):
        rows = (columns.kind == number) & (columns.status == 0)
        assert np.median(columns.input_tokens[rows]) == pytest.approx(inputs, rel=0.1)
        assert np.median(columns.output_tokens[rows]) == pytest.approx(outputs, rel=0.1)
    odd, answered = columns.model % 2 == 1, (columns.output_tokens > 20) & (columns.status == 0)
    thinking = columns.reasoning_tokens[odd & answered] / columns.output_tokens[odd & answered]
    assert np.mean(thinking) == pytest.approx(0.33, abs=0.02)
    assert thinking.max() <= 0.66
    assert not columns.reasoning_tokens[~odd].any()
    agents = columns.kind == 2
    hit = columns.cached_tokens[agents].sum() / columns.input_tokens[agents].sum()
    assert 0.3 < hit < 0.5  # Mooncake: 37 % of the input of conversations


def test_busy_gpu_time_is_the_work_of_the_tokens_served(samples: list[dict[str, object]]) -> None:
    busy: Counter[str] = Counter()
    for sample in samples:
        if sample["tenant_id"] == POOL:
            slices = int(str(sample["mig_profile"] or "7g")[0])
            busy[sample["gpu_type"]] += sample["engine_active_ratio"] * sample["interval_s"] * slices / 7  # type: ignore[index,operator]
    requests, work = MEDIUM.columns, MEDIUM.columns.work()
    pools = pools_of(MEDIUM.fleet, MEDIUM.models)
    for number, gpu_type in enumerate(GPU_TYPES):
        given = int(work[pools.of_deployment[requests.deployment] == number].sum())
        assert given > 0
        assert busy[gpu_type.name] * pools.capacity[number] / pools.gpus[number] == pytest.approx(given, rel=1e-4)
    assert len(requests) == 20_000


def test_samples_of_a_gpu_are_in_time_order_and_energy_is_power_times_time(samples: list[dict[str, object]]) -> None:
    last: dict[object, dict[str, object]] = {}
    for sample in samples:
        key = (sample["gpu_uuid"], sample["mig_instance_id"])
        before = last.get(key)
        if before is not None:
            assert (sample["time"] - before["time"]).total_seconds() == sample["interval_s"]  # type: ignore[operator]
            joules = (sample["energy_mj_counter"] - before["energy_mj_counter"]) / 1000  # type: ignore[operator]
            assert joules > 0
            assert joules == pytest.approx(sample["power_w"] * sample["interval_s"], rel=1e-4)  # type: ignore[operator]
        last[key] = sample
    assert {sample["interval_s"] for sample in samples} == {10.0, 30.0}
    assert len({sample["time"] for sample in last.values()}) == 1


def test_owners_of_gpus_shared_rented_by_the_hour_idle_and_split(samples: list[dict[str, object]]) -> None:
    owners = Counter((sample["tenant_id"], sample["mig_instance_id"] is not None) for sample in samples)
    assert set(owners) == {
        (POOL, False), (IDLE, False), ("tenant-0001", False), ("tenant-0002", False),
        (POOL, True), (IDLE, True), ("tenant-0001", True), ("tenant-0002", True),
    }  # fmt: skip
    before: dict[object, object] = {}
    for sample in samples:
        key = (sample["gpu_uuid"], sample["mig_instance_id"])
        had = before.get(key, IDLE)  # whose was it in the interval that this sample is about?
        assert had != IDLE or sample["engine_active_ratio"] == 0
        assert not str(had).startswith("tenant") or sample["engine_active_ratio"] > 0  # type: ignore[operator]
        before[key] = sample["tenant_id"]
    rented: dict[object, list[datetime]] = {}
    for sample in samples:
        if str(sample["tenant_id"]).startswith("tenant") and sample["mig_instance_id"] is None:
            rented.setdefault(sample["gpu_uuid"], []).append(sample["time"])  # type: ignore[arg-type]
        if sample["tenant_id"] == IDLE and sample["mig_instance_id"] is None and sample["engine_active_ratio"]:
            # The last interval of a lease is reported by the sample that already has the next owner.
            assert isinstance(time := sample["time"], datetime)
            assert (time.minute, time.second) == (0, 0)
    for times in rented.values():
        assert (min(times).minute, min(times).second) == (0, 0)
    boards: dict[object, set[object]] = {}
    for sample in samples:
        if sample["mig_instance_id"] is not None:
            assert sample["gpu_util_ratio"] is None
            boards.setdefault((sample["gpu_uuid"], sample["time"]), set()).add(sample["energy_mj_counter"])
    assert all(len(counters) == 1 for counters in boards.values())


def test_work_beyond_capacity_waits_and_none_is_lost() -> None:
    given = np.array([[150.0, 4_000.0, 0.0, 0.0], [0.0, 10.0, 20.0, 0.0]])
    left = backlog_after(given, np.array([[500.0], [15.0]]), np.array([400.0, 0.0]))
    assert left.tolist() == [[50.0, 3550.0, 3050.0, 2550.0], [0.0, 0.0, 5.0, 0.0]]


def test_all_work_of_a_long_job_is_done_in_the_cells_it_runs_in() -> None:
    pools = pools_of(MEDIUM.fleet, MEDIUM.models)
    served = Served(pools)
    rows = no_requests(1)
    rows.output_tokens[:] = 100
    rows.runs_us[:], rows.ended_us[:] = 4_000_000, 29_000_000
    served.add(rows)
    shares = served.take(10)
    assert served.cell == 1
    shares = np.column_stack((shares, served.take(10 + served.drain() * 10)))
    pool = int(pools.of_deployment[0])
    done = shares[pool] * pools.capacity[pool] * 10
    assert done == pytest.approx([6 / 25 * 10_000, 10 / 25 * 10_000, 9 / 25 * 10_000])


def test_arguments_that_make_no_sense_are_all_named() -> None:
    with pytest.raises(ConfigurationError) as e:
        Workload(requests=0, tenants=-1, start=datetime(2026, 1, 1))
    assert len(e.value.data["problems"]) == 3  # type: ignore[arg-type]
