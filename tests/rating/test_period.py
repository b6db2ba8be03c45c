# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
from __future__ import annotations

import decimal
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating import rate
from rating.catalog import Catalog
from rating.errors import MeterError, MoneyError, PeriodError
from rating.money import exact_sum
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.usage import TOTAL_NAMES, UsageKey, UsageTotals
from rating.windows import hour_start
from tests.rating.builders import PERIOD, START, amounts, card, catalog, graduated, key, latest, per_unit, sku

CHANGE = 3
"""The hour, counted from the start of the period, from which the second version prices."""


class Prices(NamedTuple):
    """The prices of one version, as the reference reads them."""

    input_price: str
    tiers: tuple[tuple[int | None, str, str], ...]
    per: int


FIRST = Prices("0.1", ((7, "0.35", "1.5"), (20, "0.2", "0"), (None, "0.1", "2")), 3)
SECOND = Prices("0.7", ((5, "1", "0"), (11, "0.333", "0.5"), (None, "0.07", "0")), 7)


def version(number: int, prices: Prices, hour: int) -> object:
    return card(
        sku("{model}/in", "input_uncached", per_unit(prices.input_price, prices.per), model="m*"),
        sku("out", "output", graduated(*prices.tiers, per=prices.per)),
        sku("gpu", "gpu_seconds", graduated(("0.000005", "1", "0"), (None, "0.5", "0"), per=prices.per)),
        version=number,
        effective_from=hour_start(START + hour),
        not_charged=["requests"],
    )


CATALOG: Catalog = catalog(version(1, FIRST, 0), version(2, SECOND, CHANGE))  # type: ignore[arg-type]

Event = tuple[UsageKey, int, dict[str, Decimal]]


