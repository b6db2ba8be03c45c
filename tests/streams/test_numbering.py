"""Batch numbers against a set of what was read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from streams import numbering
from streams.numbering import FRESH, MAX_GAPS, REPEATED, BatchNumbers, SourceNumbers


@examples(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 2), st.integers(1, 30)), max_size=80))
def test_a_sequence_takes_each_number_once_in_any_order(batches: list[tuple[str, int, int]]) -> None:
    numbers = BatchNumbers()
    read: dict[tuple[str, int], set[int]] = {}
    for source, epoch, number in batches:
        seen = read.setdefault((source, epoch), set())
        answer = numbers.accept(source, epoch, number, contiguous=True)
        assert answer == (REPEATED if number in seen else FRESH)
        seen.add(number)
    changed = numbers.take_changed()
    assert set(changed) == set(read)
    for key, seen in read.items():
        missing = set(range(1, max(seen) + 1)) - seen
        gaps = {number for first, last in changed[key].gaps for number in range(first, last + 1)}
        assert (changed[key].highest, gaps, changed[key].missing()) == (max(seen), missing, len(missing))
    assert numbers.take_changed() == {}


@examples(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=60))
def test_offsets_only_rise_and_may_leave_holes(offsets: list[int]) -> None:
    numbers, highest = BatchNumbers(), -1
    for offset in offsets:
        answer = numbers.accept("derived", 1, offset, contiguous=False)
        assert answer == (FRESH if offset > highest else REPEATED)
        highest = max(highest, offset)
    assert all(not state.gaps and not state.missing() for state in numbers.take_changed().values())


@examples(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 20), max_size=40), st.lists(st.integers(1, 20), max_size=40))
def test_restored_numbers_go_on_as_before(first: list[int], second: list[int]) -> None:
    one, other = BatchNumbers(), BatchNumbers()
    for number in first:
        one.accept("a", 1, number, contiguous=True)
    for (source, epoch), state in one.take_changed().items():
        other.restore(source, epoch, state)
    for number in second:
        assert one.accept("a", 1, number, contiguous=True) == other.accept("a", 1, number, contiguous=True)


def test_what_is_taken_away_is_cut_loose() -> None:
    numbers = BatchNumbers()
    numbers.accept("a", 1, 5, contiguous=True)
    taken = numbers.take_changed()["a", 1]
    numbers.accept("a", 1, 2, contiguous=True)
    assert (taken.highest, taken.gaps) == (5, [(1, 4)])


@pytest.mark.parametrize("number", [1, 2, 10**18])
def test_a_single_number_far_ahead_is_one_gap(number: int) -> None:
    state = SourceNumbers(True)
    assert state.accept(number) == FRESH
    assert state.missing() == number - 1
    assert len(state.gaps) == (number > 1)


def test_gaps_are_bounded_and_nothing_is_lost_for_it() -> None:
    state = SourceNumbers(True)
    for number in range(2, 4 * MAX_GAPS, 2):
        assert state.accept(number) == FRESH
    assert len(state.gaps) == MAX_GAPS
    assert state.missing() == 2 * MAX_GAPS - 1
    given_up = state.unknown_to
    assert state.accept(given_up) == FRESH, "it was missing, and may still come"
    assert state.accept(given_up - 1) == FRESH, "nobody knows: the event-id window decides"
    assert state.accept(given_up + 1) == REPEATED
    assert state.accept(given_up + 2) == FRESH
    assert state.accept(given_up + 2) == REPEATED


def test_a_gap_that_is_cut_in_two_counts_towards_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbering, "MAX_GAPS", 2)
    state = SourceNumbers(True)
    for number in (100, 50, 75):
        assert state.accept(number) == FRESH
    assert state.gaps == [(51, 74), (76, 99)]
    assert (state.given_up, state.unknown_to, state.missing()) == (49, 49, 97)
