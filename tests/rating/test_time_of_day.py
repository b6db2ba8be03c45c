"""Prices by the time of day: local time, midnight, days with 23 and 25 hours, and windows shorter than an hour."""

# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from rating import rate
from rating.cards import parse_card
from rating.catalog import Catalog
from rating.errors import CardError
from rating.invoices import build_invoice
from rating.period import TenantPeriod
from rating.selectors import TimeOfDay
from rating.selectors.time_of_day import DAYS, NO_BUCKET, minute_of
from rating.windows import HOUR, WindowSize, hour_of, hour_start
from tests.rating.builders import Document, card, catalog, document, graduated, key, latest, per_unit, sku

WORKDAYS = ["mon", "tue", "wed", "thu", "fri"]


def bucket(begin: str, end: str, price: str = "1", **fields: Any) -> Document:
    return {"from": begin, "to": end, "charge": per_unit(price), **fields}


def timed(zone: str, *buckets: Document, **fields: Any) -> Document:
    return {"model": "time_of_day", "time_zone": zone, "buckets": list(buckets), **fields}


def made(zone: str, *buckets: Document, **fields: Any) -> TimeOfDay:
    return TypeAdapter(TimeOfDay).validate_python(timed(zone, *buckets, **fields))


NIGHT = timed("Europe/Berlin", bucket("22:00", "06:00", name="night"), default=per_unit("3"))
GPU = card(sku("{gpu_type}/hours", "gpu_seconds", NIGHT))


def hours_by_line(day: str) -> Counter[str]:
    """How many hours of a local day in Berlin are on each line."""
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    end = (begin + timedelta(days=1)).astimezone(UTC)
    found: Counter[str] = Counter()
    at = begin.astimezone(UTC)
    while at < end:
        lines = rate(GPU, [(key(gpu_type="H100"), hour_of(at), {"gpu_seconds": Decimal(3600)})])
        found.update(line.sku for line in lines)
        at += timedelta(hours=1)
    return found


@pytest.mark.parametrize(
    ("day", "night", "other"),
    [("2026-03-28", 8, 16), ("2026-03-29", 7, 16), ("2026-10-24", 8, 16), ("2026-10-25", 9, 16)],
)
def test_the_day_that_loses_or_gains_an_hour_has_one_night_hour_less_or_more(day: str, night: int, other: int) -> None:
    assert hours_by_line(day) == {"H100/hours/night": night, "H100/hours/other": other}


def test_the_hour_that_comes_twice_is_charged_alike_and_an_edge_in_the_missing_hour_is_at_its_end() -> None:
    found = made("Europe/Berlin", bucket("02:00", "03:00"), bucket("03:00", "04:00"))
    twice = [datetime(2026, 10, 25, hour, tzinfo=UTC) for hour in (0, 1, 2)]  # 02:00, 02:00 again, 03:00
    assert [found.bucket_at(at) for at in twice] == [0, 0, 1]
    missing = [datetime(2026, 3, 29, hour, tzinfo=UTC) for hour in (0, 1, 2)]  # 01:00, 03:00, 04:00
    assert [found.bucket_at(at) for at in missing] == [NO_BUCKET, 1, NO_BUCKET]


def test_a_bucket_across_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    found = made("UTC", bucket("22:00", "06:00", days=["fri"]), bucket("22:00", "06:00", days=["sun"]))
    friday = datetime(2026, 1, 2, tzinfo=UTC)
    after = {
        hour: found.bucket_at(friday + timedelta(hours=hour)) for hour in (0, 21, 22, 24, 29, 30, 46, 70, 72, 77, 78)
    }
    assert after == {0: -1, 21: -1, 22: 0, 24: 0, 29: 0, 30: -1, 46: -1, 70: 1, 72: 1, 77: 1, 78: -1}