def q12(value: Fraction) -> Decimal:
    """Half away from zero, written down a second time, for values that are not negative."""
    units = int((value * 10**12 * 2 + 1) // 2)
    return Decimal(f"{units}E-12")


def graduated_price(tiers: Iterable[tuple[int | str | None, str, str]], per: int, quantity: Fraction) -> Fraction:
    total, lower = Fraction(0), Fraction(0)
    for upper, price, fee in tiers:
        top = quantity if upper is None else min(quantity, Fraction(upper))
        if top > lower:
            total += Fraction(fee) + (top - lower) * Fraction(price) / per
        lower = Fraction(upper or 0)
    return total


def reference(events: Iterable[Event]) -> dict[tuple[str, int], tuple[Decimal, Decimal | None]]:
    """Quantity and amount by SKU and hour, from all events at once with fractions."""
    quantities: dict[str, dict[int, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    for usage, hour, leaves in events:
        for leaf, quantity in leaves.items():
            name = {
                "input_uncached": f"{usage.model}/in" if usage.model.startswith("m") else "unrated/input_uncached",
                "output_text": "out",
                "output_reasoning": "out",
                "gpu_seconds": "gpu",
                "requests": "uncharged/not_charged/requests",
                "images": "unrated/images",
            }[leaf]
            if usage.status == "error" and not name.startswith("unrated/images"):
                name = f"uncharged/status_error/{leaf}"
            elif usage.status == "error":
                name = "uncharged/status_error/images"
            quantities[name][hour] += Fraction(quantity)
    result: dict[tuple[str, int], tuple[Decimal, Decimal | None]] = {}
    for name, hours in quantities.items():
        before = Fraction(0)
        for hour in sorted(hours):
            if not hours[hour]:
                continue
            prices = FIRST if hour < START + CHANGE else SECOND
            after = before + hours[hour]
            amount: Decimal | None
            if name.startswith("unrated/"):
                amount = None
            elif name.startswith("uncharged/"):
                amount = Decimal(0)
            elif name.endswith("/in"):
                price = Fraction(prices.input_price) / prices.per
                amount = q12(after * price) - q12(before * price)
            else:
                tiers = prices.tiers if name == "out" else (("0.000005", "1", "0"), (None, "0.5", "0"))
                low, high = (q12(graduated_price(tiers, prices.per, at)) for at in (before, after))
                amount = high - low
            quantity = Decimal(hours[hour].numerator) / Decimal(hours[hour].denominator)
            result[name, hour - START] = (quantity, amount)
            before = after
    return result


LEAVES = st.dictionaries(
    st.sampled_from(["input_uncached", "output_text", "output_reasoning", "requests", "images"]),
    st.integers(0, 40).map(Decimal),
    min_size=1,
    max_size=3,
) | st.integers(0, 12).map(lambda micros: {"gpu_seconds": Decimal(micros).scaleb(-6)})
EVENTS = st.lists(
    st.tuples(
        st.builds(
            key, model=st.sampled_from(["m1", "m2", "x"]), status=st.sampled_from(["success", "success", "error"])
        ),
        st.integers(0, 6).map(lambda hour: START + hour),
        LEAVES,
    ),
    max_size=12,
)


def states(lines: Iterable[RatedLine]) -> dict[tuple[str, int], tuple[Decimal, Decimal | None]]:
    return {
        (line.sku, int(line.window_start.timestamp()) // 3600 - START): (line.quantity, line.amount)
        for line in lines
        if line.window_kind == "hour"
    }


def rated(events: Iterable[Event], cuts: Iterable[bool] = (), known: Catalog = CATALOG) -> list[RatedLine]:
    """What came out of a period that was asked for changes after some of the events (cuts) and at the end."""
    period = TenantPeriod("acme", PERIOD)
    lines: list[RatedLine] = []
    cut = iter(cuts)
    for usage, hour, leaves in events:
        period.add(usage, hour, None, leaves)
        if next(cut, False):
            lines.extend(period.lines(known, closed=False))
    lines.extend(period.lines(known, closed=False))
    return lines


@given(EVENTS, st.data())
@settings(deadline=None)
def test_any_order_and_any_cuts_give_what_the_reference_says(events: list[Event], data: st.DataObject) -> None:
    expected = reference(events)
    order = data.draw(st.permutations(events))
    cuts = data.draw(st.lists(st.booleans(), max_size=len(events)))
    lines = rated(order, cuts)
    assert states(latest(lines).values()) == expected
    assert latest(lines) == latest(rated(events))


@given(EVENTS, st.lists(st.booleans(), max_size=12))
@settings(deadline=None)
def test_only_what_changed_comes_out(events: list[Event], cuts: list[bool]) -> None:
    lines = rated(events, cuts)
    held: dict[object, RatedLine] = {}
    for line in lines:
        assert held.get(line.key) != line
        held[line.key] = line
    period = TenantPeriod("acme", PERIOD)
    for usage, hour, leaves in events:
        period.add(usage, hour, None, leaves)
    period.lines(CATALOG, closed=False)
    assert period.lines(CATALOG, closed=False) == []
    assert latest(period.lines(CATALOG, closed=False, only_changed=False)) == held


@given(EVENTS, st.lists(st.booleans(), max_size=12))
@settings(deadline=None, max_examples=50)
def test_a_restart_at_any_point_changes_nothing(events: list[Event], cuts: list[bool]) -> None:
    """A new period with the same usage gives the same records, and after that the same changes."""
    middle = len(events) // 2
    kept, restarted = TenantPeriod("acme", PERIOD), TenantPeriod("acme", PERIOD)
    for (usage, hour, leaves), cut in zip(events[:middle], [*cuts, *[False] * 12], strict=False):
        kept.add(usage, hour, None, leaves)
        restarted.add(usage, hour, None, leaves)
        if cut:
            kept.lines(CATALOG, closed=False)
    kept.lines(CATALOG, closed=False)
    restarted.lines(CATALOG, closed=False)
    for usage, hour, leaves in events[middle:]:
        kept.add(usage, hour, None, leaves)
        restarted.add(usage, hour, None, leaves)
    assert latest(kept.lines(CATALOG, closed=False)) == latest(restarted.lines(CATALOG, closed=False))


@given(EVENTS, st.sampled_from([5, 28, 60]))
@settings(deadline=None, max_examples=40)
def test_the_context_precision_never_matters(events: list[Event], precision: int) -> None:
    usual = rated(events)
    with decimal.localcontext(decimal.Context(prec=precision, rounding=decimal.ROUND_DOWN)):
        assert rated(events) == usual


@given(EVENTS, EVENTS)
@settings(deadline=None, max_examples=50)
def test_what_is_taken_back_leaves_no_trace(events: list[Event], mistaken: list[Event]) -> None:
    taken_back = [
        (usage, hour, {leaf: -quantity for leaf, quantity in leaves.items()}) for usage, hour, leaves in mistaken
    ]
    lines = latest(rated([*mistaken, *events, *taken_back], [True] * len(mistaken))).values()
    left = {name: state for name, state in states(lines).items() if state[0]}
    assert left == reference(events)
    for line in lines:
        if not line.quantity:
            assert line.amount == (None if line.kind == "unrated" else 0)


def test_the_hours_sum_to_the_price_of_the_period() -> None:
    only = card(sku("out", "output", graduated((7, "0.35", "1.5"), (20, "0.2", "0"), (None, "0.1", "2"), per=3)))
    events: list[Event] = [(key(), START + hour, {"output_text": Decimal(hour + 1)}) for hour in range(20)]
    lines = rated(events, known=catalog(only))
    total = exact_sum(line.amount for line in lines if line.amount is not None)
    assert total == only.skus[0].price_model.price_of(Decimal(210))


def test_an_early_hour_that_arrives_late_moves_later_hours_across_the_tiers() -> None:
    known = catalog(card(sku("out", "output", graduated((10, "2", "0"), (None, "1", "0")))))
    period = TenantPeriod("acme", PERIOD)
    for hour in (5, 7):
        period.add(key(), START + hour, None, {"output_text": Decimal(8)})
    assert amounts(period.lines(known, closed=False)) == {("out", 5): 16, ("out", 7): 10}
    period.add(key(), START, None, {"output_text": Decimal(4)})
    # The late 4 tokens take the dear places; hour 5 keeps 6 of them, hour 7 none.
    assert amounts(period.lines(known, closed=False)) == {("out", 0): 8, ("out", 5): 14, ("out", 7): 8}


def test_late_usage_without_effect_on_later_hours_changes_only_its_own() -> None:
    known = catalog(card(sku("in", "input", per_unit("2"))))
    period = TenantPeriod("acme", PERIOD)
    for hour in range(100):
        period.add(key(), START + hour, None, {"input_uncached": Decimal(8)})
    assert len(period.lines(known, closed=False)) == 100
    period.add(key(), START + 3, None, {"input_uncached": Decimal(1)})
    assert amounts(period.lines(known, closed=False)) == {("in", 3): 18}


def test_a_price_change_inside_a_period_goes_on_with_the_position() -> None:
    tiers = sku("out", "output", graduated((10, "2", "0"), (None, "1", "0")))
    dearer = sku("out", "output", graduated((10, "4", "0"), (None, "3", "0")))
    known = catalog(card(tiers), card(dearer, version=2, effective_from=hour_start(START + 2)))
    lines = rated([(key(), START + hour, {"output_text": Decimal(6)}) for hour in range(4)], known=known)
    assert amounts(lines) == {("out", 0): 12, ("out", 1): 8 + 2, ("out", 2): 18, ("out", 3): 18}
    assert [line.card_version for line in lines] == [1, 1, 2, 2]


def test_a_new_card_reprices_what_is_there_and_empties_the_lines_it_no_longer_has() -> None:
    first = catalog(card(sku("old", "input", per_unit("1"))))
    second = first.with_card(card(sku("new", "input", per_unit("3")), version=2, effective_from=hour_start(START + 1)))
    period = TenantPeriod("acme", PERIOD)
    for hour in range(3):
        period.add(key(), START + hour, None, {"input_uncached": Decimal(2)})
    period.lines(first, closed=False)
    lines = period.lines(second, closed=False)
    assert amounts(lines) == {("old", 1): 0, ("old", 2): 0, ("new", 1): 6, ("new", 2): 6}
    assert [line.quantity for line in lines if line.sku == "old"] == [0, 0]
    assert period.lines(second, closed=False) == []


def test_a_price_that_appears_rates_what_was_unrated() -> None:
    period = TenantPeriod("acme", PERIOD)
    period.add(key(), START, None, {"input_uncached": Decimal(2)})
    (unrated,) = period.lines(Catalog(), closed=False)
    assert (unrated.kind, unrated.sku, unrated.amount, unrated.currency) == (
        "unrated",
        "unrated/input_uncached",
        None,
        None,
    )
    lines = period.lines(catalog(card(sku("in", "input", per_unit("3")))), closed=False)
    assert [(line.kind, line.quantity, line.amount) for line in lines] == [("usage", 2, 6), ("unrated", 0, None)]


def test_a_change_of_the_catalog_that_does_not_concern_the_tenant_gives_nothing() -> None:
    known = catalog(card(sku("in", "input", per_unit("3"))))
    period = TenantPeriod("acme", PERIOD)
    period.add(key(), START, None, {"input_uncached": Decimal(2)})
    period.lines(known, closed=False)
    other = known.with_card(card(id="other", version=4))
    assert other.generation != known.generation
    assert period.lines(other, closed=False) == []


def test_closing_gives_every_record_once_more_as_final() -> None:
    period = TenantPeriod("acme", PERIOD)
    for hour in range(3):
        period.add(key("m1"), START + hour, None, {"input_uncached": Decimal(2)})
    assert [line.provisional for line in period.lines(CATALOG, closed=False)] == [True] * 3
    assert [line.provisional for line in period.lines(CATALOG, closed=True)] == [False] * 3
    assert period.lines(CATALOG, closed=True) == []


def test_tenants_of_serving_capacity_are_never_charged() -> None:
    period = TenantPeriod("_pool", PERIOD)
    period.add(key(tenant="_pool", status=""), START, None, {"gpu_seconds": Decimal("3600.5")})
    (line,) = period.lines(CATALOG, closed=True)
    assert (line.sku, line.kind, line.amount, line.quantity) == (
        "uncharged/capacity/gpu_seconds",
        "usage",
        0,
        Decimal("3600.5"),
    )


def test_ten_to_the_fifteen_tokens_and_ten_to_the_twelve_money_stay_exact() -> None:
    known = catalog(
        card(
            sku("in", "input", per_unit("0.001000000001")), sku("r", "requests", per_unit("999999999999.999999999999"))
        )
    )
    lines = rated([(key(), START, {"input_uncached": Decimal(10**15 + 1), "requests": Decimal(3)})], known=known)
    assert amounts(lines) == {
        ("in", 0): Decimal("1000000001000.001000000001"),
        ("r", 0): Decimal("2999999999999.999999999997"),
    }


def test_totals_and_leaf_quantities_are_the_same_usage() -> None:
    totals = UsageTotals(
        requests=1, input_tokens=10, cache_read_input_tokens=4, output_tokens=3, gpu_microseconds=5, units={"a": 7}
    )
    one, other = TenantPeriod("acme", PERIOD), TenantPeriod("acme", PERIOD)
    one.add_totals(key("m1"), START, None, totals)
    other.add(key("m1"), START, None, totals.leaves())
    assert one.lines(CATALOG, closed=False) == other.lines(CATALOG, closed=False)


def test_every_leaf_quantity_is_on_exactly_one_line() -> None:
    counts: dict[str, Any] = {name: 100 + position for position, name in enumerate(TOTAL_NAMES)}
    totals = replace(UsageTotals(units={"a": 10**9}), **counts)
    period = TenantPeriod("acme", PERIOD)
    period.add_totals(key("m1"), START, None, totals)
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for line in period.lines(CATALOG, closed=False):
        sums[line.meter] += line.quantity
    leaves = totals.leaves()
    output = leaves.pop("output_text") + leaves.pop("output_reasoning")
    assert sums == {**leaves, "output": output}


@pytest.mark.parametrize(
    ("usage", "hour", "booked", "leaves", "error"),
    [
        (key(), START, None, {"requests": 1.0}, MoneyError),
        (key(), START, None, {"requests": Decimal("0.5")}, MoneyError),
        (key(), START, None, {"gpu_seconds": Decimal("0.0000001")}, MoneyError),
        (key(), START, None, {"output": Decimal(1)}, MeterError),
        (key(), START, None, {"tokens": Decimal(1)}, MeterError),
        (key(tenant="other"), START, None, {"requests": Decimal(1)}, PeriodError),
        (key(), START - 1, None, {"requests": Decimal(1)}, PeriodError),
        (key(), START + 744, None, {"requests": Decimal(1)}, PeriodError),
        (key(), START, PERIOD, {"requests": Decimal(1)}, PeriodError),
        (key(), START, "2025-12", {"requests": Decimal(1)}, PeriodError),
    ],
)
def test_usage_that_cannot_be_added_raises_and_leaves_no_trace(
    usage: UsageKey, hour: int, booked: str | None, leaves: dict[str, Decimal], error: type[Exception]
) -> None:
    period = TenantPeriod("acme", PERIOD)
    with pytest.raises(error):
        period.add(usage, hour, booked, {"images": Decimal(1), **leaves})
    assert period.lines(CATALOG, closed=False) == []


def test_rating_a_list_gives_sorted_final_records_of_every_tenant_and_period() -> None:
    only = card(sku("in", "input", per_unit("1")), flat_fees=[{"sku": "fee", "amount": "3"}])
    usage = [
        (key(tenant="b"), START + 1, {"input_uncached": Decimal(1)}),
        (key(tenant="a"), START, {"input_uncached": Decimal(2)}),
        (key(tenant="a"), START + 744, {"input_uncached": Decimal(5)}),
        (key(tenant="a"), START, {"input_uncached": Decimal(2)}),
    ]
    lines = rate(only, usage)
    assert [(line.tenant_id, line.service_period, line.sku, line.amount) for line in lines] == [
        ("a", "2026-01", "in", 4),
        ("a", "2026-01", "fee", 3),
        ("a", "2026-02", "in", 5),
        ("a", "2026-02", "fee", 3),
        ("b", "2026-01", "in", 1),
        ("b", "2026-01", "fee", 3),
    ]
    assert not any(line.provisional for line in lines)
    assert rate(only, reversed(usage)) == lines
    assert rate(only, []) == []
