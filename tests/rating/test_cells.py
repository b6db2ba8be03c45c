"""Charges that choose among charges: which cell usage is in, what its line is called, and that it is a line of its own."""

# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating import rate
from rating.cards import RateCard, parse_card
from rating.catalog import Assignment
from rating.errors import CardError, PeriodError
from rating.invoices import Invoice, build_invoice
from rating.matching import matches, rank
from rating.overrides import overrides_for
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.skus import route, unpriced_leaves
from rating.usage import UsageKey, context_bracket
from rating.windows import HOUR, hour_start
from tests.rating.builders import PERIOD, START, Document, card, catalog, graduated, key, latest, per_unit, sku

REGIONS = ("eu", "us", "ap")


def matrix(by: Sequence[str], *cells: Document, **fields: Any) -> Document:
    return {"model": "matrix", "by": list(by), "cells": list(cells), **fields}


def context(*brackets: Document) -> Document:
    return {"model": "context", "brackets": list(brackets)}


def night(charge: Document, default: Document | None = None) -> Document:
    made = {"model": "time_of_day", "time_zone": "UTC", "buckets": [{"from": "22:00", "to": "06:00", "charge": charge}]}
    return made if default is None else {**made, "default": default}


def line_of(made: RateCard, leaf: str = "input_uncached", **fields: Any) -> str:
    return route(made, key(**fields), leaf, made.router.slot(START, HOUR)).sku


REGIONAL = matrix(
    ["model", "region"],
    {"model": "a", "region": "eu", "charge": per_unit("1")},
    {"model": "a", "region": "*", "charge": per_unit("2")},
    {"model": "llama-*", "region": "eu", "name": "llama-eu", "charge": per_unit("3")},
    {"model": "meta/llama-3", "region": "eu", "charge": per_unit("4")},
    default=per_unit("9"),
)


def test_the_most_specific_cell_is_charged_whatever_the_order_of_cells() -> None:
    for cells in (REGIONAL["cells"], REGIONAL["cells"][::-1]):
        made = card(sku("in", "input", {**REGIONAL, "cells": cells}))
        assert line_of(made, model="a", region="eu") == "in/a/eu"
        assert line_of(made, model="a", region="us") == "in/a/any"
        assert line_of(made, model="llama-2", region="eu") == "in/llama-eu"
        assert line_of(made, model="meta/llama-3", region="eu") == "in/meta%2Fllama-3/eu"
        assert line_of(made, model="b", region="eu") == "in/other"
        assert line_of(made, model="llama-2", region="us") == "in/other"


def test_dimensions_that_the_template_names_are_not_named_again() -> None:
    made = card(sku("{model}/in", "input", REGIONAL), sku("{model}/out", "output", matrix(["model"], *MODELS)))
    assert line_of(made, model="a", region="eu") == "a/in/eu"
    assert line_of(made, model="a", region="us") == "a/in/any"
    assert line_of(made, model="b", region="eu") == "b/in/other"
    assert line_of(made, "output_text", model="a") == "a/out"
    assert line_of(made, "output_text", model="llama-7") == "llama-7/out"


MODELS: tuple[Document, ...] = (
    {"model": "a", "charge": per_unit("1")},
    {"model": "llama-*", "charge": per_unit("2")},
)


def test_a_value_that_stands_alone_is_not_encoded() -> None:
    made = card(sku("in", "input", matrix(["model"], {"model": "meta/L 3%{x}", "charge": per_unit("1")})))
    assert line_of(made, model="meta/L 3%{x}") == "in/meta/L%203%25%7Bx%7D"


