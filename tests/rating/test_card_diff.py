"""What differs between two cards: nothing for the same in other words, everything else with its place and percent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rating.card_diff import CardDiff, diff_cards
from tests.rating.builders import card, graduated, per_unit, sku

INPUT = sku("{model}/input", "input", per_unit("0.15", 1_000_000), model="m-*")
OUTPUT = sku("{model}/output", "output", graduated((100, "3", "0"), (None, "2", "0")), model="m-*")


def told(found: CardDiff) -> dict[str, Any]:
    """Status and changed fields by the name of the part."""
    return {
        part.name: (part.status, {each.name: (each.before, each.after, each.percent) for each in part.fields})
        for part in found.parts
    }


def test_a_card_does_not_differ_from_itself_in_another_order_or_version() -> None:
    assert not diff_cards(card(INPUT, OUTPUT), card(OUTPUT, INPUT, version=2))


def test_a_price_has_its_place_and_its_percent() -> None:
    dearer = sku("{model}/input", "input", per_unit("0.2", 1_000_000), model="m-*")
    tiers = sku("{model}/output", "output", graduated((100, "3", "0"), (None, "1.5", "0")), model="m-*")
    assert told(diff_cards(card(INPUT, OUTPUT), card(dearer, tiers))) == {
        "{model}/input (model m-*)": ("changed", {"charge.price": ("0.15", "0.2", Decimal("33.3"))}),
        "{model}/output (model m-*)": ("changed", {"charge.tiers[1].price": ("2", "1.5", Decimal("-25.0"))}),
    }


def test_prices_are_compared_for_one_unit() -> None:
    same = sku("{model}/input", "input", per_unit("0.00015", 1000), model="m-*")
    (part,) = diff_cards(card(INPUT), card(same)).parts
    assert [(each.name, each.percent) for each in part.fields] == [
        ("charge.price", Decimal("0.0")),
        ("charge.per", None),
    ]
    block = sku("{model}/input", "input", per_unit("0.15", 1000), model="m-*")
    (part,) = diff_cards(card(INPUT), card(block)).parts
    assert [(each.name, each.percent) for each in part.fields] == [("charge.per", Decimal("99900.0"))]


def test_percents_are_exact_and_rounded_half_away_from_zero() -> None:
    def percent(before: str, after: str) -> Decimal | None:
        (part,) = diff_cards(card(sku("a", "input", per_unit(before))), card(sku("a", "input", per_unit(after)))).parts
        return part.fields[0].percent

    assert percent("1", "1.0005") == Decimal("0.1")
    assert percent("1", "0.9995") == Decimal("-0.1")
    assert percent("3", "1") == Decimal("-66.7")
    assert percent("0", "1") is None


def test_prices_in_two_currencies_have_no_percent() -> None:
    euro = card(sku("{model}/input", "input", per_unit("0.1", 1_000_000), model="m-*"), currency="EUR")
    found = diff_cards(card(INPUT), euro)
    assert told(found)["card"] == ("changed", {"currency": ("USD", "EUR", None)})
    assert all(each.percent is None for part in found.parts for each in part.fields)


def test_another_id_for_the_same_usage_is_a_new_name() -> None:
    renamed = sku("{model}/prompt", "input", per_unit("0.15", 1_000_000), model="m-*")
    assert told(diff_cards(card(INPUT), card(renamed))) == {
        "{model}/input (model m-*)": ("changed", {"sku": ("{model}/input", "{model}/prompt", None)})
    }


def test_what_goes_without_another_price_is_named() -> None:
    (part,) = diff_cards(card(INPUT, OUTPUT), card(INPUT)).parts
    assert (part.status, part.unpriced) == ("removed", ("output_text", "output_reasoning"))
    free = card(INPUT, not_charged=["output"])
    assert [part.unpriced for part in diff_cards(card(INPUT, OUTPUT), free).parts if part.kind == "SKU"] == [()]
    leaf = card(INPUT, sku("{model}/text", "output_text", per_unit("2"), model="m-*"))
    parts = {part.status: part for part in diff_cards(card(INPUT, OUTPUT), leaf).parts}
    assert parts["removed"].unpriced == ("output_reasoning",)
    assert parts["added"].unpriced == ()


def test_fees_and_times_are_compared_too() -> None:
    before = card(INPUT, flat_fees=[{"sku": "fee", "amount": "20"}, {"sku": "old", "amount": "1"}])
    after = card(INPUT, flat_fees=[{"sku": "fee", "amount": "25"}], effective_from="2021-01-01T00:00:00Z")
    assert told(diff_cards(before, after)) == {
        "card": ("changed", {"effective_from": ("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", None)}),
        "fee": ("changed", {"amount": ("20", "25", Decimal("25.0"))}),
        "old": ("removed", {}),
    }
    none = diff_cards(card(INPUT), before)
    assert {part.name: part.status for part in none.parts} == {"fee": "added", "old": "added"}


PRICES = st.decimals(min_value=0, max_value=1000, places=3, allow_nan=False).map(str)
SKUS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["images", "requests"]), PRICES),
    max_size=4,
    unique_by=lambda each: each[0],
)


@settings(max_examples=60, deadline=None)
@given(SKUS, SKUS)
def test_the_way_back_undoes_every_change(left: list[tuple[str, str, str]], right: list[tuple[str, str, str]]) -> None:
    old, new = (
        card(*(sku(name, meter, per_unit(price), model=name) for name, meter, price in each)) for each in (left, right)
    )
    there, back = diff_cards(old, new), diff_cards(new, old)
    opposite = {"added": "removed", "removed": "added", "changed": "changed"}
    assert sorted((part.name, opposite[part.status]) for part in there.parts) == sorted(
        (part.name, part.status) for part in back.parts
    )
    swapped = {(part.name, each.name, each.after, each.before) for part in there.parts for each in part.fields}
    assert swapped == {(part.name, each.name, each.before, each.after) for part in back.parts for each in part.fields}
    assert bool(there) == ({*left} != {*right})
