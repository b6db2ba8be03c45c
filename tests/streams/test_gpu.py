"""From samples to owners' time: integrated, not counted; exact; the same whatever the batches (knowledge of DCGM, D3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from schemas.batch import decode_batch
from schemas.events import GpuUsage, GpuUtilization
from schemas.headers import header_texts, parse_batch_headers
from schemas.kinds import Kind
from schemas.partitioning import partition_for
from schemas.validation import validate
from streams.gpu_intervals import LONGEST_GAP_US, LastSample, OwnedTime, Samples, integrate, newest_first_seen
from tests.schemas.samples import write_stream
from tests.streams.support import START, Log, Run, batch_of, derived, meter, rate, sample

HOUR_US = 3_600_000_000
SECOND = 1_000_000


def integrated(
    rows: Sequence[tuple[int, str, int, int]], interval_us: int = 30 * SECOND, last: LastSample | None = None
) -> list[OwnedTime]:
    """Rows of (time in s, owner, busy ppm, energy in mJ)."""
    count = len(rows)
    ones = np.ones(count, dtype=np.int64)
    samples = Samples(
        np.array([row[0] * SECOND for row in rows], dtype=np.int64),
        [row[1] for row in rows],
        np.array([row[2] for row in rows], dtype=np.int64),
        ones * interval_us,
        np.array([row[3] for row in rows], dtype=np.int64),
        ones,
        ones,
        ones * 0,
    )
    return integrate(last, samples, HOUR_US)[0]


def summed(pieces: Sequence[OwnedTime]) -> tuple[int, int, int, int]:
    return (
        sum(piece.allocated_us for piece in pieces),
        sum(piece.busy_us for piece in pieces),
        sum(piece.energy_uj for piece in pieces),
        sum(piece.unobserved_us for piece in pieces),
    )


def test_the_worked_example_of_integration() -> None:
    # integrate([(0,.5,1e6),(30,.8,16e6),(60,.6,31e6),(300,.6,5e6)], max_gap 60 s) == (120.0, 78.0, 35000.0, 180.0)
    rows = [
        (0, "a", 500_000, 1_000_000),
        (30, "a", 800_000, 16_000_000),
        (60, "a", 600_000, 31_000_000),
        (300, "a", 600_000, 5_000_000),
    ]
    pieces = integrated(rows, interval_us=20 * SECOND)
    assert len(pieces) == 1
    assert summed(pieces) == (120 * SECOND, 78 * SECOND, 35_000 * SECOND, 180 * SECOND)


def test_busy_time_is_rounded_to_microseconds_half_up() -> None:
    ones, none = np.ones(3, dtype=np.int64), np.full(3, -1, dtype=np.int64)
    times, ratios = np.array([0, 3, 6], dtype=np.int64), np.array([0, 500_000, 400_000], dtype=np.int64)
    samples = Samples(times, ["a"] * 3, ratios, ones * 10, none, ones, ones, ones * 0)
    assert sum(piece.busy_us for piece in integrate(None, samples, HOUR_US)[0]) == 2 + 1


def test_the_first_sample_alone_is_no_time() -> None:
    assert integrated([(5, "a", 1, 1)]) == []
    assert integrate(None, _no_samples(), HOUR_US) == ([], None)


def _no_samples() -> Samples:
    empty = np.empty(0, dtype=np.int64)
    return Samples(empty, [], empty, empty, empty, empty, empty, empty)


def test_an_owner_has_the_gpu_from_its_first_sample_to_the_next_owners_first() -> None:
    pieces = integrated([(0, "a", 0, -1), (30, "a", 0, -1), (60, "b", 0, -1), (90, "b", 0, -1), (120, "a", 0, -1)])
    assert [(piece.owner, piece.start_us // SECOND, piece.end_us // SECOND) for piece in pieces] == [
        ("a", 0, 60),
        ("b", 60, 120),
    ]


def test_time_is_cut_at_hours_and_energy_shared_by_time() -> None:
    pieces = integrated([(3_590, "a", 1_000_000, 0), (3_620, "a", 1_000_000, 3_000), (3_650, "a", 0, 4_000)])
    assert [
        (piece.start_us // SECOND, piece.end_us // SECOND, piece.busy_us // SECOND, piece.energy_uj) for piece in pieces
    ] == [
        (3_590, 3_600, 10, 1_000_000),
        (3_600, 3_650, 20, 3_000_000),
    ]


def test_what_lies_further_back_than_three_intervals_is_unobserved() -> None:
    pieces = integrated([(0, "a", 0, 0), (7_200, "a", 1_000_000, 90)])
    assert [
        (piece.start_us // SECOND, piece.allocated_us // SECOND, piece.unobserved_us // SECOND, piece.energy_uj)
        for piece in pieces
    ] == [
        (0, 0, 3_600, 0),
        (3_600, 90, 3_510, 90_000),
    ]


def test_a_counter_that_fell_was_reset_and_one_that_is_missing_says_nothing() -> None:
    assert (
        summed(integrated([(0, "a", 0, 500), (30, "a", 0, 20), (60, "a", 0, -1), (90, "a", 0, 70), (120, "a", 0, 71)]))[
            2
        ]
        == 21_000
    )


def test_a_silence_of_years_reports_a_week() -> None:
    years = 40 * 365 * 86_400
    pieces = integrated([(0, "a", 0, -1), (years, "a", 0, -1), (years + 30, "a", 0, -1)])
    assert sum(piece.end_us - piece.start_us for piece in pieces) == LONGEST_GAP_US + 30 * SECOND
    assert len(pieces) <= 7 * 24 + 2


def test_only_samples_newer_than_all_before_are_used() -> None:
    times = np.array([5, 3, 5, 6, 6, 2, 9], dtype=np.int64)
    assert newest_first_seen(times, 4).tolist() == [0, 3, 6]
    assert newest_first_seen(times, 9).tolist() == []
    assert newest_first_seen(times[:0], 4).tolist() == []


gpu_samples = st.lists(
    st.tuples(
        st.integers(1, 4_000),  # seconds since the one before
        st.sampled_from(["a", "b", "_pool", None]),
        st.sampled_from([None, 0.0, 0.1234567, 1 / 3, 0.5, 1.0]),
        st.sampled_from([None, 0, 7, 10**9, 10**15]),
        st.sampled_from(["1g.10gb", "3g.40gb", None]),
        st.sampled_from(["H100", "A30"]),
    ),
    min_size=1,
    max_size=25,
)


def made_samples(rows: list[tuple[Any, ...]], uuid: str, mig: str | None) -> list[GpuUtilization]:
    made, at = [], 0
    for step, owner, ratio, energy, profile, gpu_type in rows:
        at += step
        made.append(
            sample(
                at,
                gpu_uuid=uuid,
                mig_instance_id=mig,
                mig_profile=profile,
                tenant_id=owner,
                engine_active_ratio=ratio,
                energy_mj_counter=energy,
                gpu_type=gpu_type,
            )
        )
    return made


def totals(run: Run) -> dict[tuple[Any, ...], tuple[Decimal, ...]]:
    """Sums by what usage is priced by: owner, type and hour; and the GPU."""
    found: dict[tuple[Any, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 4)
    for usage in derived(run):
        key = (
            usage.tenant_id,
            usage.gpu_uuid,
            usage.mig_instance_id,
            usage.gpu_type,
            usage.start.replace(minute=0, second=0, microsecond=0),
        )
        parts = (usage.allocated_gpu_seconds, usage.busy_gpu_seconds, usage.energy_joules, usage.unobserved_seconds)
        found[key] = [old + new for old, new in zip(found[key], parts, strict=True)]
    return {key: tuple(value) for key, value in found.items()}


@examples(max_examples=30, deadline=None)
@given(first=gpu_samples, second=gpu_samples, data=st.data())
def test_sums_do_not_depend_on_batches_or_restarts(first: list[Any], second: list[Any], data: st.DataObject) -> None:
    samples = sorted(
        made_samples(first, "GPU-1", None) + made_samples(second, "GPU-2", "7"), key=lambda each: each.time
    )
    whole = Log()
    whole.batch(samples, source="agent")
    expected = meter(whole.records).all()
    log, left = Log(), list(samples)
    while left:
        size = data.draw(st.integers(1, 8))
        part, left = left[:size], left[size:]
        if data.draw(st.booleans()):
            log.batch(part, source="agent")
        else:
            for each in part:
                log.single(each)
    run = meter(log.records)
    while run.read < len(log.records):
        run.feed(data.draw(st.integers(1, 5)))
        run.flush()
        if data.draw(st.booleans()):
            run.restart()
    assert totals(run) == totals(expected)
    for events in (derived(run), derived(expected)):
        assert not events or not validate(Kind.GPU_USAGE, batch_of(events)).codes.any()
        assert len({event.id for event in events}) == len(events)


@examples(max_examples=40, deadline=None)
@given(gpu_samples)
def test_observed_and_unobserved_time_is_the_time_that_passed(rows: list[Any]) -> None:
    samples = made_samples(rows, "GPU-1", None)
    log = Log()
    log.batch(samples, source="agent")
    usage = derived(meter(log.records).all())
    passed = (samples[-1].time - samples[0].time) // timedelta(microseconds=1)
    assert sum((each.allocated_gpu_seconds + each.unobserved_seconds) * SECOND for each in usage) == passed
    assert sum((each.end - each.start) // timedelta(microseconds=1) for each in usage) == passed
    busy = Fraction(0)
    for before, after in pairwise(samples):
        seconds = min(
            Fraction((after.time - before.time) // timedelta(microseconds=1), SECOND), 3 * Fraction(after.interval_s)
        )
        busy += seconds * Fraction(after.engine_active_ratio or 0)
    error = abs(sum(Fraction(each.busy_gpu_seconds) for each in usage) - busy)
    assert error <= len(samples) * Fraction(1, 100), "measured ratios are taken to a millionth"
    for each in usage:
        assert 0 <= each.busy_gpu_seconds <= each.allocated_gpu_seconds
        assert each.start < each.end <= each.start.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def test_owners_pools_and_idle_time_go_to_their_partitions_numbered_by_the_record() -> None:
    gpu = next(f"GPU-{number}" for number in range(99) if partition_for(f"GPU-{number}", 5) == 0)
    log = Log()
    for at, owner in enumerate(["acme", "globex", None, "_pool", "acme", "acme"]):
        log.batch([sample(30.0 * at, tenant_id=owner, gpu_uuid=gpu)], source="agent")
    run = meter(log.records, partitions=5).all()
    found = []
    for record in run.to(run.made.topics.usage_events):
        headers = parse_batch_headers(header_texts(record.headers))
        (row,) = decode_batch(Kind.GPU_USAGE, record.value or b"").to_pylist()
        assert record.partition == partition_for(row["tenant_id"], 5)
        found.append((row["tenant_id"], headers.source, headers.number, headers.numbering.value))
    owners = ["acme", "globex", "_idle", "_pool", "acme"]
    assert found == [(owner, "gpu-meter/0", number + 1, "offset") for number, owner in enumerate(owners)]


def test_stale_samples_are_excluded_with_their_place() -> None:
    log = Log()
    log.batch([sample(0), sample(60), sample(30), sample(60)], source="agent")
    log.batch([sample(60), sample(90)], source="agent")
    run = meter(log.records).all()
    assert [(row["offset"], row["row"], row["outcome"]) for row in run.excluded()] == [
        (0, 2, "stale_sample"),
        (0, 3, "stale_sample"),
        (1, 0, "stale_sample"),
    ]
    assert sum(each.allocated_gpu_seconds for each in derived(run)) == 90


def test_samples_ahead_of_the_log_and_bad_ones_are_dead_letters_and_change_nothing() -> None:
    log = Log(log_time_us=int(START.timestamp() * 1e6))
    log.batch([sample(0), sample(300), sample(301)], source="agent")
    bad = sample(330).model_dump() | {"interval_s": float("nan"), "energy_mj_counter": None}
    columns = {name: [value] for name, value in bad.items() if value is not None}
    columns["source_kind"], columns["gpu_uuid"] = ["dcgm"], ["GPU-1"]
    log.append(write_stream(pa.RecordBatch.from_pydict(columns)), log.batch([sample(0)], source="x").headers.items())
    log.append(b"{", [("content-type", b"application/cloudevents+json")])
    run = meter(log.records).all()
    assert run.dead_codes() == {"future_event": 1, "invalid_interval_s": 1, "undecodable": 1}
    assert sum(each.allocated_gpu_seconds + each.unobserved_seconds for each in derived(run)) == 300


def test_instances_of_one_board_are_metered_apart_and_share_its_energy() -> None:
    log = Log()
    for at in (0, 30):
        counter = 7_000 if at else 0
        log.batch(
            [
                sample(
                    at, mig_instance_id="1", mig_profile="1g.10gb", engine_active_ratio=1.0, energy_mj_counter=counter
                ),
                sample(at, mig_instance_id="2", mig_profile="2g.20gb", tenant_id="globex", energy_mj_counter=counter),
                sample(at, mig_instance_id="3", mig_profile="?", tenant_id="initech", energy_mj_counter=counter),
                sample(
                    at,
                    gpu_uuid="GPU-2",
                    gpu_type="A30",
                    mig_instance_id="3",
                    mig_profile="4g.24gb",
                    energy_mj_counter=counter,
                ),
                sample(at, gpu_uuid="GPU-3", mig_profile="1g.10gb", energy_mj_counter=counter),
            ],
            source="agent",
        )
    found = {
        (each.gpu_uuid, each.mig_instance_id): (each.tenant_id, each.gpu_type, int(each.energy_joules))
        for each in derived(meter(log.records).all())
    }
    assert found == {
        ("GPU-1", "1"): ("acme", "H100/1g.10gb", 1),
        ("GPU-1", "2"): ("globex", "H100/2g.20gb", 2),
        ("GPU-1", "3"): ("initech", "H100/?", 7),
        ("GPU-2", "3"): ("acme", "A30/4g.24gb", 7),
        ("GPU-3", None): ("acme", "H100", 7),
    }


@pytest.mark.parametrize("profile", ["²g.20gb", "99999999999999999999g.1gb", "0g.1gb", "g.", "-1g.5gb", "7g.80gb" * 30])
def test_profiles_of_any_text_break_nothing(profile: str) -> None:
    log = Log()
    log.batch(
        [
            sample(
                at, id=str(at), mig_instance_id="x" * 256, mig_profile=profile, gpu_uuid="u" * 256, gpu_type="t" * 256
            )
            for at in (0, 30)
        ],
        source="agent",
    )
    (usage,) = derived(meter(log.records).all())
    assert usage.allocated_gpu_seconds == 30
    assert len(usage.id) <= 512


def test_a_dictionary_that_names_a_gpu_twice_is_one_gpu() -> None:
    batch = batch_of([sample(at) for at in (0, 30, 60, 90)])
    at = batch.schema.get_field_index("gpu_uuid")
    columns = batch.columns
    columns[at] = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, 1], pa.int32()), pa.array(["GPU-1", "GPU-1"]))
    log = Log()
    log.append(
        write_stream(pa.RecordBatch.from_arrays(columns, names=batch.schema.names)),
        log.batch([sample(0)], source="agent", kind=str(Kind.GPU_UTILIZATION)).headers.items(),
    )
    run = meter(log.records[1:]).all()
    assert sum(each.allocated_gpu_seconds for each in derived(run)) == 90
    assert run.excluded() == []


def test_many_gpus_that_come_back_after_a_week_fill_several_records_that_all_count() -> None:
    log = Log()
    for at in (0, 6 * 86_400):
        log.batch([sample(at, gpu_uuid=f"GPU-{number}") for number in range(80)], source="agent")
    run = meter(log.records).all()
    moved = run.to(run.made.topics.usage_events)
    assert len(moved) > 1
    usage_log = Log()
    for record in [*moved, *moved]:
        usage_log.append(record.value or b"", record.headers)
    rated = rate(usage_log.records).all(1)
    rows = 80 * 6 * 24
    assert rated.outcomes() == {"unrated": 80, "rated": rows - 80, "duplicate": rows}


def test_derived_usage_depends_on_its_record_and_the_state_before_it_alone() -> None:
    log = Log()
    for at in range(6):
        log.batch([sample(1_000.0 * at), sample(1_000.0 * at + 400)], source="agent")
    one, other = meter(log.records).all(1), meter(log.records)
    other.feed(3)
    other.flush()
    other.restart()
    other.all()
    values = [
        [(record.value, record.headers) for record in run.to(run.made.topics.usage_events)] for run in (one, other)
    ]
    assert values[0] == values[1]


def test_counters_that_jump_about_cost_energy_and_not_the_time() -> None:
    log = Log()
    log.batch([sample(30.0 * at, energy_mj_counter=10**15 if at % 2 else 0) for at in range(10)], source="agent")
    usage: list[GpuUsage] = derived(meter(log.records).all())
    assert sum(each.allocated_gpu_seconds for each in usage) == 270
    assert sum(each.energy_joules for each in usage) == 0


def test_the_window_size_of_the_deployment_cuts_the_usage() -> None:
    log = Log()
    log.batch([sample(30.0 * at) for at in range(121)], source="agent")
    usage = derived(meter(log.records, window_minutes=15).all())
    assert [each.start for each in usage] == [
        datetime(2026, 1, 10, 0, minute, tzinfo=UTC) for minute in (0, 15, 30, 45)
    ]
    assert {each.allocated_gpu_seconds for each in usage} == {900}


def test_samples_on_another_gpus_partition_are_sent_to_their_own_and_measured_there_once() -> None:
    mine, far = (next(f"GPU-{n}" for n in range(99) if partition_for(f"GPU-{n}", 3) == wanted) for wanted in (0, 1))
    log = Log()
    for second in (0, 30, 60):
        log.batch([sample(second, gpu_uuid=gpu) for gpu in (mine, far)], number=second + 1)
        log.single(sample(second + 10, gpu_uuid=far))
    here = meter(log.records, partitions=3).all()
    assert {usage.gpu_uuid for usage in derived(here)} == {mine}
    assert [row["outcome"] for row in here.excluded()] == ["rerouted"] * 6
    moved = here.to(here.made.topics.gpu_samples)
    assert {record.partition for record in moved} == {1}
    there = Log()
    for record in sorted([*moved, *moved], key=lambda record: len(record.headers)):
        there.append(record.value or b"", record.headers)
    assert {usage.gpu_uuid for usage in derived(meter(there.records, 1, partitions=3).all())} == {far}