def test_usage_in_no_cell_has_no_price_and_goes_to_no_other_sku() -> None:
    made = card(
        sku("any", "input", per_unit("5")),
        sku("in", "input", matrix(["region"], {"region": "eu", "charge": per_unit("1")}), model="m*"),
        not_charged=["requests"],
    )
    assert line_of(made, region="eu") == "in/eu"
    assert line_of(made, region="us") == "unrated/input_uncached"
    assert line_of(made, model="x", region="us") == "any"
    known = catalog(made)
    assert unpriced_leaves(known, key(region="us"), START) & 1
    assert not unpriced_leaves(known, key(region="eu"), START) & 1
    free = card(
        sku("in", "input", matrix(["region"], {"region": "eu", "charge": per_unit("1")})), not_charged=["input"]
    )
    assert line_of(free, region="us") == "uncharged/not_charged/input_uncached"


def test_a_request_is_charged_whole_in_the_bracket_of_its_total_input() -> None:
    brackets = (
        {"up_to": 128_000, "charge": per_unit("1", 1000)},
        {"up_to": 200_000, "charge": per_unit("2", 1000)},
        {"charge": per_unit("4", 1000)},
    )
    made = card(sku("in", "input", context(*brackets)), sku("{model}/out", "output", context(*brackets)))
    usage = []
    for tokens in (128_000, 128_001, 200_000, 200_001, 3_000_000):
        each = key(context_bracket=context_bracket(tokens))
        usage.append((each, START, {"input_uncached": Decimal(tokens), "output_text": Decimal(10)}))
    found = {line.sku: (line.quantity, line.amount) for line in rate(made, usage)}
    assert found == {
        "in/up-to-128k": (128_000, 128),
        "in/128k-to-200k": (328_001, Decimal("656.002")),
        "in/above-200k": (3_200_001, Decimal("12800.004")),
        "m/out/up-to-128k": (10, Decimal("0.01")),
        "m/out/128k-to-200k": (20, Decimal("0.04")),
        "m/out/above-200k": (20, Decimal("0.08")),
    }
    line = route(made, key(context_bracket=3), "input_uncached")
    assert line.dimensions == {"context_above": "128000", "context_up_to": "200000"}


def test_brackets_follow_the_edges_of_the_deployment_and_the_match_of_the_sku() -> None:
    brackets = context({"up_to": 1000, "charge": per_unit("1")}, {"name": "long", "charge": per_unit("2")})
    document = {**card().document(), "skus": [sku("in", "input", brackets)]}
    made = parse_card(document, context_edges=(500, 1000, 2000))
    assert [line_of(made, context_bracket=bracket) for bracket in range(4)] == ["in/up-to-1k"] * 2 + ["in/long"] * 2
    # A SKU for some lengths has only the cells within them.
    within = sku("in", "input", brackets, context_bracket={"above": 500, "up_to": 2000})
    made = parse_card({**document, "skus": [within]}, context_edges=(500, 1000, 2000))
    assert [line_of(made, context_bracket=bracket).split("/")[0] for bracket in range(4)] == [
        "unrated", "in", "in", "unrated",
    ]  # fmt: skip
    assert route(made, key(context_bracket=2), "input_uncached").dimensions == {
        "context_above": "1000",
        "context_up_to": "2000",
    }


def test_choices_inside_of_choices_are_lines_by_all_of_them() -> None:
    made = card(
        sku(
            "{model}/in",
            "input",
            matrix(
                ["service_tier"],
                {"service_tier": "batch", "charge": night(per_unit("1"), per_unit("2"))},
                default=context({"up_to": 128_000, "charge": per_unit("3")}, {"charge": per_unit("4")}),
            ),
        )
    )
    names = [cell.sku for cell in made.cells]
    assert names == [
        "{model}/in/batch/22:00-06:00",
        "{model}/in/batch/other",
        "{model}/in/other/up-to-128k",
        "{model}/in/other/above-128k",
    ]
    usage = [
        (key(service_tier=tier, context_bracket=bracket), START + hour, {"input_uncached": Decimal(1)})
        for tier in ("batch", "default")
        for bracket in (0, 7)
        for hour in (3, 12)
    ]
    found = {line.sku: line.amount for line in rate(made, usage) if line.window_kind == "hour"}
    assert found == {f"m/in/{name}": amount for name, amount in zip(
        ("batch/22:00-06:00", "batch/other", "other/up-to-128k", "other/above-128k"), (2, 4, 3, 4), strict=True
    )}  # fmt: skip


