# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
"""What a line counts: every aggregation against a plain reading of all events, in any order and any cuts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating import rate
from rating.aggregations.events import event_usage
from rating.aggregations.gathered import Gathered, MeteredEvent, gathered_of
from rating.aggregations.names import AGGREGATIONS
from rating.cards import RateCard, parse_card
from rating.catalog import Catalog
from rating.errors import CardError
from rating.period import TenantPeriod
from rating.rated import RatedLine
from tests.rating.builders import PERIOD, START, card, catalog, document, graduated, key, latest, per_unit, sku
from tests.rating.test_period import graduated_price, q12

HOUR_US = 3_600_000_000
TIERS = ((7, "0.35", "1.5"), (20, "0.2", "0"), (None, "0.1", "2"))
HOURS_BEGUN = 22


@dataclass(frozen=True)
class Event:
    """An event as the tests state it: microseconds into the period, quantity in whole units."""

    name: int
    at_us: int
    quantity: Decimal
    api_key: int | None
    workflow: int | None

    @property
    def hour(self) -> int:
        return self.at_us // HOUR_US


HOURS = st.sampled_from([0, 0, 1, 2, 9, 20])


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    return [
        Event(
            name,
            draw(HOURS) * HOUR_US + draw(st.sampled_from([0, 1, HOUR_US // 3, HOUR_US - 1])),
            draw(st.sampled_from([Decimal(each) for each in ("-3", "0", "0.000000001", "2", "5.5", "11", "40")])),
            draw(st.sampled_from([None, 1, 2, 3])),
            draw(st.sampled_from([None, 7, 8])),
        )
        for name in range(draw(st.integers(1, 8)))
    ]


def gathered(part: Iterable[Event]) -> dict[int, Gathered]:
    """By hour, what a stream would gather of some events."""
    found: dict[int, Gathered] = {}
    for event in part:
        made = gathered_of(
            [MeteredEvent(event.at_us, event.name, int(event.quantity * 10**9))], (event.hour + 1) * HOUR_US
        )
        for ids, one in ((made.api_keys, event.api_key), (made.workflows, event.workflow)):
            if one is not None:
                ids[one] = None
        found.setdefault(event.hour, Gathered()).merge(made)
    return found


def position(name: str, known: Sequence[Event], end_us: int) -> Fraction:
    """What has been counted when some events are known, levels going on up to `end_us`."""
    if name == "sum":
        return sum((Fraction(each.quantity) for each in known), Fraction(0))
    if name == "count":
        return Fraction(len(known))
    if name == "max":
        return Fraction(max((each.quantity for each in known), default=Decimal(0)))
    if name == "latest":
        return Fraction(max(known, key=lambda each: (each.at_us, each.name)).quantity) if known else Fraction(0)
    if name == "unique_api_keys":
        return Fraction(len({each.api_key for each in known} - {None}))
    if name == "unique_workflows":
        return Fraction(len({each.workflow for each in known} - {None}))
    return unit_hours(known, 0, end_us)


def unit_hours(known: Iterable[Event], start_us: int, end_us: int) -> Fraction:
    """Level x time between two instants, to billionths, half away from zero."""
    exact = sum((Fraction(each.quantity) * (end_us - max(each.at_us, start_us)) for each in known), Fraction(0))
    scaled = exact * 10**9 / HOUR_US
    rounded = int((abs(scaled) * 2 + 1) // 2)
    return Fraction(rounded if scaled >= 0 else -rounded, 10**9)


def expected(name: str, scope: str, known: Sequence[Event]) -> dict[int, tuple[Fraction, Decimal]]:
    """Quantity and amount by hour of the period, where one of them is not 0."""
    found = {}
    before, charged = Fraction(0), Decimal(0)
    for hour in range(HOURS_BEGUN) if name == "time_weighted" else sorted({each.hour for each in known}):
        up_to = [each for each in known if each.hour <= hour]
        if scope == "period":
            after = position(name, up_to, (hour + 1) * HOUR_US)
        elif name == "time_weighted":
            after = unit_hours(up_to, hour * HOUR_US, (hour + 1) * HOUR_US)
        else:
            after = position(name, [each for each in up_to if each.hour == hour], 0)
        if after != before:
            price = signed_price(after)
            found[hour] = (after - before, price - charged)
            if scope == "period":
                before, charged = after, price
    return found


def signed_price(quantity: Fraction) -> Decimal:
    """The tiers' price; below zero the first tier's fee, which is owed at zero, and its price."""
    if quantity <= 0:
        exact = Fraction("1.5") + quantity * Fraction("0.35") / 3
        scaled = exact * 10**12
        rounded = int((abs(scaled) * 2 + 1) // 2)
        return Decimal(rounded if scaled >= 0 else -rounded).scaleb(-12)
    return q12(graduated_price(TIERS, 3, quantity))


def counting_card(name: str, scope: str, **fields: Any) -> RateCard:
    return card(
        {
            **sku("line", "units.x", graduated(*TIERS, per=3)),
            "aggregation": name,
            "tier_scope": scope,
        },
        **fields,
    )


def rated_in_cuts(prices: Catalog, parts: Sequence[Sequence[Event]], asked: Sequence[bool]) -> list[RatedLine]:
    period = TenantPeriod("acme", PERIOD)
    lines: list[RatedLine] = []
    for part, ask in zip(parts, asked, strict=True):
        for hour, value in gathered(part).items():
            period.add(key(), START + hour, None, {"units.x": value})
        if ask:
            lines += period.lines(prices, closed=False, now=START + HOURS_BEGUN - 1)
    lines += period.lines(prices, closed=False, now=START + HOURS_BEGUN - 1)
    return list(latest(lines).values())


def found(lines: Iterable[RatedLine]) -> dict[int, tuple[Fraction, Decimal]]:
    return {
        int(line.window_start.timestamp()) // 3600 - START: (Fraction(line.quantity), line.amount or Decimal(0))
        for line in lines
        if line.sku == "line" and line.window_kind == "hour" and (line.quantity or line.amount)
    }


@pytest.mark.parametrize("scope", ["period", "hour"])
@pytest.mark.parametrize("name", AGGREGATIONS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_every_aggregation_counts_what_all_events_say_in_any_order_and_cuts(
    name: str, scope: str, data: st.DataObject
) -> None:
    known = data.draw(events())
    shuffled = data.draw(st.permutations(known))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(known)), max_size=3)))
    edges = [0, *cuts, len(known)]
    parts = [shuffled[first:last] for first, last in pairwise(edges)]
    asked = [data.draw(st.booleans()) for _ in parts]
    prices = catalog(counting_card(name, scope))
    assert found(rated_in_cuts(prices, parts, asked)) == expected(name, scope, known)


@pytest.mark.parametrize("name", AGGREGATIONS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_late_usage_makes_the_period_cost_what_it_would_have(name: str, data: st.DataObject) -> None:
    known = data.draw(events())
    split = data.draw(st.integers(0, len(known)))
    prices = catalog(counting_card(name, "period"))
    period = TenantPeriod("acme", PERIOD)
    for booked, part in ((None, known[:split]), ("2026-02", known[split::2]), ("2026-03", known[split + 1 :: 2])):
        for hour, value in gathered(part).items():
            period.add(key(), START + hour, booked, {"units.x": value})
    lines = [each for each in period.lines(prices, closed=True) if each.sku.startswith("line")]
    whole = TenantPeriod("acme", PERIOD)
    for hour, value in gathered(known).items():
        whole.add(key(), START + hour, None, {"units.x": value})
    together = [each for each in whole.lines(prices, closed=True) if each.sku.startswith("line")]
    assert sum(each.amount or 0 for each in lines) == sum(each.amount or 0 for each in together)
    # A fee that is owed without usage has no quantity; where usage came late, only the adjustments have one.
    assert sum(each.quantity for each in lines) == sum(each.quantity for each in together)


def test_a_meter_may_stand_on_lines_of_several_aggregations_and_its_sum_is_kept() -> None:
    prices = card(
        {**sku("seats", "requests", per_unit("10")), "aggregation": "unique_api_keys"},
        sku("calls", "requests", per_unit("0.01")),
        {**sku("peak", "units.gpus", per_unit("3")), "aggregation": "max", "unit": "gpus"},
        {**sku("last", "units.gpus", per_unit("5")), "aggregation": "latest"},
    )
    calls = Gathered(7, api_keys={1: None, 2: None})
    gpus = gathered_of([MeteredEvent(0, 1, 4 * 10**9), MeteredEvent(9, 2, 2 * 10**9)], HOUR_US)
    lines = rate(prices, [(key(), START, {"requests": calls, "units.gpus": gpus})])
    assert {(each.sku, each.quantity, each.unit, each.amount, each.kind) for each in lines} == {
        ("seats", Decimal(2), "API keys", Decimal(20), "usage"),
        ("calls", Decimal(7), "requests", Decimal("0.07"), "usage"),
        ("peak", Decimal(4), "gpus", Decimal(12), "usage"),
        ("last", Decimal(2), "units", Decimal(10), "usage"),
        ("uncharged/counted_otherwise/units.gpus", Decimal(6), "units", Decimal(0), "usage"),
    }
    by_sku = {each.sku: each.dimensions.get("aggregation") for each in lines}
    assert by_sku == {
        "seats": "unique_api_keys",
        "calls": None,
        "peak": "max",
        "last": "latest",
        "uncharged/counted_otherwise/units.gpus": None,
    }


def test_failed_requests_count_for_no_aggregation_unless_the_card_charges_them() -> None:
    counted = {**sku("events", "units.x", per_unit("1")), "aggregation": "count"}
    usage = [(key(status="error"), START, {"units.x": Decimal(3)})]
    assert {each.sku for each in rate(card(counted), usage)} == {"uncharged/status_error/units.x"}
    charged = rate(card(counted, charge_status=["success", "error"]), usage)
    assert {each.sku: each.quantity for each in charged}["events"] == 1


def test_an_id_counts_in_the_first_hour_that_has_it_also_if_that_comes_later() -> None:
    prices = catalog(card({**sku("seats", "requests", per_unit("10")), "aggregation": "unique_api_keys"}))
    period = TenantPeriod("acme", PERIOD)

    def seats(hour: int, *ids: int) -> dict[int, int]:
        period.add(key(), START + hour, None, {"requests": Gathered(1, api_keys=dict.fromkeys(ids))})
        lines = latest(period.lines(prices, closed=False, only_changed=False)).values()
        return {
            int(each.window_start.timestamp()) // 3600 - START: int(each.quantity)
            for each in lines
            if each.sku == "seats" and each.quantity
        }

    assert seats(5, 1, 2) == {5: 2}
    assert seats(3, 2) == {3: 1, 5: 1}
    assert seats(1, 1, 2, 9) == {1: 3}


def change(quantity: int, at_us: int, name: int = 0) -> tuple[Any, int, dict[str, Gathered]]:
    hour = at_us // HOUR_US
    event = MeteredEvent(at_us, name, quantity * 10**9)
    return key(), hour, {"units.gpus": gathered_of([event], (hour + 1) * HOUR_US)}


RESERVED = card(
    {**sku("reserved", "units.gpus", per_unit("2.50")), "aggregation": "time_weighted", "unit": "gpu-hours"}
)


def test_a_level_goes_on_over_hours_and_months_until_it_changes() -> None:
    start = START * HOUR_US
    february = (START + 744) * HOUR_US
    april = (START + (31 + 28 + 31) * 24) * HOUR_US
    changes = [change(2, start), change(-1, start + 2 * HOUR_US), change(-1, april)]
    lines = [each for each in rate(RESERVED, changes) if each.sku == "reserved"]
    hours: dict[str, list[Decimal]] = {}
    for each in lines:
        hours.setdefault(each.service_period, []).append(each.quantity)
    assert {month: (len(each), sum(each)) for month, each in hours.items()} == {
        "2026-01": (744, Decimal(746)),
        "2026-02": (672, Decimal(672)),
        "2026-03": (744, Decimal(744)),
    }
    assert sum(each.amount or 0 for each in lines) == (746 + 672 + 744) * Decimal("2.50")
    half = [change(1, start), change(-1, february + HOUR_US // 2)]
    lines = [each for each in rate(RESERVED, half) if each.service_period == "2026-02" and each.sku == "reserved"]
    assert [(each.quantity, each.amount) for each in lines] == [(Decimal("0.5"), Decimal("1.25"))]


def test_a_level_is_counted_up_to_the_last_window_that_has_begun() -> None:
    period = TenantPeriod("acme", PERIOD)
    period.add(*_on_time(change(1, START * HOUR_US)))
    prices = catalog(RESERVED)
    quantities = []
    for now in (START, START + 1, START + 1, START + 4):
        lines = [each for each in period.lines(prices, closed=False, now=now) if each.sku == "reserved"]
        quantities.append([each.quantity for each in lines])
    assert quantities == [[1], [1], [], [1, 1, 1]]


def _on_time(one: tuple[Any, int, dict[str, Gathered]]) -> tuple[Any, int, None, dict[str, Gathered]]:
    return one[0], one[1], None, one[2]


def test_a_late_change_of_a_level_adjusts_its_period_and_moves_the_next_one() -> None:
    prices = catalog(RESERVED)
    january, february = TenantPeriod("acme", PERIOD), TenantPeriod("acme", "2026-02")
    made = change(1, (START + 700) * HOUR_US)
    january.add(made[0], made[1], "2026-02", made[2])
    lines = january.lines(prices, closed=True)
    assert [(each.kind, each.billing_period, each.quantity, each.amount) for each in lines if each.amount] == [
        ("adjustment", "2026-02", Decimal(44), Decimal("110.00"))
    ]
    level = {each._replace(booked=None): left for each, left in january.level_changes().items()}
    february.carry(level)
    lines = [each for each in february.lines(prices, closed=False) if each.sku == "reserved"]
    assert sum(each.quantity for each in lines) == 672
    february.carry({})
    again = [each for each in february.lines(prices, closed=False) if each.sku == "reserved"]
    assert {each.quantity for each in again} == {0}


def test_a_price_by_level_may_begin_within_the_period_of_the_level() -> None:
    first = card(sku("pieces", "units.gpus", per_unit("1")))
    second = parse_card(
        document(
            {**sku("reserved", "units.gpus", per_unit("1")), "aggregation": "time_weighted"},
            version=2,
            effective_from="2026-01-01T05:00:00Z",
        )
    )
    period = TenantPeriod("acme", PERIOD)
    period.add(*_on_time(change(2, START * HOUR_US)))
    period.add(*_on_time(change(3, (START + 6) * HOUR_US, 1)))
    lines = period.lines(catalog(first, second), closed=False, now=START + 7)
    assert sorted((each.sku, int(each.window_start.hour), each.quantity) for each in lines) == [
        ("pieces", 0, 2),
        ("reserved", 5, 2),
        ("reserved", 6, 5),
        ("reserved", 7, 5),
        ("uncharged/counted_otherwise/units.gpus", 6, 3),
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"meter": "input", "aggregation": "max"}, "only custom meters"),
        ({"meter": "requests", "aggregation": "count"}, "by the sum of the meter `requests`"),
        ({"meter": "gpu_seconds", "aggregation": "unique_workflows"}, "no API keys or workflows"),
        ({"meter": "units.x", "aggregation": "median"}, "max"),
        ({"meter": "units.x", "tier_scope": "day"}, "period"),
    ],
)
def test_what_cannot_be_counted_is_refused_with_what_to_write(fields: dict[str, str], said: str) -> None:
    with pytest.raises(CardError, match=said):
        parse_card(document({"sku": "line", "charge": per_unit("1"), **fields}))


def test_two_skus_claim_one_meter_only_if_they_count_it_alike() -> None:
    one, two = sku("a", "units.x", per_unit("1")), sku("b", "units.x", per_unit("1"))
    parse_card(document({**one, "aggregation": "max"}, two))
    with pytest.raises(CardError, match="alike"):
        parse_card(document({**one, "aggregation": "max"}, {**two, "aggregation": "max"}))
    with pytest.raises(CardError, match="duplicate"):
        parse_card(document({**one, "aggregation": "max"}, {**two, "sku": "a"}))


def test_hours_of_a_line_begin_anew_when_the_tiers_do() -> None:
    prices = {**sku("line", "units.x", graduated((10, "0.10", "0"), (20, "0.05", "0"), (None, "0.02", "0")))}
    usage = [(key(), START, {"units.x": Decimal(9)}), (key(), START + 1, {"units.x": Decimal(15)})]
    hourly = rate(card({**prices, "tier_scope": "hour"}), usage)
    assert sum(each.amount or 0 for each in hourly) == Decimal("2.15")
    assert sum(each.amount or 0 for each in rate(card(prices), usage)) == Decimal("1.58")


def test_a_value_of_0_is_remembered() -> None:
    prices = catalog(card({**sku("last", "units.gpus", per_unit("5")), "aggregation": "latest"}))
    period = TenantPeriod("acme", PERIOD)
    lines = []
    for quantity, hour in ((0, 5), (7, 3)):
        made = change(quantity, (START + hour) * HOUR_US)
        period.add(made[0], made[1], None, made[2])
        lines += period.lines(prices, closed=False)
    found = {each.window_start.hour: each.quantity for each in latest(lines).values() if each.sku == "last"}
    assert found == {3: 7, 5: -7}, "the event of 5 o'clock said 0, also if that of 3 o'clock comes later"


def test_usage_of_an_event_is_read_by_every_aggregation() -> None:
    when = datetime(2026, 1, 1, 0, 45, tzinfo=UTC)
    used = event_usage(when, {"requests": Decimal(1), "units.x": Decimal(2), "input_uncached": Decimal(0)}, api_key="k")
    keys = list(used["requests"].api_keys)  # type: ignore[union-attr]
    us = START * HOUR_US + HOUR_US * 3 // 4
    event = MeteredEvent(us, 0, 2 * 10**9)
    assert used == {
        "requests": Gathered(1, api_keys=dict.fromkeys(keys)),
        "units.x": Gathered(
            2 * 10**9, 1, 2 * 10**9, event, 2 * 10**9 * HOUR_US // 4, dict.fromkeys(keys), events=[event]
        ),
        "input_uncached": Gathered(),
    }
    assert len(keys) == 1
    assert event_usage(when, {"requests": Decimal(1)}) == {"requests": Decimal(1)}
    lines = rate(RESERVED, [(key(), when, {"units.gpus": Decimal(2)})])
    first = next(each for each in lines if each.sku == "reserved")
    assert first.quantity == Decimal("0.5"), "an instant counts, not its hour"


def test_what_is_gathered_merges_in_any_order() -> None:
    values = [MeteredEvent(5, 1, 3), MeteredEvent(5, 2, 1), MeteredEvent(4, 9, 8)]
    one = gathered_of(values, 10)
    two = Gathered()
    for each in reversed(values):
        two.merge(gathered_of([each], 10))
    two.events.reverse()
    assert one == two
    assert one == Gathered(12, 3, 8, MeteredEvent(5, 2, 1), 3 * 5 + 5 + 8 * 6, events=values)
    assert not Gathered()
    assert Gathered(count=1)
    assert Gathered(events=values[:1])
    copied = one.copy()
    copied.take(6, 1, 1, 4)
    assert one.count == 3
