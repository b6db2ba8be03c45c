"""time_of_day: the charge goes by the local time at which a window of usage begins."""

from __future__ import annotations

import re
import zoneinfo
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
)

from rating.card_fields import Name
from rating.errors import Path, did_you_mean
from rating.match import Document
from rating.selectors.base import OTHER, Choice, Label, Selector
from rating.terms.fields import LineCommitment

if TYPE_CHECKING:
    from rating.selectors import AnyCharge

DAYS: tuple[str, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NO_BUCKET = -1
"""The position of the time that no bucket covers."""
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00", re.ASCII)


def _time(value: object) -> str:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError(f"{value!r} is not a time of day: write one such as '06:00' or '22:30'")
    return value


def _day(value: object) -> str:
    if value not in DAYS:
        hint = did_you_mean(str(value)[:3].lower(), DAYS) or f": use {', '.join(DAYS)}"
        raise ValueError(f"there is no day {value!r}{hint}")
    return str(value)


def _zone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = sorted(zoneinfo.available_timezones())
        if not known:
            raise ValueError("this machine knows no time zones: install the Python package tzdata") from None
        hint = did_you_mean(value, known) or ", such as Europe/Berlin"
        raise ValueError(f"there is no time zone {value!r}{hint}") from None
    return value


TimeText = Annotated[
    str,
    BeforeValidator(_time),
    WithJsonSchema({"type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"}),
]
"""A time of day, "22:00"; "24:00" is the end of the day."""
Day = Annotated[str, BeforeValidator(_day), WithJsonSchema({"type": "string", "enum": list(DAYS)})]
ZoneName = Annotated[
    str,
    AfterValidator(_zone),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_+/-]+$", "examples": ["Europe/Berlin", "UTC"]}),
]
"""A time zone of the IANA database."""


def minute_of(text: str) -> int:
    """Minutes since midnight of a time of day."""
    return int(text[:2]) * 60 + int(text[3:])


class TimeBucket(Document):
    """Hours of some days: from `from` until `to`, on each of `days`. `to` at or before `from` is on the next day.

    A bucket across midnight belongs to the day on which it begins: fri 22:00 to 06:00 ends on Saturday morning.
    """

    days: Annotated[tuple[Day, ...] | None, Field(json_schema_extra={"minItems": 1})] = None
    """The days on which it begins; left out: every day."""
    begins: Annotated[TimeText, Field(alias="from")] = "00:00"
    """Local time at which it begins; left out: at midnight."""
    ends: Annotated[TimeText, Field(alias="to")] = "24:00"
    """Local time at which it ends, not included; left out: at midnight."""
    name: Name | None = None
    """What its line is called after the SKU, e.g. peak; left out: its days and hours."""
    charge: AnyCharge
    """What usage in these hours costs."""
    commitment: LineCommitment | None = None
    """What the tenant commits to use of it; left out: what the SKU says."""

    @model_serializer(mode="wrap")
    def _as_written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        """As a card says it: `from` and `to`, whatever document the bucket is written in."""
        return {{"begins": "from", "ends": "to"}.get(name, name): value for name, value in write(self).items()}

    def spans(self) -> Iterator[tuple[int, int]]:
        """First minute of the week (Monday 00:00 is 0) and length in minutes of each day's hours."""
        begins = minute_of(self.begins)
        length = (minute_of(self.ends) - begins) % DAY_MINUTES or DAY_MINUTES
        for day in self.days if self.days is not None else DAYS:
            yield DAYS.index(day) * DAY_MINUTES + begins, length

    @property
    def text(self) -> str:
        """Its days and hours as a part of an id: `mon-fri-08:00-20:00`."""
        return self.hours_text.replace(" ", "-")

    @property
    def hours_text(self) -> str:
        """Its days and hours for people: `mon-fri 08:00-20:00`."""
        hours = "" if self.begins == "00:00" and self.ends == "24:00" else f"{self.begins}-{self.ends}"
        return " ".join(part for part in (_days_text(self.days), hours) if part) or "all day"


