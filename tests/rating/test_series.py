# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rating.series import Series, period_price, series_id
from rating.skus import Line, route
from tests.rating.builders import card, graduated, key, sku

TIERS = ((7, "0.35", "1.5"), (20, "0.2", "0"), (None, "0.1", "2"))
LINE = route(card(sku("in", "input", graduated(*TIERS, per=3))), key(), "input_uncached")
LATER = route(card(sku("in", "input", graduated((5, "2", "0"), (None, "1", "0"))), version=2), key(), "input_uncached")


def line_of(hour: int) -> Line:
    return LINE if hour < 3 else LATER


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-9, 9), st.booleans()), max_size=20))
def test_the_total_is_the_sum_of_the_hours_and_empty_hours_are_gone(changes: list[tuple[int, int, bool]]) -> None:
    series = Series()
    expected: dict[int, int] = {}
    for hour, quantity, settle in changes:
        series.add(hour, quantity, line_of(hour))
        expected[hour] = expected.get(hour, 0) + quantity
        if settle:
            series.settle()
    series.settle()
    states = dict(series.states())
    assert {hour: state.quantity for hour, state in states.items()} == {h: q for h, q in expected.items() if q}
    assert list(states) == sorted(states)
    assert series.total == sum(state.amount for state in states.values())
    assert len(series) == len(states)
    assert period_price(series.usage(), 77) == (series.total if states else 77)
    fresh = Series()
    for hour, state in states.items():
        fresh.add(hour, state.quantity, line_of(hour))
    fresh.settle()
    assert dict(fresh.states()) == states


def test_settling_says_what_it_computed_and_what_fell_to_nothing() -> None:
    series = Series()
    for hour in range(5):
        series.add(hour, 2, line_of(hour))
    assert series.settle() == (0, [])
    assert series.settle() == (5, [])
    series.add(4, 1, line_of(4))
    assert series.settle() == (4, [])
    series.add(2, -2, line_of(2))
    assert series.settle() == (2, [2])
    series.add(9, 1, line_of(9))
    assert series.settle() == (4, [])


def test_usage_that_nets_to_nothing_costs_what_no_usage_costs() -> None:
    assert period_price({1: (0, LINE)}, 77) == 77
    assert period_price({}, 77) == 77


def test_series_differ_by_currency() -> None:
    euros = route(card(sku("in", "input", graduated(*TIERS)), currency="EUR"), key(), "input_uncached")
    assert series_id(LINE) != series_id(euros)
    assert series_id(route(None, key(), "images")).currency == ""
