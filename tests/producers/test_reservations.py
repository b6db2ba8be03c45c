"""What the demonstration's tenants reserve: seeded, valid events whose level x time is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from producers.workload.reservations import NODES, STORAGE, Reservations, Reserved
from schemas.batch import encode_batch
from schemas.kinds import Kind
from schemas.validation import validate

START = datetime(2026, 1, 1, tzinfo=UTC)


def reserved(what: Reserved, seed: int = 0, hours: int = 6) -> Reservations:
    return Reservations(seed, "tenant-0010", what, START, hours)


@pytest.mark.parametrize("what", [NODES, STORAGE])
def test_equal_seeds_give_equal_bytes_and_others_do_not(what: Reserved) -> None:
    first, again, other = (encode_batch(reserved(what, seed).batch()) for seed in (7, 7, 8))
    assert first == again
    assert first != other


@pytest.mark.parametrize("what", [NODES, STORAGE])
@pytest.mark.parametrize("hours", [1, 6, 200])
def test_events_are_valid_different_and_within_the_time(what: Reserved, hours: int) -> None:
    made = reserved(what, 3, hours)
    batch = made.batch()
    assert validate(str(Kind.TOKEN_USAGE), batch).all_good
    assert len(set(batch.column("id").to_pylist())) == batch.num_rows == len(list(made.changes()))
    times = batch.column("ended_at").to_pylist()
    assert times == sorted(times)
    assert START <= times[0] < START + timedelta(minutes=10)
    assert times[-1] < START + timedelta(hours=hours)


def test_a_longer_time_does_not_change_what_came_before() -> None:
    short, long = list(reserved(NODES, hours=6).changes()), list(reserved(NODES, hours=48).changes())
    assert long[: len(short)] == short


def test_the_level_times_time_is_what_the_changes_come_to() -> None:
    made = reserved(NODES, hours=12)
    level = total = 0
    at = {change.at_s: change.quantity for change in made.changes()}
    for second in range(12 * 3600):
        level += at.get(second, 0)
        total += level
    assert made.unit_seconds() == total


@pytest.mark.parametrize("what", [NODES, STORAGE])
def test_something_is_given_back_and_never_more_than_there_is(what: Reserved) -> None:
    level = 0
    changes = list(reserved(what, hours=300).changes())
    for change in changes:
        level += change.quantity
        assert level > 0
    assert any(change.quantity < 0 for change in changes)
