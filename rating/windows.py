"""Windows of time and billing periods, all in UTC and half-open: [start, end).

A window is an integer: the number of whole windows since 1970-01-01T00:00:00Z. With the usual size of 60 minutes that
is the hour number, and the code calls it `hour`; a deployment may choose 30 or 15 minutes when it is created. A billing
period is a calendar month in UTC, written "YYYY-MM", which sorts as it should. Window sizes divide an hour and UTC has
no daylight saving, so no window ever lies across two periods.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from rating.errors import PeriodError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
WINDOW_MINUTES = (60, 30, 15)
_PERIOD = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])", re.ASCII)


@dataclass(frozen=True, slots=True)
class WindowSize:
    """The length of a deployment's windows: 60 (the default), 30 or 15 minutes. Anything else raises PeriodError."""

    minutes: int = 60

    def __post_init__(self) -> None:
        if self.minutes not in WINDOW_MINUTES:
            raise PeriodError(
                f"windows of {self.minutes} minutes do not exist: choose 60, 30 or 15", minutes=self.minutes
            )

    @property
    def microseconds(self) -> int:
        """Length in microseconds."""
        return self.minutes * 60_000_000

    def index_of_us(self, unix_us: int) -> int:
        """The window of an instant given as microseconds since 1970."""
        return unix_us // (self.minutes * 60_000_000)

    def index_of(self, instant: datetime) -> int:
        """The window of an aware instant."""
        return self.index_of_us(unix_us(instant))

    def is_start(self, instant: datetime) -> bool:
        """Whether a window begins at this instant."""
        return unix_us(instant) % self.microseconds == 0

    def start(self, index: int) -> datetime:
        """The first instant of a window (UTC)."""
        return _window_start(self.minutes, index)

    def end(self, index: int) -> datetime:
        """The instant at which a window has ended: the start of the next one (UTC)."""
        return _window_start(self.minutes, index + 1)

    def first(self, period: str) -> int:
        """The first window of a billing period."""
        return self.index_of(period_start(period))

    def last(self, period: str) -> int:
        """The last window of a billing period."""
        return self.index_of(period_end(period)) - 1

    def period(self, index: int) -> str:
        """The billing period that a window belongs to."""
        return _window_period(self.minutes, index)


HOUR = WindowSize(60)
"""The usual window."""


@lru_cache(maxsize=16_384)
def _window_start(minutes: int, index: int) -> datetime:
    return EPOCH + timedelta(minutes=minutes * index)


@lru_cache(maxsize=16_384)
def _window_period(minutes: int, index: int) -> str:
    return period_of(_window_start(minutes, index))


def unix_us(instant: datetime) -> int:
    """Whole microseconds since 1970 of an aware instant. A naive one raises PeriodError."""
    if instant.tzinfo is None:
        raise PeriodError(f"{instant.isoformat()} has no time zone: use an aware instant", instant=instant.isoformat())
    return (instant - EPOCH) // MICROSECOND


def period_of(instant: datetime) -> str:
    """The billing period "YYYY-MM" of an aware instant."""
    if instant.tzinfo is None:
        raise PeriodError(f"{instant.isoformat()} has no time zone: use an aware instant", instant=instant.isoformat())
    instant = instant.astimezone(UTC)
    return f"{instant.year:04d}-{instant.month:02d}"


def period_start(period: str) -> datetime:
    """The first instant of a billing period."""
    year, month = _year_and_month(period)
    return datetime(year, month, 1, tzinfo=UTC)


def period_end(period: str) -> datetime:
    """The instant at which a billing period has ended: the start of the next one."""
    return period_start(next_period(period))


def next_period(period: str) -> str:
    """The billing period after this one."""
    year, month = _year_and_month(period)
    return f"{year + 1:04d}-01" if month == 12 else f"{year:04d}-{month + 1:02d}"


def previous_period(period: str) -> str:
    """The billing period before this one."""
    year, month = _year_and_month(period)
    return f"{year - 1:04d}-12" if month == 1 else f"{year:04d}-{month - 1:02d}"


def closing_time(period: str, grace: timedelta) -> datetime:
    """When a period closes: its end and the grace in which late usage still belongs to it."""
    return period_end(period) + grace


def hour_of(instant: datetime) -> int:
    """The hour number of an aware instant."""
    return HOUR.index_of(instant)


def hour_start(hour: int) -> datetime:
    """The first instant of an hour (UTC)."""
    return HOUR.start(hour)


def first_hour(period: str) -> int:
    """The first hour of a billing period."""
    return HOUR.first(period)


def last_hour(period: str) -> int:
    """The last hour of a billing period."""
    return HOUR.last(period)


def period_of_hour(hour: int) -> str:
    """The billing period that an hour belongs to."""
    return HOUR.period(hour)


@lru_cache(maxsize=1024)
def _year_and_month(period: str) -> tuple[int, int]:
    found = _PERIOD.fullmatch(period)
    if found is None or found[1] == "0000":
        raise PeriodError(f"{period!r} is not a billing period such as '2026-01'", period=period)
    return int(found[1]), int(found[2])
