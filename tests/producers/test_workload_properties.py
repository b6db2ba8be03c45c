"""Any workload: whole, valid, with the shares that were asked for; what is late, cut off or skewed stays within limits."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.workload import Faults, Workload
from producers.workload.arrivals import CELL_S, CHUNK_ROWS, HOUR_S, SteadyTimetable, Timetable
from producers.workload.delivery import outages
from producers.workload.figures import CLASSES, PROFILES, SKEW_S
from producers.workload.requests import Requests
from producers.workload.shares import Shares
from schemas.kinds import Kind
from schemas.validation import validate

START = datetime(2026, 1, 1, tzinfo=UTC)
SHARE = st.sampled_from([0.0, 0.001, 0.03, 0.5])


@cache
def table_of(workload: Workload) -> pa.Table:
    return pa.Table.from_batches(list(workload.batches()))


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    tenants=st.integers(1, 40),
    models=st.integers(1, 9),
    requests=st.integers(1, 600),
    hours=st.integers(1, 8),
    nodes=st.integers(1, 9),
    batch_rows=st.integers(40, 900),
    profile=st.sampled_from(sorted(PROFILES)),
    faults=st.builds(Faults, SHARE, SHARE, st.sampled_from([0.0, 0.5, 1.0]), SHARE, SHARE, st.just(0.01)),
)
def test_every_event_is_valid_and_the_sums_are_the_expected_ones(
    seed: int,
    tenants: int,
    models: int,
    requests: int,
    hours: int,
    nodes: int,
    batch_rows: int,
    profile: str,
    faults: Faults,
) -> None:
    workload = Workload(seed, tenants, models, requests, START, hours, nodes, batch_rows, profile, faults=faults)
    offered: Counter[str] = Counter()
    counters: dict[tuple[object, object], int] = {}
    for kind, batch in workload.flow():
        assert validate(kind, batch).all_good
        assert len(batch["source"].unique()) == 1
        assert batch.num_rows <= batch_rows
        if kind == Kind.GPU_UTILIZATION:
            key_columns = ("gpu_uuid", "mig_instance_id", "energy_mj_counter", "power_w")
            for gpu, part, energy, power in zip(*(batch[name].to_pylist() for name in key_columns), strict=True):
                assert counters.get((gpu, part), 0) <= energy
                assert power > 0
                counters[gpu, part] = energy
            continue
        for column, name in (("input_tokens", "input"), ("output_tokens", "output"), ("training_tokens", "training")):
            offered[name] += sum(batch[column].to_pylist())
        offered["events"] += batch.num_rows
    expected = workload.expected()
    assert expected.unique == requests
    assert offered["events"] == expected.offered == requests + expected.duplicates
    again = expected.duplicates
    for name, total in (("input", expected.tokens.input), ("output", expected.tokens.output)):
        assert offered[name] == total if not again else offered[name] >= total
    assert sum(totals.requests for totals in expected.by_class.values()) == requests


def test_totals_known_from_a_pass_are_those_found_without_one() -> None:
    passed, counted = (Workload(seed=4, requests=2_000, hours=2) for _ in range(2))
    assert sum(batch.num_rows for batch in passed.batches()) == counted.expected().offered
    assert passed.expected() == counted.expected()


def test_the_numbers_of_a_seed_never_change() -> None:
    """Anyone who fitted a test or a figure to a seed relies on it: a new digest here is a breaking change."""
    columns = Workload(seed=2, requests=2_000, hours=2).columns
    digest = hashlib.sha256()
    for name in Requests.__slots__:
        digest.update(np.ascontiguousarray(getattr(columns, name).astype("<u8")).tobytes())
    assert digest.hexdigest()[:16] == "a48ad96e1a4eeb2d"


def test_shares_are_those_that_were_asked_for() -> None:
    workload = Workload(
        seed=8, requests=30_000, faults=Faults(failed=0.1, aborted=0.05, duplicated=0.02, late=0.2), outages=False
    )
    expected = workload.expected()
    assert expected.by_status["error"] / expected.unique == pytest.approx(0.1, rel=0.06)
    assert expected.by_status["aborted"] / expected.unique == pytest.approx(0.05, rel=0.06)
    assert expected.duplicates == 600
    reasons = Counter(reason for reason in table_of(workload)["error_type"].to_pylist() if reason)
    assert len(reasons) == 5
    assert min(reasons.values()) > 0.8 * max(reasons.values())
    # One node's clock is off by less than half a second.
    one_node = replace(workload, nodes=1).engine.arrivals()
    behind = np.concatenate([rows.arrival_us - rows.ended_us for _, rows in one_node]) / 1e6
    assert behind.min() > -0.5
    assert (behind > 59).mean() == pytest.approx(0.2, abs=0.03)  # some of them come again, later


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=20), SHARE, SHARE)
def test_shares_add_up_however_requests_are_cut_into_chunks(chunks: list[int], failed: float, aborted: float) -> None:
    faults = Faults(failed=failed, aborted=aborted)
    in_pieces, at_once = Shares(faults), Shares(faults)
    dealt = [in_pieces.next(count) for count in chunks]
    failures, aborts, retries = (sum(each) for each in zip(*dealt, strict=True))
    whole = at_once.next(sum(chunks))
    assert (failures, retries) == (whole[0], whole[2])
    assert abs(aborts - whole[1]) <= 1  # a request that fails is not aborted
    assert all(retried <= failures <= count for count, (failures, _, retried) in zip(chunks, dealt, strict=True))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 400_000), st.integers(1, 80), st.integers(0, 100))
def test_chunks_cover_the_time_and_hold_every_request_once(count: int, hours: int, seed: int) -> None:
    counts = [count, count // 3, 0, 7, 1]
    end, seen = 0, np.zeros(len(CLASSES), dtype=np.int64)
    for number, chunk in enumerate(Timetable(seed, CLASSES, counts, START, hours)):
        assert (chunk.number, chunk.begin_s) == (number, end)
        assert (chunk.end_s - chunk.begin_s) % CELL_S == 0
        end = chunk.end_s
        for kind, started in enumerate(chunk.started_us):
            seen[kind] += len(started)
            assert (np.diff(started) >= 0).all()
            assert not len(started) or chunk.begin_s * 10**6 <= started[0] <= started[-1] < chunk.end_s * 10**6
        # What is held at a time does not depend on the size of the workload; bursts make a piece uneven.
        assert sum(len(started) for started in chunk.started_us) < 4 * CHUNK_ROWS
    assert end == hours * HOUR_S
    assert seen.tolist() == counts


def test_code_comes_in_bursts_and_chat_does_not() -> None:
    columns = Workload(seed=5, requests=60_000, hours=2).columns
    seconds = (columns.started_us // 10**6)[columns.attempt == 1]
    spread = {}
    for number, kind in enumerate(CLASSES[:2]):
        counts = np.bincount(seconds[columns.kind[columns.attempt == 1] == number], minlength=7_200)
        tens = counts.reshape(-1, 10).sum(axis=1)
        spread[kind.name] = tens.var() / tens.mean()
    assert spread["chat"] < 3  # Azure 2023, in 10 s: 3.9, of which most is the daily shape
    assert spread["code"] > 10  # 72 at nine requests a second; here there are fewer


def test_weekends_are_quiet() -> None:
    columns = Workload(seed=5, requests=30_000, hours=7 * 24, start=datetime(2026, 1, 5, tzinfo=UTC)).columns
    of_day = np.stack([
        np.bincount(columns.started_us[columns.kind == kind] // (86_400 * 10**6), minlength=7)[:7] for kind in (0, 1)
    ])  # fmt: skip
    weekend = of_day[:, 5:].mean(axis=1) / of_day[:, :5].mean(axis=1)
    assert weekend == pytest.approx([0.55, 0.25], rel=0.1)


def test_contexts_grow_within_a_session_and_the_cache_holds_no_more_than_the_turns_before() -> None:
    columns = Workload(seed=6, requests=20_000, faults=Faults(0, 0, 0, 0, 0, 0)).columns
    sessions: dict[int, list[int]] = {}
    for row, session in enumerate(columns.session.tolist()):
        sessions.setdefault(session, []).append(row)
    assert max(len(rows) for rows in sessions.values()) > 10
    cached = 0
    for rows in sessions.values():
        kind = CLASSES[columns.kind[rows[0]]]
        if kind.cached is not None or kind.trains:
            continue
        assert len({(columns.tenant[row], columns.model[row], columns.user[row]) for row in rows}) == 1
        for before, row in pairwise(rows):
            assert columns.input_tokens[before] <= columns.input_tokens[row]
            context = columns.input_tokens[before] + columns.output_tokens[before]
            assert columns.cached_tokens[row] <= max(context, kind.prefix_tokens)
            cached += int(columns.cached_tokens[row])
    assert cached > 0
    assert not (columns.cached_tokens % 16).any()
    assert (columns.cached_tokens < np.maximum(columns.input_tokens, 1)).all()


def test_a_queue_makes_requests_slower_and_their_times_are_in_order() -> None:
    roomy, tight = (Workload(seed=7, requests=20_000, hours=1, profile="agent", gpus=gpus).columns for gpus in (60, 9))
    waits = [np.mean(columns.runs_us - columns.started_us) / 1e6 for columns in (roomy, tight)]
    assert waits[1] > 2 * waits[0]
    for columns in (roomy, tight):
        answered = columns.first_token_us >= 0
        assert (answered == (columns.output_tokens > 0)).all()
        assert (columns.started_us <= columns.runs_us)[answered].all()
        assert (columns.runs_us <= columns.first_token_us)[answered].all()
        assert (columns.first_token_us <= columns.ended_us)[answered].all()
        # No faster than the fastest GPU decodes for one request.
        seconds = (columns.ended_us - columns.first_token_us)[answered] / 1e6
        assert (columns.output_tokens[answered] / np.maximum(seconds, 1e-6) < 75 / 0.8 * 1.01)[seconds > 0.5].all()


def test_a_node_that_was_cut_off_delivers_hours_later_and_its_neighbour_serves_meanwhile() -> None:
    workload = Workload(seed=3, requests=40_000, hours=8)
    (outage,) = outages(3, 4, 8, 5_000)
    assert outage.back_us - outage.cut_us > 2 * 3_600 * 10**6
    source = workload.sources[outage.node]
    held, newest = 0, START
    for batch in workload.batches():
        ended = batch["ended_at"].to_pylist()
        if batch["source"][0].as_py() == source:
            held += sum(newest - each > timedelta(hours=2) for each in ended)
        else:
            newest = max(newest, *ended)
    assert held > 100
    gone = (
        workload.start + timedelta(microseconds=outage.down_us),
        workload.start + timedelta(microseconds=outage.back_us),
    )
    by_source = Counter(
        source
        for source, ended in zip(
            *(table_of(workload)[name].to_pylist() for name in ("source", "ended_at")), strict=True
        )
        if gone[0] + timedelta(minutes=20) < ended < gone[1] - timedelta(minutes=20)
    )
    neighbour = workload.sources[(outage.node + 1) % 4]
    assert by_source[source] < 20
    assert by_source[neighbour] > 1.7 * min(by_source[other] for other in workload.sources if other != source)


def test_clocks_are_off_within_limits_and_no_event_is_before_the_start() -> None:
    workload = Workload(seed=9, requests=5_000, hours=2)
    events = {row["id"]: row for row in table_of(workload).to_pylist()}
    columns = workload.columns
    true = dict(zip(columns.request_id[:, 0].tolist(), columns.started_us.tolist(), strict=True))
    ahead: dict[str, list[float]] = {}
    for row in events.values():
        if row["attempt"] == 1 and int(row["id"][:16], 16) in true:
            assert row["started_at"] >= workload.start
            skew = (row["started_at"] - workload.start).total_seconds() - true[int(row["id"][:16], 16)] / 1e6
            if row["started_at"] > workload.start:
                ahead.setdefault(row["source"], []).append(skew)
    means = {source: float(np.median(skews)) for source, skews in ahead.items()}
    assert max(means.values()) == pytest.approx(SKEW_S[1], abs=0.1)
    assert sorted(abs(each) < SKEW_S[0] for each in means.values()) == [False, True, True, True]


def test_a_steady_timetable_keeps_its_rate() -> None:
    seen = 0
    for chunk in SteadyTimetable(0, [Fraction(37, 3), Fraction(0), Fraction(1, 100)]):
        seen += sum(len(started) for started in chunk.started_us)
        assert abs(seen - chunk.end_s * (37 / 3 + 0.01)) < 2
        if chunk.end_s >= 1_200:
            break