def test_a_card_with_cells_comes_back_from_its_document_and_equals_itself() -> None:
    document = {
        **card().document(),
        "skus": [
            sku("in", "input", REGIONAL),
            sku("out", "output", context({"up_to": 128_000, "charge": per_unit("1")}, {"charge": per_unit("2")})),
            sku("r", "requests", night(per_unit("1"))),
        ],
    }
    one, other = parse_card(document), parse_card(document)
    assert one == other
    assert line_of(one, region="eu", model="a") == "in/a/eu"
    assert [cell.sku for cell in one.skus[2].cells] == ["r/22:00-06:00"]
    assert one == other, "what a card remembers is not what it equals"
    again = parse_card(json.loads(json.dumps(one.document())))
    assert again == one
    assert again.document() == one.document()
    assert catalog(one).with_card(again).generation == catalog(one).generation
    changed = json.loads(json.dumps(document))
    changed["skus"][0]["charge"]["cells"][0]["charge"]["price"] = "1.01"
    assert parse_card(changed) != one


def test_a_card_without_time_of_day_needs_no_time_and_one_with_it_says_so() -> None:
    timed = card(sku("in", "input", night(per_unit("1"))))
    with pytest.raises(PeriodError, match="say at what time the usage was"):
        route(timed, key(), "input_uncached")


TIERED = sku(
    "{model}/in",
    "input",
    matrix(
        ["region"],
        {"region": "eu", "charge": graduated((100, "3", "0"), (None, "1", "0"), per=10)},
        {"region": "us", "charge": graduated((50, "5", "7"), (None, "2", "0"), per=10, flat_on_zero=False)},
        default=per_unit("9", 10),
    ),
)


def usage_of(*rows: tuple[int, str, int]) -> list[tuple[UsageKey, int, dict[str, Decimal]]]:
    return [(key(region=region), START + hour, {"input_uncached": Decimal(count)}) for hour, region, count in rows]


def invoice(made: RateCard, lines: Sequence[RatedLine]) -> Invoice:
    return build_invoice("acme", PERIOD, made.currency, lines, [made])


def test_tiers_count_per_cell_and_an_invoice_finds_them_again() -> None:
    made = card(TIERED)
    lines = rate(made, usage_of((0, "eu", 60), (1, "us", 80), (2, "eu", 60), (3, "ap", 10), (4, "us", 10)))
    found = {line.sku: line for line in invoice(made, lines).lines}
    assert {name: line.exact_amount for name, line in found.items()} == {"m/in/eu": 32, "m/in/us": 40, "m/in/other": 9}
    tiers = {
        name: [(tier.quantity, tier.unit_price, tier.amount) for tier in line.tiers] for name, line in found.items()
    }
    assert tiers == {
        "m/in/eu": [(100, 3, 30), (20, 1, 2)],
        "m/in/us": [(50, 5, 32), (40, 2, 8)],
        "m/in/other": [(10, 9, 9)],
    }
    assert found["m/in/eu"].dimensions == {"model": "m", "region": "eu"}
    assert found["m/in/other"].dimensions == {"model": "m"}


