"""The event-id window against plain dicts: what was seen, what it forgets, and that batches and restarts change nothing."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from streams.duplicates import MINUTE_US, NEVER_STOP_US, EventWindow, Sightings
from streams.kernels import CONFLICT, NEW, SAME, UNCHECKED
from streams.outcomes import NEVER_US

LIMIT = EventWindow(1).limit
"""How many events the smallest window remembers."""


class Row(NamedTuple):
    identity: int
    content: int
    minute: int
    wanted: bool = True


def sightings(rows: list[Row], offset: int = 0) -> Sightings:
    return Sightings(
        np.array([row.identity for row in rows], dtype=np.uint64),
        # The minute is part of what an event says.
        np.array([row.content * 1_000_003 + row.minute for row in rows], dtype=np.uint64),
        np.array([row.minute for row in rows], dtype=np.int32),
        np.array([row.minute * MINUTE_US for row in rows], dtype=np.int64),
        np.array([row.wanted for row in rows], dtype=np.uint8),
        offset,
    )


def check(window: EventWindow, rows: list[Row], offset: int = 0) -> list[int]:
    out = np.full(len(rows), 99, dtype=np.uint8)
    end, _ = window.check(sightings(rows, offset), out, 0, NEVER_US, NEVER_STOP_US)
    assert end == len(rows)
    return out.tolist()


class Model:
    """What the window must answer, by sets."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.oldest = -(1 << 31)
        self.evicted = 0
        self.seen: dict[tuple[int, int, int], None] = {}

    def check(self, rows: list[Row]) -> list[int]:
        return [self._one(row) for row in rows]

    def forget_before(self, minute: int) -> None:
        self.oldest = max(self.oldest, minute)
        self.seen = {entry: None for entry in self.seen if entry[2] >= self.oldest}

    def _one(self, row: Row) -> int:
        if not row.wanted:
            return NEW
        entry = (row.identity, row.content, row.minute)
        while True:
            if row.minute < self.oldest:
                return UNCHECKED
            if entry in self.seen:
                return SAME
            if len(self.seen) < self.limit:
                break
            self._evict()
        answer = CONFLICT if any(identity == row.identity for identity, _, _ in self.seen) else NEW
        self.seen[entry] = None
        return answer

    def _evict(self) -> None:
        counts = Counter(minute for _, _, minute in self.seen)
        left = len(self.seen)
        for minute in sorted(counts):
            if left <= self.limit * 0.75:
                break
            left -= counts[minute]
            self.evicted += 1
            self.forget_before(minute + 1)


rows_strategy = st.lists(
    st.builds(Row, st.integers(1, 12), st.integers(0, 2), st.integers(0, 5), st.booleans() | st.just(True)), max_size=40
)


def small(limit: int) -> EventWindow:
    window = EventWindow(1)
    window.limit = limit
    return window


@examples(max_examples=100, deadline=None)
@given(rows=rows_strategy, limit=st.integers(2, 40), cuts=st.lists(st.integers(0, 60), max_size=6), forget=st.data())
def test_the_window_answers_as_the_model_whatever_the_cuts(
    rows: list[Row], limit: int, cuts: list[int], forget: st.DataObject
) -> None:
    window, model = small(limit), Model(limit)
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    for first, end in pairwise(edges):
        assert check(window, rows[first:end]) == model.check(rows[first:end])
        if forget.draw(st.booleans()):
            minute = forget.draw(st.integers(-1, 4))
            window.forget_before(minute)
            model.forget_before(minute)
        assert len(window) == len(model.seen)
        assert (window.oldest_minute, window.evicted_minutes) == (model.oldest, model.evicted)


@examples(max_examples=100, deadline=None)
@given(rows=rows_strategy, later=rows_strategy, limit=st.integers(2, 40), at=st.integers(0, 60))
def test_a_window_learnt_again_from_its_first_offset_answers_as_the_first_one(
    rows: list[Row], later: list[Row], limit: int, at: int
) -> None:
    window = small(limit)
    for offset, row in enumerate(rows):
        check(window, [row], offset)
        if offset == at:
            window.forget_before(2)
    again = small(limit)
    again.forget_before(window.oldest_minute)
    if window.first_offset is not None:
        check(again, rows[window.first_offset :])
    assert len(again) == len(window)
    assert check(again, later) == check(window, later)
    assert (again.oldest_minute, len(again)) == (window.oldest_minute, len(window))