class TimeOfDay(Selector):
    """Buckets of local time. A window of usage is in the bucket in which it begins; else `default`, or it is unrated.

    Local time is that of the zone on the day, summer time included: on the day with 25 hours the hour that comes twice is
    charged alike both times, on the day with 23 hours the missing one is not there.
    """

    model: Literal["time_of_day"]
    """The charge goes by the time of the usage."""
    time_zone: ZoneName
    """Time zone in which the times are meant, e.g. Europe/Berlin."""
    buckets: Annotated[tuple[TimeBucket, ...], Field(json_schema_extra={"minItems": 1})]
    """The buckets; no two may overlap."""
    default: AnyCharge | None = None
    """What usage at any other time costs; left out: it is unrated."""

    def choices(self) -> Iterator[Choice]:
        """The buckets, then the default."""
        for index, bucket in enumerate(self.buckets):
            label = Label(bucket.name or bucket.text)
            yield Choice(
                bucket.charge,
                ("buckets", index, "charge"),
                (label,),
                times=(self, index),
                commitment=bucket.commitment,
            )
        if self.default is not None:
            yield Choice(self.default, ("default",), (Label(OTHER),), times=(self, NO_BUCKET))

    def own_problems(self) -> Iterator[tuple[Path, str]]:
        """Buckets that overlap, and times that are none."""
        if not self.buckets:
            yield ("buckets",), "there is no bucket: give at least one"
        for index, bucket in enumerate(self.buckets):
            if bucket.begins == "24:00":
                yield ("buckets", index, "from"), "a bucket begins before the end of the day: write from: '00:00'"
            if bucket.days is not None and not bucket.days:
                yield ("buckets", index, "days"), "name at least one day, or leave days out for every day"
            if bucket.days is not None and len(set(bucket.days)) != len(bucket.days):
                yield ("buckets", index, "days"), "a day stands twice: leave one out"
        for (first, left), (second, right) in combinations(enumerate(self.buckets), 2):
            minute = _shared_minute(left, right)
            if minute is not None:
                day, rest = divmod(minute, DAY_MINUTES)
                yield (
                    ("buckets", second),
                    f"an overlap: {DAYS[day]} {rest // 60:02d}:{rest % 60:02d} is in buckets[{first}] too, "
                    "move one of its edges",
                )

    def bucket_at(self, instant: datetime) -> int:
        """The bucket of an aware instant, by the local time then; NO_BUCKET if it is in none."""
        local = instant.astimezone(zoneinfo.ZoneInfo(self.time_zone))
        minute = local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute
        starts, buckets = self._week
        return buckets[bisect_right(starts, minute) - 1]

    @cached_property
    def _week(self) -> tuple[Sequence[int], Sequence[int]]:
        """The minutes of the week at which a bucket (or none) begins, from 0 on, and which one."""
        pieces = sorted(
            (start, end, index)
            for index, bucket in enumerate(self.buckets)
            for begin, length in bucket.spans()
            for start, end in within_week(begin, length)
        )
        starts, buckets, reached = [0], [NO_BUCKET], 0
        for start, end, index in pieces:
            if start > reached:
                starts.append(reached)
                buckets.append(NO_BUCKET)
            starts.append(start)
            buckets.append(index)
            reached = end
        if reached < WEEK_MINUTES:
            starts.append(reached)
            buckets.append(NO_BUCKET)
        return starts, buckets


def within_week(begin: int, length: int) -> Iterator[tuple[int, int]]:
    """Minutes [start, end) of one week that a span covers; what goes past Sunday's end is at Monday's beginning."""
    end = begin + length
    yield begin, min(end, WEEK_MINUTES)
    if end > WEEK_MINUTES:
        yield 0, end - WEEK_MINUTES


def _shared_minute(left: TimeBucket, right: TimeBucket) -> int | None:
    """The first minute of the week that is in both."""
    theirs = [piece for span in right.spans() for piece in within_week(*span)]
    shared = [
        max(start, begin)
        for span in left.spans()
        for start, end in within_week(*span)
        for begin, stop in theirs
        if max(start, begin) < min(end, stop)
    ]
    return min(shared, default=None)


def _days_text(days: Sequence[str] | None) -> str:
    """mon-fri for neighbours, mon+wed for others, nothing for every day."""
    chosen = sorted({DAYS.index(day) for day in days}) if days is not None else list(range(7))
    if len(chosen) == 7:
        return ""
    if len(chosen) > 2 and chosen == list(range(chosen[0], chosen[-1] + 1)):
        return f"{DAYS[chosen[0]]}-{DAYS[chosen[-1]]}"
    return "+".join(DAYS[day] for day in chosen)