@pytest.mark.parametrize(
    ("own", "eu", "us", "ap"),
    [
        ({"m/in/eu": "4"}, 40, 42, 90),
        ({"{model}/in/eu": "4"}, 40, 42, 90),
        ({"{model}/in": {"model": "per_unit", "price": "1"}}, 100, 100, 100),
        ({"m/in": "2"}, 20, 20, 20),
        ({"m/in": "2", "m/in/eu": "4"}, 40, 20, 20),
        ({"m/in": "2", "{model}/in/other": "6"}, 20, 20, 60),
        ({"{model}/in": "1", "{model}/in/us": "3", "m/in/us": "5"}, 10, 50, 10),
    ],
)
def test_an_override_may_name_one_cell_or_all(own: Document, eu: int, us: int, ap: int) -> None:
    made = card(TIERED)
    overrides = overrides_for(made, own)
    lines = rate(made, usage_of((0, "eu", 100), (0, "us", 100), (0, "ap", 100)), overrides=overrides)
    billed = build_invoice("acme", PERIOD, "USD", lines, [made, made.with_overrides(overrides)])
    found = {line.sku: line for line in billed.lines}
    assert [found[f"m/in/{cell}"].exact_amount for cell in ("eu", "us", "other")] == [eu, us, ap]
    for line in found.values():
        assert sum(tier.amount for tier in line.tiers) == line.exact_amount


def test_an_override_of_a_cell_that_is_not_there_names_one_that_is() -> None:
    with pytest.raises(CardError, match=r"no SKU \{model\}/in/eus, did you mean \{model\}/in/us\?"):
        overrides_for(card(TIERED), {"{model}/in/eus": "1"})


def test_a_version_that_changes_cells_charges_each_hour_by_its_own() -> None:
    old = card(TIERED)
    new = card(
        sku(
            "{model}/in",
            "input",
            matrix(
                ["region", "gpu_type"],
                {"region": "eu", "gpu_type": "*", "name": "eu", "charge": graduated((100, "6", "0"), (None, "2", "0"), per=10)},
                {"region": "us", "gpu_type": "H100", "charge": per_unit("1")},
            ),
        ),
        version=2,
        effective_from=hour_start(START + 2),
    )  # fmt: skip
    rows = usage_of((0, "eu", 60), (1, "us", 10), (2, "us", 10), (3, "eu", 60), (4, "ap", 5))
    known = catalog(old).with_card(new)
    period = TenantPeriod("acme", PERIOD)
    for usage_key, hour, quantities in rows:
        period.add(usage_key, hour, None, quantities)
    lines = period.lines(known, closed=True)
    found = {(line.sku, line.kind): line for line in lines}
    # The position in the tiers of a cell of the same name goes on: 40 at 0.6, 20 at 0.2.
    assert [line.amount for line in lines if line.sku == "m/in/eu"] == [18, 28]
    assert found["m/in/us", "usage"].amount == 12
    assert [line.quantity for line in lines if line.kind == "unrated"] == [10, 5]
    billed = build_invoice("acme", PERIOD, "USD", lines, known)
    eu = next(line for line in billed.lines if line.sku == "m/in/eu")
    assert [(tier.card_version, tier.quantity, tier.amount) for tier in eu.tiers] == [
        (1, 60, 18),
        (2, 40, 24),
        (2, 20, 4),
    ]


def test_a_card_published_later_moves_usage_to_its_cells_and_empties_the_old_lines() -> None:
    old, new = card(sku("in", "input", per_unit("1"))), card(TIERED, version=2)
    period = TenantPeriod("acme", PERIOD)
    for usage_key, hour, quantities in usage_of((0, "eu", 10), (0, "us", 10)):
        period.add(usage_key, hour, None, quantities)
    first = period.lines(catalog(old), closed=False)
    assert {line.sku: line.amount for line in first} == {"in": 20}
    second = period.lines(catalog(old).with_card(new), closed=False)
    assert {line.sku: (line.quantity, line.amount) for line in second} == {
        "in": (0, 0),
        "m/in/eu": (10, 3),
        "m/in/us": (10, 12),
    }