def test_whole_days_and_buckets_that_end_where_they_begin() -> None:
    weekend = made("UTC", {"days": ["sat", "sun"], "charge": per_unit("1")}, default=per_unit("2"))
    monday = datetime(2026, 1, 5, tzinfo=UTC)
    assert [weekend.bucket_at(monday + timedelta(days=day, hours=23)) for day in range(7)] == [-1] * 5 + [0, 0]
    assert [weekend.bucket_at(monday + timedelta(days=day)) for day in range(8)] == [-1] * 5 + [0, 0, -1]
    round_the_clock = made("UTC", bucket("06:00", "06:00", days=["tue"]))
    assert [round_the_clock.bucket_at(monday + timedelta(hours=hour)) for hour in (29, 30, 53, 54)] == [-1, 0, 0, -1]


def test_lines_are_called_by_days_and_hours_unless_they_have_a_name() -> None:
    made_of = card(
        sku(
            "in",
            "input",
            timed(
                "UTC",
                bucket("08:00", "20:00", days=WORKDAYS),
                bucket("09:00", "12:00", days=["sun", "sat"]),
                bucket("20:00", "08:00", name="quiet"),
            ),
        ),
        sku("out", "output", timed("UTC", {"days": ["wed"], "charge": per_unit("1")}, default=per_unit("1"))),
        sku("r", "requests", timed("UTC", bucket("00:00", "08:00"), bucket("20:00", "24:00"))),
        sku("i", "images", timed("UTC", {"charge": per_unit("1")})),
        sku("t", "training_tokens", timed("UTC", {"days": ["sun", "fri", "sat"], "charge": per_unit("1")})),
    )
    assert [cell.sku for cell in made_of.cells] == [
        "in/mon-fri-08:00-20:00", "in/sat+sun-09:00-12:00", "in/quiet", "out/wed", "out/other",
        "r/00:00-08:00", "r/20:00-24:00", "i/all-day", "t/fri-sun",
    ]  # fmt: skip
    line = rate(made_of, [(key(), hour_of(datetime(2026, 1, 5, 9, tzinfo=UTC)), {"input_uncached": Decimal(1)})])[0]
    assert (line.sku, dict(line.dimensions)) == ("in/mon-fri-08:00-20:00", {"time_of_day": "mon-fri-08:00-20:00"})


def test_time_in_no_bucket_has_no_price_without_a_default() -> None:
    only = card(sku("in", "input", timed("UTC", bucket("22:00", "06:00"))))
    usage = [
        (key(), hour_of(datetime(2026, 1, 5, hour, tzinfo=UTC)), {"input_uncached": Decimal(7)}) for hour in (3, 12)
    ]
    assert {line.sku: line.amount for line in rate(only, usage)} == {
        "in/22:00-06:00": 7,
        "unrated/input_uncached": None,
    }


def problems(charge: Document, minutes: int = 60, **fields: Any) -> list[str]:
    try:
        parse_card(document(sku("in", "input", charge), **fields), window=WindowSize(minutes))
    except CardError as error:
        return [str(problem).removeprefix("skus[0].charge.") for problem in error.problems]
    return []


OVERLAPS = [
    (bucket("08:00", "20:00"), bucket("19:00", "22:00"), "mon 19:00"),
    (bucket("22:00", "06:00"), bucket("05:00", "08:00", days=["wed"]), "wed 05:00"),
    (bucket("22:00", "06:00", days=["sun"]), bucket("00:00", "01:00", days=["mon"]), "mon 00:00"),
    ({"charge": per_unit("1")}, bucket("12:00", "13:00", days=["thu"]), "thu 12:00"),
]


@pytest.mark.parametrize(("one", "other", "at"), OVERLAPS)
def test_buckets_that_overlap_are_refused(one: Document, other: Document, at: str) -> None:
    (problem,) = problems(timed("UTC", one, other))
    assert problem == f"buckets[1]: an overlap: {at} is in buckets[0] too, move one of its edges"


def test_buckets_that_only_touch_are_right() -> None:
    assert not problems(timed("UTC", bucket("22:00", "06:00"), bucket("06:00", "22:00")))
    assert not problems(timed("UTC", bucket("22:00", "06:00", days=["sun"]), bucket("06:00", "12:00", days=["mon"])))


