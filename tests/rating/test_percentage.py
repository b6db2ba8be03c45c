# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
"""percentage: priced event by event, in the order of the events, whatever the order of arrival."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.aggregations.demands import Demand
from rating.aggregations.gathered import MeteredEvent, gathered_of
from rating.cards import RateCard, parse_card
from rating.catalog import Catalog
from rating.errors import CardError
from rating.models import Percentage
from rating.models.percentage import Priced
from rating.overrides import parse_overrides
from rating.period import TenantPeriod
from rating.rated import RatedLine
from tests.rating.builders import PERIOD, START, card, catalog, document, key, latest, per_unit, sku
from tests.rating.test_period import q12

HOUR_US = 3_600_000_000


def percentage(rate: str, **fields: Any) -> dict[str, Any]:
    return {"model": "percentage", "rate": rate, **fields}


def price(charge: dict[str, Any], *amounts: str) -> Decimal:
    """What events of these amounts cost, one after the other."""
    model = Percentage.model_validate(charge)
    pricer = model.event_pricer(9)
    events = [MeteredEvent(at, at, int(Decimal(amount) * 10**9)) for at, amount in enumerate(amounts)]
    exact = pricer.exact(pricer.price(events, Priced()))
    assert (exact * 10**20).denominator == 1
    return Decimal(exact.numerator) / Decimal(exact.denominator)


BOUNDS = {"minimum_per_event": "1.75", "maximum_per_event": "12"}


@pytest.mark.parametrize(
    ("charge", "amounts", "expected"),
    [
        (percentage("1.3", fixed_fee="2"), ["400"], "7.2"),
        (percentage("1.3", fixed_fee="2", free_events=3), ["50", "100", "250", "400"], "7.2"),
        (percentage("1.3", fixed_fee="2", free_events=3, free_amount="500"), ["50", "100", "250", "400"], "7.2"),
        (percentage("1.3", fixed_fee="2", free_events=5), ["50", "100", "250"], "0"),
        (percentage("2.99", **BOUNDS), ["10", "80", "10000"], "16.142"),
        (percentage("2.99", fixed_fee="2", **BOUNDS), ["10", "80", "10000"], "18.691"),
        (percentage("2.99", free_events=2, **BOUNDS), ["10", "80", "10000"], "12"),
        (percentage("2.99", free_amount="30", **BOUNDS), ["10", "80", "10000"], "13.794"),
        (percentage("2.99", free_events=3, free_amount="10000", **BOUNDS), ["10", "80", "10000"], "2.691"),
        # The amount is used up first: that event is charged for what is beyond, with its fee.
        (percentage("1", fixed_fee="0.5", free_events=9, free_amount="100"), ["60", "50", "10"], "1.20"),
        # Exactly used up: the event is wholly free.
        (percentage("1", fixed_fee="0.5", free_amount="100"), ["60", "40", "10"], "0.60"),
        # Nothing is free when nothing may be; an event of 0 pays its fee.
        (percentage("1", fixed_fee="0.5", free_events=0), ["0"], "0.5"),
        (percentage("1", fixed_fee="0.5", free_events=1), ["0", "0"], "0.5"),
        # A free amount finer than amounts can be leaves a finer rest.
        (percentage("1", free_amount="0.0000000005"), ["0.000000001"], "0.000000000005"),
        # What is given back is its percentage, without fee and bounds.
        (percentage("10", fixed_fee="1", **BOUNDS), ["50", "-20"], "4"),
    ],
)
def test_examples(charge: dict[str, Any], amounts: list[str], expected: str) -> None:
    assert price(charge, *amounts) == Decimal(expected)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"minimum_per_event": "3", "maximum_per_event": "2"}, "no event could cost both"),
        ({"rate": "1e3"}, "plain decimal notation"),
        ({"rate": 0.5}, "float"),
        ({"free_events": -1}, "greater than or equal to 0"),
        ({"free_events": "3"}, "whole number"),
        ({"free_amount": "0"}, "not more than 0"),
        ({"rate": "999999999999999"}, "too|more than"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(CardError, match=said):
        parse_card(document(sku("fees", "units.sales", percentage("1") | fields)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"meter": "requests"}, "units"),
        ({"aggregation": "max"}, "sum"),
        ({"quantity": {"divide_by": "2"}}, "quantity"),
        ({"included": "5"}, "free_amount"),
        ({"commitment": {"amount": "5"}}, "commitment of the card"),
    ],
)
def test_it_prices_events_of_custom_meters_alone(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(CardError, match=said):
        parse_card(document({**sku("fees", "units.sales", percentage("1")), **fields}))


# --- in a period ------------------------------------------------------------------------------------------------------

Event = tuple[int, int, Decimal]
"""Microseconds into the period, identity, amount."""


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    return [
        (
            draw(st.sampled_from([0, 0, 1, 5, 300])) * HOUR_US + draw(st.sampled_from([0, 1, HOUR_US - 1])),
            name,
            draw(st.sampled_from([Decimal(each) for each in ("0", "0.01", "10", "80", "33.333333333", "10000", "-5")])),
        )
        for name in range(draw(st.integers(1, 9)))
    ]


CHARGES = [
    percentage("2.99", fixed_fee="0.3"),
    percentage("2.99", free_events=2, free_amount="60.5", **BOUNDS),
    percentage("1.3", free_amount="100", fixed_fee="2"),
    percentage("0.333333", free_events=3, maximum_per_event="1"),
]


def reference(charge: dict[str, Any], known: Iterable[Event]) -> Fraction:
    """The price of all events by the words of the model."""

    def part(name: str) -> Fraction | None:
        return None if name not in charge else Fraction(str(charge[name]))

    total, used = Fraction(0), Fraction(0)
    for count, (_, _, decimal) in enumerate(sorted(known)):
        amount = Fraction(decimal)
        events_left = "free_events" not in charge or count < charge["free_events"]
        room = part("free_amount")
        free = Fraction(0)
        if ("free_events" in charge or room is not None) and events_left and amount >= 0:
            free = amount if room is None else min(amount, max(room - used, Fraction(0)))
        wholly = ("free_events" in charge or room is not None) and events_left and free == amount
        wholly = wholly and (room is None or used < room)
        if amount < 0:
            total += amount * Fraction(charge["rate"]) / 100
        elif not wholly:
            one = (amount - free) * Fraction(charge["rate"]) / 100 + (part("fixed_fee") or 0)
            one = max(one, part("minimum_per_event") or Fraction(0))
            most = part("maximum_per_event")
            total += one if most is None else min(one, most)
        used += max(amount, Fraction(0))
    return total


def rounded(value: Fraction) -> Decimal:
    return q12(value) if value >= 0 else -q12(-value)


def fees_card(charge: dict[str, Any], **fields: Any) -> RateCard:
    return card({**sku("fees", "units.sales", charge), **fields})


def in_cuts(prices: Catalog, parts: Sequence[Sequence[Event]]) -> dict[int, tuple[Decimal, Decimal | None]]:
    period = TenantPeriod("acme", PERIOD)
    lines: list[RatedLine] = []
    for part in parts:
        for at_us, name, amount in part:
            hour = at_us // HOUR_US
            event = MeteredEvent(at_us, name, int(amount * 10**9))
            period.add(key(), START + hour, None, {"units.sales": gathered_of([event], (hour + 1) * HOUR_US)})
        lines += period.lines(prices, closed=False)
    return {
        int(line.window_start.timestamp()) // 3600 - START: (line.quantity, line.amount)
        for line in latest(lines).values()
        if line.sku == "fees"
    }


@pytest.mark.parametrize("charge", CHARGES, ids=str)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_hours_are_what_their_events_add_in_any_order_and_cuts(charge: dict[str, Any], data: st.DataObject) -> None:
    known = data.draw(events())
    shuffled = data.draw(st.permutations(known))
    cut = data.draw(st.integers(0, len(known)))
    found = in_cuts(catalog(fees_card(charge)), [shuffled[:cut], shuffled[cut:]])
    before = Decimal(0)
    for hour in sorted({at_us // HOUR_US for at_us, *_ in known}):
        after = rounded(reference(charge, [each for each in known if each[0] // HOUR_US <= hour]))
        quantity = sum((each[2] for each in known if each[0] // HOUR_US == hour), Decimal(0))
        assert found.pop(hour) == (quantity, after - before)
        before = after
    assert not found


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_price_change_goes_on_with_the_free_events_of_the_period(data: st.DataObject) -> None:
    known = data.draw(events())
    first = fees_card(CHARGES[1])
    second = parse_card(
        document(sku("fees", "units.sales", CHARGES[2]), version=2, effective_from="2026-01-01T05:00:00Z")
    )
    found = in_cuts(catalog(first, second), [data.draw(st.permutations(known))])
    for hour, (_, amount) in found.items():
        charge = CHARGES[1] if hour < 5 else CHARGES[2]
        before = reference(charge, [each for each in known if each[0] // HOUR_US < hour])
        after = reference(charge, [each for each in known if each[0] // HOUR_US <= hour])
        assert amount == rounded(after) - rounded(before)


def test_free_events_begin_anew_with_each_window_where_the_card_says_so() -> None:
    charge = percentage("10", free_events=1)
    known = [(0, 1, Decimal(5)), (1, 2, Decimal(7)), (HOUR_US, 3, Decimal(9)), (HOUR_US + 1, 4, Decimal(11))]
    found = in_cuts(catalog(fees_card(charge, tier_scope="hour")), [known])
    assert {hour: amount for hour, (_, amount) in found.items()} == {0: Decimal("0.7"), 1: Decimal("1.1")}


def test_discount_and_cap_of_the_sku_are_of_the_whole_price() -> None:
    known = [(0, 1, Decimal(100)), (HOUR_US, 2, Decimal(100)), (2 * HOUR_US, 3, Decimal(100))]
    found = in_cuts(catalog(fees_card(percentage("10"), discount_percent="50", maximum="12")), [known])
    assert [amount for _, amount in found.values()] == [Decimal(5), Decimal(5), Decimal(2)]


def test_late_events_take_their_place_among_those_on_time() -> None:
    prices = catalog(fees_card(percentage("1", fixed_fee="2", free_events=1)))
    period = TenantPeriod("acme", PERIOD)
    for hour, name, booked in ((5, 2, None), (3, 1, "2026-02")):
        event = MeteredEvent(hour * HOUR_US, name, 100 * 10**9)
        gathered = gathered_of([event], (hour + 1) * HOUR_US)
        period.add(key(), START + hour, booked, {"units.sales": gathered})
    lines = {each.kind: (each.quantity, each.amount) for each in period.lines(prices, closed=True)}
    # The late event is the free one now, and the other one costs what it did not.
    assert lines == {"usage": (100, 0), "adjustment": (100, 3)}


# --- what has to be gathered ------------------------------------------------------------------------------------------


def test_a_card_says_what_has_to_be_gathered_for_it() -> None:
    made = card(
        sku("fees", "units.sales", percentage("1")),
        {**sku("seats", "input", per_unit("1")), "aggregation": "unique_api_keys"},
        {**sku("flows", "units.x", per_unit("1")), "aggregation": "unique_workflows"},
        {**sku("peak", "units.x", per_unit("1")), "aggregation": "max"},
        sku("pages", "units.pages", per_unit("1")),
    )
    leaves = ("input_uncached", "input_cache_read", "input_cache_write")
    asked = {Demand("events", "units.sales"), Demand("workflows", "units.x")}
    assert made.demands == asked | {Demand("api_keys", leaf) for leaf in leaves}
    own = made.with_overrides(parse_overrides({"pages": percentage("2")}))
    assert own.demands == made.demands | {Demand("events", "units.pages")}
    assert card(sku("in", "input", per_unit("1"))).demands == frozenset()


def test_before_it_is_gathered_a_sku_is_not_there() -> None:
    made = card(
        sku("fees", "units.sales", percentage("1")),
        sku("pages", "units.pages", per_unit("1")),
        {**sku("seats", "requests", per_unit("1")), "aggregation": "unique_api_keys"},
    )
    own = made.with_overrides(parse_overrides({"pages": percentage("2")}))
    both = catalog(made).gathering(START + 3)
    assert both.gathering(START + 9) is both, "what is gathered stays so"
    skus = [[sku.sku for sku in both.card_at("acme", START + hour).skus] for hour in (2, 3)]  # type: ignore[union-attr]
    assert skus == [["pages"], ["fees", "pages", "seats"]]
    assert [span.first - START for span in both.spans("acme", START, START + 9)] == [0, 3]
    lacking = own.lacking(frozenset({Demand("events", "units.pages")}))
    assert lacking.overrides is None
    assert [each.sku for each in lacking.skus] == ["fees", "pages", "seats"]
    assert own.lacking(frozenset()) is own
    assert own.lacking(frozenset({Demand("events", "units.pages")})) is lacking
    assert [each.sku for each in catalog(made).card_at("acme", START).skus] == ["fees", "pages", "seats"]  # type: ignore[union-attr]


def test_usage_of_the_time_before_has_no_price() -> None:
    prices = catalog(fees_card(percentage("1"))).gathering(START + 1)
    period = TenantPeriod("acme", PERIOD)
    for hour in (0, 1):
        event = MeteredEvent(hour * HOUR_US, hour, 10**9)
        period.add(key(), START + hour, None, {"units.sales": gathered_of([event], (hour + 1) * HOUR_US)})
    lines = period.lines(prices, closed=False)
    assert {(each.sku, each.quantity, each.amount) for each in lines} == {
        ("unrated/units.sales", Decimal(1), None),
        ("fees", Decimal(1), Decimal("0.01")),
    }