def test_two_currencies_in_a_month_are_two_positions_of_a_cell() -> None:
    dollars = card(TIERED)
    euros = card(TIERED, id="euros", currency="EUR")
    known = catalog(dollars, euros).with_assignment(Assignment("acme", "euros", START + 1))
    period = TenantPeriod("acme", PERIOD)
    for usage_key, hour, quantities in usage_of((0, "us", 50), (1, "us", 50)):
        period.add(usage_key, hour, None, quantities)
    lines = period.lines(known, closed=True)
    assert [(line.currency, line.amount) for line in lines] == [("USD", 32), ("EUR", 32)]


def test_a_fee_of_a_cell_that_is_owed_without_usage_is_charged() -> None:
    fee = {"model": "flat", "amount": "5", "flat_on_zero": True}
    made = card(
        sku("r", "requests", per_unit("1")),
        sku("in", "input", matrix(["region"], {"region": "eu", "charge": fee}, default=per_unit("1"))),
    )
    lines = rate(made, [(key(), START, {"requests": Decimal(1)})])
    assert [(line.sku, line.amount) for line in lines if line.kind == "flat_fee"] == [("in/eu", 5)]
    used = rate(made, [(key(region="eu"), START, {"input_uncached": Decimal(1)})])
    assert [(line.sku, line.kind, line.amount) for line in used] == [("in/eu", "usage", 5)]


def test_what_a_sku_does_around_its_price_is_done_for_each_cell() -> None:
    around = {"included": "10", "quantity": {"divide_by": "10", "round": "up"}, "discount_percent": "50"}
    made = card(
        {
            **sku("in", "input", matrix(["region"], {"region": "eu", "charge": per_unit("2")}, default=per_unit("4"))),
            **around,
        }
    )
    lines = rate(made, usage_of((0, "eu", 101), (0, "us", 201)))
    assert {line.sku: line.amount for line in lines} == {"in/eu": 1, "in/other": 22}
    assert all(sum(tier.amount for tier in line.tiers) == line.exact_amount for line in invoice(made, lines).lines)


MIXED = card(
    sku(
        "{model}/in",
        "input",
        matrix(
            ["region"],
            {"region": "eu", "charge": night(graduated((40, "1", "0"), (None, "0.3", "2"), per=3), per_unit("0.7", 3))},
            {"region": "us", "charge": context({"up_to": 128_000, "charge": per_unit("0.9", 7)}, {"charge": per_unit("2")})},
        ),
    ),
    sku("out", "output", night(per_unit("0.11", 3))),
)  # fmt: skip
LATER = card(
    sku("{model}/in", "input", matrix(["region"], {"region": "*", "name": "all", "charge": per_unit("0.05", 7)})),
    sku("out", "output", night(per_unit("0.22", 3), per_unit("0.01"))),
    version=2,
    effective_from=hour_start(START + 23),
)


def test_late_usage_of_a_cell_is_an_adjustment_of_its_line() -> None:
    made = card(TIERED, sku("out", "output", night(per_unit("2"), per_unit("1"))))
    period = TenantPeriod("acme", PERIOD)
    period.add(key(region="eu"), START + 1, None, {"input_uncached": Decimal(60), "output_text": Decimal(1)})
    period.add(key(region="eu"), START, "2026-02", {"input_uncached": Decimal(60), "output_text": Decimal(5)})
    period.add(key(region="us"), START + 12, "2026-02", {"output_text": Decimal(7)})
    lines = {(line.sku, line.kind): line.amount for line in period.lines(catalog(made), closed=True)}
    assert lines == {
        ("m/in/eu", "usage"): 18,
        ("m/in/eu", "adjustment"): 14,  # 40 at 0.3, 20 at 0.1
        ("out/22:00-06:00", "usage"): 2,
        ("out/22:00-06:00", "adjustment"): 10,
        ("out/other", "adjustment"): 7,
    }


VALUES = st.sampled_from(["a", "b", "a*", "*b", "*"])
NAMES = st.sampled_from(["", "", "", "a", "x"])