def test_the_table_grows_and_keeps_everything() -> None:
    window = EventWindow(1 << 24)
    rows = [Row(identity * 7919 + 1, 0, identity % 50) for identity in range(20_000)]
    sizes = []
    for first in range(0, len(rows), 1000):
        assert set(check(window, rows[first : first + 1000])) == {NEW}
        sizes.append(window.bytes)
    assert sizes[-1] > sizes[0]
    assert sizes[-1] <= 1 << 24
    assert set(check(window, rows)) == {SAME}
    assert set(check(window, [row._replace(content=1) for row in rows])) == {CONFLICT}
    assert window.evicted_minutes == 0


def test_a_batch_larger_than_the_whole_table_is_taken_in_one_call() -> None:
    window = EventWindow(1)
    rows = [Row(number + 1, 0, number // 100) for number in range(3 * LIMIT)]
    assert set(check(window, rows)) == {NEW}
    assert window.bytes <= 1 << 17
    assert window.evicted_minutes > 0
    remembered = [row for row in rows if row.minute >= window.oldest_minute]
    assert len(window) == len(remembered)
    assert set(check(window, remembered)) == {SAME}
    assert set(check(window, [row for row in rows if row.minute < window.oldest_minute])) == {UNCHECKED}


def test_oldest_minutes_go_first_and_are_counted() -> None:
    window = EventWindow(1)
    per_minute = LIMIT // 3
    for minute in (7, 3, 9):
        check(window, [Row(minute * 10_000 + number, 0, minute) for number in range(per_minute)])
    assert window.evicted_minutes == 0
    check(window, [Row(1_000_000 + number, 0, 8) for number in range(LIMIT - 3 * per_minute + 1)])
    assert (window.oldest_minute, window.evicted_minutes) == (4, 1)
    assert check(window, [Row(30_000, 0, 3), Row(90_000, 0, 9), Row(70_000, 0, 7)]) == [UNCHECKED, SAME, SAME]


def test_many_contents_of_one_identity_neither_hide_each_other_nor_slow_down() -> None:
    window = EventWindow(1)
    rows = [Row(42, content, 1) for content in range(LIMIT - 1)]
    assert check(window, rows) == [NEW] + [CONFLICT] * (LIMIT - 2)
    assert set(check(window, rows)) == {SAME}


def test_a_conflict_outlives_the_event_it_conflicts_with() -> None:
    window = EventWindow(1)
    assert check(window, [Row(1, 0, 5), Row(1, 1, 9)]) == [NEW, CONFLICT]
    window.forget_before(6)
    assert check(window, [Row(1, 1, 9), Row(1, 2, 9), Row(1, 0, 5)]) == [SAME, CONFLICT, UNCHECKED]
    window.forget_before(10)
    assert check(window, [Row(1, 3, 10)]) == [NEW]


def test_the_watermark_stops_the_check_behind_the_row_that_reaches_it() -> None:
    window = EventWindow(1)
    rows = [Row(1, 0, 5), Row(2, 0, 3), Row(1, 0, 5), Row(3, 0, 8), Row(4, 0, 9)]
    out = np.full(len(rows), 99, dtype=np.uint8)
    seen = sightings(rows)
    assert window.check(seen, out, 0, NEVER_US, 8 * MINUTE_US) == (4, 8 * MINUTE_US)
    assert out.tolist() == [NEW, NEW, SAME, NEW, 99]
    window.forget_before(10)
    assert window.check(seen, out, 4, 8 * MINUTE_US, NEVER_STOP_US) == (5, 9 * MINUTE_US)
    assert out.tolist()[4] == UNCHECKED


@pytest.mark.parametrize("bound", [1, 1 << 20, 3 << 20, 1 << 25])
def test_the_limit_keeps_the_table_within_its_bytes(bound: int) -> None:
    window = EventWindow(bound)
    rows = [Row(number + 1, 0, number // 1000) for number in range(min(window.limit, 60_000))]
    check(window, rows)
    assert window.bytes <= max(bound, 1 << 17)


def test_an_empty_window_needs_no_log() -> None:
    window = EventWindow(1)
    first = [window.first_offset]
    check(window, [Row(1, 0, 60, wanted=False)], 3)
    first.append(window.first_offset)
    check(window, [Row(1, 0, 60)], 4)
    check(window, [Row(2, 0, 0)], 5)
    first.append(window.first_offset)
    window.forget_before(120)
    first.append(window.first_offset)
    assert first == [None, None, 4, None]
