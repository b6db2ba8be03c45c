from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.errors import PeriodError
from rating.windows import (
    HOUR,
    WindowSize,
    closing_time,
    first_hour,
    hour_of,
    hour_start,
    last_hour,
    next_period,
    period_end,
    period_of,
    period_of_hour,
    period_start,
    previous_period,
    unix_us,
)

INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize("minutes", [60, 30, 15])
@given(instant=INSTANTS)
def test_every_instant_is_in_exactly_its_window_and_period(minutes: int, instant: datetime) -> None:
    window = WindowSize(minutes)
    index = window.index_of(instant)
    assert window.start(index) <= instant < window.end(index)
    assert window.end(index) - window.start(index) == timedelta(minutes=minutes)
    period = period_of(instant)
    assert period_start(period) <= instant < period_end(period)
    assert window.period(index) == period
    assert window.first(period) <= index <= window.last(period)


def test_windows_are_half_open() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert hour_of(start) == hour_of(start - timedelta(microseconds=1)) + 1
    assert period_of(start - timedelta(microseconds=1)) == "2025-12"
    assert HOUR.is_start(start)
    assert not HOUR.is_start(start + timedelta(microseconds=1))
    assert WindowSize(15).is_start(start + timedelta(minutes=15))
    assert not HOUR.is_start(start + timedelta(minutes=15))


@pytest.mark.parametrize(
    ("period", "hours"), [("2026-01", 744), ("2026-02", 672), ("2024-02", 696), ("2026-03", 744), ("2026-04", 720)]
)
def test_months_have_the_hours_of_utc_without_daylight_saving(period: str, hours: int) -> None:
    assert last_hour(period) - first_hour(period) + 1 == hours
    assert period_of_hour(first_hour(period)) == period_of_hour(last_hour(period)) == period
    assert hour_start(first_hour(period)) == period_start(period)


def test_an_instant_of_another_zone_is_the_same_instant() -> None:
    kolkata = timezone(timedelta(hours=5, minutes=30))
    assert period_of(datetime(2026, 2, 1, 5, 29, tzinfo=kolkata)) == "2026-01"
    assert period_of(datetime(2026, 2, 1, 5, 30, tzinfo=kolkata)) == "2026-02"


def test_periods_follow_each_other() -> None:
    assert next_period("2025-12") == "2026-01"
    assert previous_period("2026-01") == "2025-12"
    assert previous_period(next_period("2024-02")) == "2024-02"


def test_a_period_closes_after_its_grace() -> None:
    assert closing_time("2026-01", timedelta(hours=24)) == datetime(2026, 2, 2, tzinfo=UTC)


def test_microseconds_are_exact_far_from_1970() -> None:
    assert unix_us(datetime(2099, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == 4_102_444_799_999_999


@pytest.mark.parametrize("period", ["2026-1", "2026-13", "2026-00", "26-01", "2026-01-01", "", "0000-01"])
def test_a_period_that_does_not_exist_raises(period: str) -> None:
    with pytest.raises(PeriodError):
        period_start(period)


def test_naive_instants_and_odd_window_sizes_raise() -> None:
    with pytest.raises(PeriodError):
        unix_us(datetime(2026, 1, 1))
    with pytest.raises(PeriodError):
        period_of(datetime(2026, 1, 1))
    with pytest.raises(PeriodError):
        WindowSize(45)