def cells_of(drawn: list[tuple[str, str, str]]) -> list[Document]:
    """Cells with different prices; those with a pattern get a name of their own."""
    made = []
    for index, (model, region, name) in enumerate(drawn):
        needed = any("*" in value and value != "*" for value in (model, region))
        named = {"name": name or f"n{index}"} if name or needed else {}
        made.append({"model": model, "region": region, "charge": per_unit(str(index + 1)), **named})
    return made


SOME_CELLS = st.lists(st.tuples(VALUES, VALUES, NAMES), min_size=1, max_size=3, unique_by=lambda drawn: drawn[:2]).map(
    cells_of
)
SOME_SKUS = st.lists(
    st.tuples(
        st.sampled_from(["in", "{model}/in", "{region}"]), st.sampled_from([{}, {"model": "a"}, {"model": "a*"}]), SOME_CELLS
    ),
    min_size=1, max_size=2,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(SOME_SKUS, st.booleans())
def test_in_a_card_that_is_accepted_no_line_has_two_prices_and_no_order_matters(
    skus: list[tuple[str, dict[str, str], list[Document]]], with_default: bool
) -> None:
    default: Document = {"default": per_unit("100")} if with_default else {}
    documents = [
        sku(name, "input", matrix(["model", "region"], *cells, **default), **match) for name, match, cells in skus
    ]
    turned = [
        {**each, "charge": {**each["charge"], "cells": each["charge"]["cells"][::-1]}} for each in documents[::-1]
    ]
    try:
        made, other = card(*documents), card(*turned)
    except CardError:
        return
    for model in ("a", "b", "ab", "c"):
        for region in ("a", "b", "ab", "c"):
            usage = key(model=model, region=region)
            line, again = (route(each, usage, "input_uncached") for each in (made, other))
            assert (line.sku, line.model) == (again.sku, again.model)
            if line.outcome == "priced":
                whole = max((each for each in made.skus if matches(each, usage)), key=rank)
                inside = sorted((cell for cell in whole.cells if matches(cell, usage)), key=rank, reverse=True)
                assert len(inside) == 1 or rank(inside[0]) > rank(inside[1]), "no usage is in two cells alike"
                assert line.model == inside[0].price_model, "no line has the price of another cell"
                assert made.router.sku_of(line.sku, line.meter, line.dimensions) in inside[:1]


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 50), st.sampled_from(REGIONS), st.sampled_from([0, 5]),
        st.sampled_from(["input_uncached", "output_text"]), st.integers(1, 60),
    ),
    min_size=1, max_size=14,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.randoms(use_true_random=False), st.integers(0, 14))
def test_any_order_and_any_cut_give_the_same_lines_and_tiers_sum_to_them(
    events: list[tuple[int, str, int, str, int]], chance: Any, cut: int
) -> None:
    known = catalog(MIXED, LATER)

    def rated(rows: list[tuple[int, str, int, str, int]], stop: int) -> dict[Any, RatedLine]:
        period = TenantPeriod("acme", PERIOD)
        made: list[RatedLine] = []
        for number, (hour, region, bracket, leaf, count) in enumerate(rows):
            usage_key = key(region=region, context_bracket=bracket)
            period.add(usage_key, START + hour, None, {leaf: Decimal(count)})
            if number == stop:
                made += period.lines(known, closed=False)
        made += period.lines(known, closed=True)
        return {name: line for name, line in latest(made).items() if line.quantity}

    expected = rated(events, -1)
    mixed = list(events)
    chance.shuffle(mixed)
    assert rated(mixed, cut) == expected
    billed = build_invoice("acme", PERIOD, "USD", expected.values(), known)
    for line in billed.lines:
        assert sum(tier.amount for tier in line.tiers) == line.exact_amount
        assert sum(tier.quantity for tier in line.tiers) == line.quantity
    counted = sum(line.quantity for line in billed.lines) + sum(each.quantity for each in billed.unrated)
    assert counted == sum(count for *_, count in events), "every token is on exactly one line, or unrated"