@pytest.mark.parametrize(
    ("zone", "edge", "minutes", "advice"),
    [
        ("Asia/Kolkata", "22:00", 60, "use '21:30'"),
        ("Asia/Kathmandu", "22:00", 30, "use '21:45'"),
        ("Europe/Berlin", "22:15", 60, "use '22:00'"),
        ("Australia/Lord_Howe", "22:00", 60, "that takes a deployment with windows of 30 minutes"),
    ],
)
def test_an_edge_that_cuts_a_window_is_refused(zone: str, edge: str, minutes: int, advice: str) -> None:
    (problem,) = problems(timed(zone, bucket(edge, "23:30"), default=per_unit("1")), minutes)[:1]
    assert problem.startswith(
        f"buckets[0].from: {edge} in {zone} cuts a window: it is not the start of a window of {minutes}"
    )
    assert problem.endswith(advice)


@pytest.mark.parametrize(
    ("zone", "begin", "end", "minutes"),
    [
        ("Asia/Kolkata", "22:30", "06:30", 60),
        ("Asia/Kolkata", "22:00", "06:00", 30),
        ("Asia/Kathmandu", "22:00", "06:15", 15),
        ("Australia/Lord_Howe", "22:00", "06:30", 30),
        ("America/New_York", "22:00", "24:00", 60),
    ],
)
def test_edges_that_begin_windows_are_right(zone: str, begin: str, end: str, minutes: int) -> None:
    assert not problems(timed(zone, bucket(begin, end), default=per_unit("1")), minutes)


def test_only_the_offsets_of_the_time_that_the_card_prices_count() -> None:
    # Caracas was at -04:30 until May 2016, and is at -04:00 since.
    charge = timed("America/Caracas", bucket("22:00", "06:00"))
    assert problems(charge, effective_from="2015-01-01T00:00:00Z")
    assert not problems(charge, effective_from="2017-01-01T00:00:00Z")
    assert problems(charge, effective_from="2015-01-01T00:00:00Z", effective_to="2016-01-01T00:00:00Z")


ONE = bucket("01:00", "02:00")
NO_TIME = "is not a time of day: write one such as '06:00' or '22:30'"


@pytest.mark.parametrize(
    ("charge", "problem"),
    [
        (timed("Europe/Berln", ONE), "time_zone: there is no time zone 'Europe/Berln', did you mean Europe/Berlin?"),
        (timed("../etc/passwd", ONE), "time_zone: there is no time zone '../etc/passwd', such as Europe/Berlin"),
        (timed("UTC", {**ONE, "from": "1:00"}), f"buckets[0].from: '1:00' {NO_TIME}"),
        (timed("UTC", {**ONE, "to": "24:30"}), f"buckets[0].to: '24:30' {NO_TIME}"),
        (
            timed("UTC", {**ONE, "from": "24:00"}),
            "buckets[0].from: a bucket begins before the end of the day: write from: '00:00'",
        ),
        (timed("UTC", {**ONE, "days": ["Monday"]}), "buckets[0].days[0]: there is no day 'Monday', did you mean mon?"),
        (timed("UTC", {**ONE, "days": ["mon", "mon"]}), "buckets[0].days: a day stands twice: leave one out"),
        (
            timed("UTC", {**ONE, "days": []}),
            "buckets[0].days: name at least one day, or leave days out for every day",
        ),
        (timed("UTC"), "buckets: there is no bucket: give at least one"),
        (
            timed("UTC", {**ONE, "until": "x"}),
            "buckets[0].until: unknown field: use days, from, to, name, charge, commitment",
        ),
    ],
)
def test_what_is_wrong_with_times_is_said_at_its_place(charge: Document, problem: str) -> None:
    assert problems(charge) == [problem]


ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Africa/Casablanca",
)
TIMES = st.integers(0, 95).map(lambda quarter: f"{quarter // 4:02d}:{quarter % 4 * 15:02d}")
BUCKETS = st.tuples(TIMES, TIMES, st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True) | st.none())


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ZONES),
    BUCKETS,
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)),  # made UTC below
)
def test_a_bucket_holds_exactly_from_its_beginning_until_its_end(
    zone: str, drawn: tuple[str, str, list[str] | None], naive: datetime
) -> None:
    begin, end, days = drawn
    some: Document = {"days": days} if days else {}
    found = made(zone, bucket(begin, end, **some))
    at = naive.replace(tzinfo=UTC)
    local = at.astimezone(ZoneInfo(zone))
    minute, first, last = local.hour * 60 + local.minute, minute_of(begin), minute_of(end)
    today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
    chosen = days or DAYS
    if first < last:
        inside = today in chosen and first <= minute < last
    else:
        inside = (today in chosen and minute >= first) or (yesterday in chosen and minute < last)
    assert (found.bucket_at(at) == 0) is inside


