"""Where each row ends (DESIGN D6 to D8): against a model that looks at one row at a time with plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from rating.windows import period_end, period_of
from schemas.events import Event
from schemas.instants import to_microseconds
from schemas.partitioning import partition_for
from streams.balance import DEAD_LETTER, DUPLICATE, OUTCOMES, RATED, REROUTED
from streams.decode import USAGE_KINDS, Rows, segments
from streams.outcomes import NEVER_US, Judge, Judged, TimeRules
from tests.streams.support import LATER_US, START, Log, settings, usage

GRACE, KEPT, AHEAD = timedelta(hours=24), timedelta(days=35), timedelta(minutes=5)
HERE = "acme"
THERE = next(
    f"tenant-{number}" for number in range(99) if partition_for(f"tenant-{number}", 3) != partition_for(HERE, 3)
)
PARTITION = partition_for(HERE, 3)


def rows_of(events: Sequence[Event], log_time: datetime | None = None) -> Rows:
    log = Log(LATER_US if log_time is None else to_microseconds(log_time))
    log.batch(events)
    (segment,) = segments(log.records, USAGE_KINDS)
    assert isinstance(segment, Rows)
    return segment


def judge() -> Judge:
    return Judge(settings(partitions=3), PARTITION)


def booked_of(judged: Judged) -> list[str | None]:
    """The period each row is booked in, None for rows that do not count."""
    found: list[str | None] = [None] * len(judged.outcomes)
    for period, chosen in judged.booked.items():
        for row in np.flatnonzero(chosen).tolist():
            assert found[row] is None
            found[row] = period
    return found


class Ended(NamedTuple):
    outcome: int
    booked: str | None
    code: str | None


@dataclass
class Model:
    """One row at a time."""

    watermark: datetime | None = None
    contents: dict[str, list[datetime]] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)

    def one(self, name: str, at: datetime, tenant: str) -> Ended:
        if tenant != HERE:
            return Ended(REROUTED, None, None)
        gone = self.watermark is not None and self.watermark >= period_end(period_of(at)) + GRACE + KEPT
        if gone:
            return Ended(DEAD_LETTER, None, "too_late")
        seen = self.contents.setdefault(name, [])
        live = [time for time in seen if not self._is_gone(time)]
        seen.append(at)
        if at in live:
            return Ended(DUPLICATE, None, None)
        if live:
            return Ended(DEAD_LETTER, None, "conflict")
        before = self.watermark
        self.watermark = max(at, before or at)
        if before is not None and before >= period_end(period_of(at)) + GRACE:
            return Ended(RATED, period_of(before), None)
        self.begun.add(period_of(at))
        return Ended(RATED, "", None)

    def _is_gone(self, at: datetime) -> bool:
        return self.watermark is not None and self.watermark >= period_end(period_of(at)) + GRACE + KEPT


days = st.builds(
    lambda day, second: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day, seconds=second),
    st.sampled_from([0, 1, 20, 31, 32, 33, 40, 59, 60, 61, 66, 67, 68, 75, 95, 130, 200]),
    st.sampled_from([0, 1, 7200]),
)
happenings = st.lists(
    st.tuples(st.integers(1, 6), days, st.sampled_from([HERE, HERE, HERE, HERE, THERE])), min_size=1, max_size=25
)


@examples(max_examples=150, deadline=None)
@given(rows=happenings, cuts=st.lists(st.integers(0, 25), max_size=5))
def test_every_row_ends_as_in_the_model_whatever_the_cuts(
    rows: list[tuple[int, datetime, str]], cuts: list[int]
) -> None:
    model, made = Model(), judge()
    begun: set[str] = set()
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    for first, end in pairwise(edges):
        part = rows[first:end]
        judged = made.judge(rows_of([usage(str(name), at, tenant_id=tenant) for name, at, tenant in part]))
        expected = [model.one(str(name), at, tenant) for name, at, tenant in part]
        found = [
            Ended(int(outcome), booked, judged.reasons.get(row, (None,))[0])
            for row, (outcome, booked) in enumerate(zip(judged.outcomes.tolist(), booked_of(judged), strict=True))
        ]
        assert found == expected
        expected_us = NEVER_US if model.watermark is None else to_microseconds(model.watermark)
        assert made.watermark_us == expected_us
        begun |= made.take_begun()
    assert begun >= model.begun


# --- the table of D8, row by row --------------------------------------------------------------------------------------


def outcome_of(event: Event, made: Judge | None = None, log_time: datetime | None = None) -> tuple[str, str | None]:
    judged = (made or judge()).judge(rows_of([event], log_time))
    return OUTCOMES[int(judged.outcomes[0])], judged.reasons.get(0, (None,))[0]


def test_a_good_row_is_accepted() -> None:
    assert outcome_of(usage("a")) == ("rated", None)


def test_the_same_again_is_a_duplicate_and_another_content_a_conflict() -> None:
    made = judge()
    assert outcome_of(usage("a"), made) == ("rated", None)
    assert outcome_of(usage("a"), made) == ("duplicate", None)
    assert outcome_of(usage("a", input_tokens=101), made) == ("dead_letter", "conflict")
    assert outcome_of(usage("a", input_tokens=101), made) == ("duplicate", None)
    assert outcome_of(usage("a", source="gateway/2"), made) == ("rated", None)


def test_rows_of_other_partitions_are_sent_there_and_neither_remembered_nor_timed() -> None:
    made = judge()
    event = usage("a", timedelta(days=3), tenant_id=THERE)
    judged = made.judge(rows_of([event]))
    assert judged.outcomes.tolist() == [REROUTED]
    assert judged.targets is not None
    assert judged.targets.tolist() == [partition_for(THERE, 3)]
    assert (made.watermark_us, len(made.window)) == (NEVER_US, 0)


def test_only_the_bad_row_of_a_batch_is_refused() -> None:
    made = judge()
    good = rows_of([usage(str(number)) for number in range(1000)])
    columns = good.batch.columns
    at = good.batch.schema.get_field_index("input_tokens")
    values = columns[at].to_pylist()
    columns[at] = pa.array([-1 if row == 417 else value for row, value in enumerate(values)], columns[at].type)
    bad = replace(good, batch=pa.RecordBatch.from_arrays(columns, schema=good.batch.schema))
    judged = made.judge(bad)
    assert judged.outcomes.tolist() == [DEAD_LETTER if row == 417 else RATED for row in range(1000)]
    assert list(judged.reasons) == [417]
    code, reason = judged.reasons[417]
    assert code == "invalid_input_tokens"
    assert "-1" in reason


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        (timedelta(0), ("rated", None)),
        (AHEAD, ("rated", None)),
        (AHEAD + timedelta(microseconds=1), ("quarantined", "future_event")),
        (timedelta(days=4000), ("quarantined", "future_event")),
    ],
)
def test_events_ahead_of_the_log_are_quarantined(ahead: timedelta, expected: tuple[str, str | None]) -> None:
    assert outcome_of(usage("a", ahead), log_time=START) == expected


def test_future_events_move_nothing_and_are_not_remembered() -> None:
    made = judge()
    event = usage("a", timedelta(days=100))
    assert outcome_of(event, made, START) == ("quarantined", "future_event")
    assert (made.watermark_us, len(made.window), made.take_begun()) == (NEVER_US, 0, frozenset())
    assert outcome_of(event, made) == ("rated", None), "released later, it counts"


@pytest.mark.parametrize(
    ("reached", "expected"),
    [
        (datetime(2026, 2, 1, 23, 59, 59, 999_999, tzinfo=UTC), ""),
        (datetime(2026, 2, 2, tzinfo=UTC), "2026-02"),
        (datetime(2026, 3, 8, 23, 59, 59, 999_999, tzinfo=UTC), "2026-03"),
        (datetime(2026, 3, 9, tzinfo=UTC), None),
    ],
)
def test_a_period_closes_after_its_grace_and_is_gone_after_the_kept_days(
    reached: datetime, expected: str | None
) -> None:
    made = judge()
    events = [usage("first"), usage("reached", reached), usage("late", datetime(2026, 1, 31, 23, 59, tzinfo=UTC))]
    judged = made.judge(rows_of(events))
    assert booked_of(judged)[2] == expected
    assert (judged.reasons.get(2, ("", ""))[0] == "too_late") == (expected is None)


def test_a_tick_moves_time_forward_only() -> None:
    made = judge()
    made.tick(to_microseconds(START))
    made.tick(to_microseconds(START) - 5)
    made.tick(-7)
    assert made.watermark_us == to_microseconds(START)
    assert made.take_begun() == {"2026-01"}
    assert made.take_begun() == frozenset()


def test_what_time_ran_over_has_begun_as_far_back_as_state_is_kept() -> None:
    made = judge()
    made.judge(rows_of([usage("a"), usage("b", datetime(2026, 8, 20, tzinfo=UTC))]))
    assert made.take_begun() == {"2026-01", "2026-06", "2026-07", "2026-08"}
    made.judge(rows_of([usage("c", datetime(2026, 9, 1, tzinfo=UTC)), usage("d", datetime(2026, 8, 31, tzinfo=UTC))]))
    assert made.take_begun() == {"2026-08", "2026-09"}


@pytest.mark.parametrize("minutes", [15, 30, 60])
def test_the_oldest_kept_minute_and_its_next_change_agree(minutes: int) -> None:
    rules = TimeRules.of(settings(window_minutes=minutes))
    watermark = to_microseconds(datetime(2026, 3, 8, 12, tzinfo=UTC))
    turn = rules.next_forget_us(watermark)
    assert turn == to_microseconds(datetime(2026, 3, 9, tzinfo=UTC))
    assert rules.oldest_kept_minute(turn - 1) * 60 == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert rules.oldest_kept_minute(turn) * 60 == datetime(2026, 2, 1, tzinfo=UTC).timestamp()
    assert rules.next_forget_us(turn) > turn
    assert rules.next_forget_us(0) == rules.period_closes_us("1970-01") + rules.kept_us


def test_a_batch_that_comes_again_counts_nothing_and_drops_nothing_unseen() -> None:
    made = judge()
    made.judge(rows_of([usage("a"), usage("b")]))
    judged = made.judge_repeated(
        rows_of([usage("a"), usage("b", input_tokens=7), usage("c"), usage("d", tenant_id=THERE)])
    )
    assert judged.outcomes.tolist() == [DUPLICATE, DEAD_LETTER, DEAD_LETTER, DUPLICATE]
    assert {row: code for row, (code, _) in judged.reasons.items()} == {1: "conflict", 2: "conflict"}
    assert (judged.booked, judged.targets) == ({}, None)


def test_learning_again_does_not_move_time() -> None:
    made = judge()
    made.relearn(rows_of([usage("a")]))
    assert (made.watermark_us, len(made.window)) == (NEVER_US, 1)
    assert outcome_of(usage("a"), made) == ("duplicate", None)
    one = rows_of([usage("x")])
    made.relearn(replace(one, batch=one.batch.slice(0, 0), offsets=one.offsets[:0], log_times_us=one.log_times_us[:0]))
    assert len(made.window) == 1
