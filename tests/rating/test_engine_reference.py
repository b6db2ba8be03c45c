"""Whole cards of any charge and modifiers, any order and cut of the usage: the hours are those of the reference."""

from __future__ import annotations

import decimal
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rating.period import TenantPeriod
from rating.rated import RatedLine
from tests.rating.builders import PERIOD, START, Document, card, catalog, key
from tests.rating.reference import hour_amounts

MONEY = st.sampled_from(["0", "0.01", "0.333333", "1", "2.5", "7", "1234.56"])
SIZES = st.sampled_from(["1", "3", "10", "0.5", "1000"])
EDGES = st.lists(st.sampled_from([1, 2, 5, 10, 100, 1_000]), max_size=3, unique=True).map(sorted)
SWITCH = START + 300
"""The hour at which another version begins to price."""


@st.composite
def tiers(draw: st.DrawFn, names: tuple[str, ...]) -> list[Document]:
    made: list[Document] = []
    for edge in [*draw(EDGES), None]:
        tier: Document = {name: draw(MONEY) for name in names} | {"flat_fee": draw(MONEY)}
        if "price" in names and draw(st.booleans()):
            tier["package"] = draw(SIZES)
        made.append(tier if edge is None else tier | {"up_to": str(edge)})
    return made


@st.composite
def charges(draw: st.DrawFn) -> Document:
    model = draw(
        st.sampled_from(["per_unit", "graduated", "volume", "package", "graduated_percentage", "dynamic", "flat"])
    )
    made: Document = {"model": model}
    if model in ("per_unit", "package"):
        made["price"] = draw(MONEY)
        made["per" if model == "per_unit" else "size"] = draw(SIZES)
    elif model == "dynamic":
        made["multiplier"] = draw(MONEY)
    elif model == "flat":
        made |= {"amount": draw(MONEY), "flat_on_zero": draw(st.booleans())}
    else:
        names = ("rate",) if model == "graduated_percentage" else ("price",)
        made |= {"tiers": draw(tiers(names)), "flat_on_zero": draw(st.booleans())}
    return made


@st.composite
def skus(draw: st.DrawFn) -> Document:
    made: Document = {"sku": "x", "meter": "units.x", "charge": draw(charges())}
    if draw(st.booleans()):
        made["quantity"] = {draw(st.sampled_from(["divide_by", "multiply_by"])): draw(SIZES)}
        if draw(st.booleans()):
            rounding = draw(st.sampled_from(["up", "down", "nearest"]))
            made["quantity"] |= {"round": rounding, "decimals": draw(st.sampled_from([-1, 0, 2]))}
    for name, values in (("included", SIZES), ("discount_percent", st.sampled_from(["10", "33.3", "100"]))):
        if draw(st.booleans()):
            made[name] = draw(values)
    if draw(st.booleans()):
        made["maximum"] = draw(st.sampled_from(["0.5", "20", "5000"]))
    if draw(st.booleans()):
        made["tier_scope"] = "hour"
    return made


USAGE = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 299, 300, 301, 700]), st.integers(1, 3_000_000_000)), min_size=1, max_size=8
)
"""Hour of the period, and billionths of a unit times 1000."""


def rated(versions: list[Document], usage: list[tuple[int, int]], cuts: list[bool]) -> dict[Any, RatedLine]:
    cards = [card(versions[0])]
    if len(versions) > 1:
        cards.append(card(versions[1], version=2, effective_from="2026-01-13T12:00:00Z"))
    made = catalog(*cards)
    period = TenantPeriod("acme", PERIOD)
    last: dict[Any, RatedLine] = {}
    for (hour, quantity), cut in zip(usage, cuts, strict=True):
        period.add(key(), START + hour, None, {"units.x": Decimal(quantity) / 1000})
        if cut:
            last.update((line.key, line) for line in period.lines(made, closed=False))
    last.update((line.key, line) for line in period.lines(made, closed=True))
    return {name: line for name, line in last.items() if line.kind == "usage"}


@settings(max_examples=150, deadline=None)
@given(st.lists(skus(), min_size=1, max_size=2), USAGE, st.data())
def test_hours_are_those_of_the_reference_in_any_order_and_cut(
    versions: list[Document], usage: list[tuple[int, int]], data: st.DataObject
) -> None:
    wanted: dict[int, Fraction] = defaultdict(Fraction)
    for hour, quantity in usage:
        wanted[START + hour] += Fraction(quantity, 1000)
    priced_by = list(zip((0, SWITCH), versions, strict=False))
    expected = hour_amounts(priced_by, wanted)
    order = data.draw(st.permutations(usage))
    cuts = data.draw(st.lists(st.booleans(), min_size=len(usage), max_size=len(usage)))
    with decimal.localcontext() as context:
        context.prec = data.draw(st.sampled_from([28, 60]))
        lines = rated(versions, order, cuts)
    found = {line.window_start: Fraction(line.amount or 0) for line in lines.values()}
    hours = sorted(expected)
    assert [found[each] for each in sorted(found)] == [expected[hour] for hour in hours]
    assert rated(versions, usage, [False] * len(usage)).keys() == lines.keys()


@settings(max_examples=40, deadline=None)
@given(skus(), st.integers(0, 10**15))
def test_very_large_quantities_stay_exact(sku: Document, quantity: int) -> None:
    sku = {name: value for name, value in sku.items() if name != "maximum"}
    made = rated([sku], [(0, 1), (5, quantity * 1000 + 1)], [True, True])
    usage = {START: Fraction(1, 1000), START + 5: quantity + Fraction(1, 1000)}
    total = sum(Fraction(line.amount or 0) for line in made.values())
    assert total == sum(hour_amounts([(0, sku)], usage).values())