@pytest.mark.parametrize("minutes", [60, 30, 15])
def test_windows_of_any_size_are_in_the_bucket_in_which_they_begin(minutes: int) -> None:
    window = WindowSize(minutes)
    only = parse_card(
        document(sku("in", "input", timed("Asia/Kolkata", bucket("22:30", "06:30", "2"), default=per_unit("1")))),
        window=window,
    )
    first = window.index_of(datetime(2026, 1, 5, tzinfo=UTC))
    windows = range(first, first + 24 * 60 // minutes)
    lines = rate(only, [(key(), each, {"input_uncached": Decimal(1)}) for each in windows], window=window)
    night = [line.window_start for line in lines if line.sku == "in/22:30-06:30"]
    assert night == [
        window.start(each) for each in windows if window.start(each).hour >= 17 or window.start(each).hour < 1
    ]
    assert sum(line.quantity for line in lines) == len(windows)


def test_a_card_change_inside_a_bucket_prices_each_hour_by_its_own_version_and_the_position_goes_on() -> None:
    def version(number: int, begin: int, price: str, charge: Document) -> Any:
        buckets = timed("Europe/Berlin", {"from": "20:00", "to": "08:00", "name": "night", "charge": charge})
        buckets["default"] = per_unit(price, 3600)
        return card(sku("gpu", "gpu_seconds", buckets), version=number, effective_from=hour_start(begin))

    evening = hour_of(datetime(2026, 3, 28, 19, tzinfo=UTC))  # 20:00 in Berlin; summer time begins in this night
    first = version(1, evening - 100, "9", graduated((7200, "2", "0"), (None, "1", "0"), per=3600))
    second = version(2, evening + 5, "8", graduated((7 * 3600, "4", "0"), (None, "3", "0"), per=3600))
    period = TenantPeriod("acme", "2026-03")
    known: Catalog = catalog(first, second)
    for hour in reversed(range(evening - 1, evening + 12)):
        period.add(key(), hour, None, {"gpu_seconds": Decimal(3600)})
    lines = list(latest(period.lines(known, closed=True)).values())
    night = [(line.window_start.hour, line.amount) for line in lines if line.sku == "gpu/night"]
    # 20:00 to 08:00 is eleven hours in this night; the sixth and seventh are still in the new version's first tier.
    assert sorted(night, key=lambda pair: (pair[0] < 19, pair[0])) == list(
        zip([19, 20, 21, 22, 23, 0, 1, 2, 3, 4, 5], [2, 2, 1, 1, 1, 4, 4, 3, 3, 3, 3], strict=True)
    )
    assert [line.amount for line in lines if line.sku == "gpu/other"] == [9, 8]
    billed = build_invoice("acme", "2026-03", "USD", lines, known)
    assert {line.sku: (line.exact_amount, sum(tier.amount for tier in line.tiers)) for line in billed.lines} == {
        "gpu/night": (27, 27),
        "gpu/other": (17, 17),
    }


def test_windows_of_one_slot_share_what_the_card_remembers() -> None:
    router = GPU.router
    slots = {router.slot(hour, HOUR) for hour in range(hour_of(datetime(2026, 1, 1, tzinfo=UTC)), 500_000)}
    assert slots == {(0,), (NO_BUCKET,)}
