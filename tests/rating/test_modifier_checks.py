"""Cards and prices of a tenant's own whose modifiers cannot work are refused, with what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from rating.cards import parse_card
from rating.errors import CardError, Path, format_path
from rating.models import Package, PerUnit
from rating.overrides import overrides_for
from tests.rating.builders import Document, card, document, dynamic, package, per_unit, percentages, sku, volume

PERCENTAGE: Document = {"model": "percentage", "rate": "2"}


def problems(*skus: Document, **fields: Any) -> dict[Path, str]:
    with pytest.raises(CardError) as raised:
        parse_card(document(*skus, **fields))
    return {problem.path: problem.message for problem in raised.value.problems}


def own_problems(priced: Document, own: Any) -> dict[Path, str]:
    with pytest.raises(CardError) as raised:
        overrides_for(card(priced), {priced["sku"]: own})
    return {problem.path: problem.message for problem in raised.value.problems}


def tiers(model: str, *steps: Document, **fields: object) -> Document:
    return {"model": model, "tiers": list(steps), **fields}


@pytest.mark.parametrize(
    ("charge", "place", "words"),
    [
        (volume((10, "1", "0"), (10, "1", "0"), (None, "1", "0")), "tiers[1].up_to", "not above the tier before"),
        (volume((10, "1", "0"), (20, "1", "0")), "tiers[1].up_to", "the last tier must be open"),
        (tiers("volume", {"price": "1", "above": 5}), "tiers[0].above", "a gap"),
        (tiers("volume"), "tiers", "there is no tier"),
        (percentages((None, "1", "0"), (None, "1", "0")), "tiers[0]", "only the last tier may be open"),
        (percentages((None, "100000000000001", "0")), "tiers[0].rate", "more than 1000000000000 a unit"),
        (tiers("graduated_percentage", {"price": "1"}), "tiers[0].price", "unknown field: use above, up_to, rate"),
        (tiers("volume", {"prise": "1"}), "tiers[0].prise", "did you mean price?"),
        (tiers("graduated", {"price": "1", "package": 0}), "tiers[0].package", "not more than 0"),
        (
            tiers("graduated", {"price": "1" + "0" * 16, "package": "1" + "0" * 20}),
            "tiers[0].price",
            "a package costs at",
        ),
        (tiers("graduated", {"price": "1", "package": "0.0000000000001"}), "tiers[0].price", "a unit"),
        (tiers("graduated", {"price": "1", "package": 5}, per=10), "per", "leave per out"),
        ({"model": "package", "price": "15"}, "size", "is missing: write size: 1000"),
        (package("15", 0), "size", "not more than 0"),
        (package("-1", 5), "price", "negative"),
        (package("1", "0.0000000000001"), "price", "a unit"),
        (dynamic("1000000000001"), "multiplier", "more than 1000000000000 a unit"),
        ({"model": "dynamic", "multiplier": 1.5}, "multiplier", "write it as a string such as '1.5'"),
        ({"model": "dynamic", "price": "1"}, "price", "unknown field: use model, multiplier"),
    ],
)
def test_prices_that_cannot_be_meant_are_refused_at_their_place(charge: Document, place: str, words: str) -> None:
    found = {format_path(path): message for path, message in problems(sku("a", "images", charge)).items()}
    assert words in found[f"skus[0].charge.{place}"], found


@pytest.mark.parametrize(
    ("fields", "charge", "place", "words"),
    [
        ({"quantity": {"multiply_by": 1000}}, per_unit("1000000001"), "quantity", "correct divide_by, multiply_by or"),
        ({"quantity": {"round": "up"}}, PERCENTAGE, "quantity", "change the rate"),
        ({"included": 5}, PERCENTAGE, "included", "free_amount"),
        ({"maximum": "10.001"}, per_unit("1"), "maximum", "more than the 2 decimals of USD"),
        ({"quantity": {"divide_by": 10, "rund": "up"}}, per_unit("1"), "quantity.rund", "did you mean round?"),
        ({"quantity": {}}, per_unit("1"), "quantity", "give divide_by, multiply_by or round"),
        ({"included": 0.5}, per_unit("1"), "included", "'0.5'"),
        ({"included": {"quantity": 5, "rolover": 2}}, per_unit("1"), "included.rolover", "did you mean rollover?"),
        ({"included": {"rollover": 2}}, per_unit("1"), "included.quantity", "is missing: write quantity: 100"),
        ({"discount_pct": "5"}, per_unit("1"), "discount_pct", "did you mean discount_percent?"),
    ],
)
def test_modifiers_that_cannot_work_are_refused_at_their_place(
    fields: Document, charge: Document, place: str, words: str
) -> None:
    broken = {**sku("a", "units.a", charge), **fields}
    found = {format_path(path): message for path, message in problems(broken).items()}
    assert words in found[f"skus[0].{place}"], found


def test_what_is_wrong_with_the_modifiers_of_one_sku_is_said_beside_a_broken_other_one() -> None:
    broken = sku("a", "images", {"model": "package", "price": "1"})
    capped = {**sku("b", "requests", per_unit("1")), "maximum": "10.001"}
    assert set(problems(broken, capped)) == {("skus", 0, "charge", "size"), ("skus", 1, "maximum")}


def test_a_price_alone_keeps_the_package() -> None:
    (own,) = (charge for _, charge in overrides_for(card(sku("a", "images", package("15", 10))), {"a": "12"}).charges)
    assert own == Package(model="package", price="12", size=10)
    (unit,) = (
        charge
        for _, charge in overrides_for(card(sku("a", "images", volume((None, "3", "0"), per=7))), {"a": "2"}).charges
    )
    assert unit == PerUnit(model="per_unit", price="2", per=7)


@pytest.mark.parametrize(
    "charge",
    [
        tiers("graduated", {"up_to": 30, "price": "1", "package": 30}, {"price": "2"}),
        percentages((None, "1", "0")),
        dynamic(),
    ],
)
def test_a_price_alone_is_refused_where_it_could_mean_two_things(charge: Document) -> None:
    assert "write the whole charge" in own_problems(sku("a", "images", charge), "2")["overrides", "a"]


@pytest.mark.parametrize(
    ("fields", "own", "words"),
    [
        ({"included": 5}, PERCENTAGE, "free_amount"),
        ({"quantity": {"multiply_by": 1000}}, per_unit("1000000001"), "correct divide_by"),
    ],
)
def test_a_price_of_its_own_must_go_with_the_modifiers_of_the_sku(fields: Document, own: Document, words: str) -> None:
    priced = {**sku("a", "units.a", per_unit("1")), **fields}
    assert words in own_problems(priced, own)["overrides", "a"]
