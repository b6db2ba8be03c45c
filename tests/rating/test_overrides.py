"""Prices of a tenant's own: what they replace, what they leave alone, and how an invoice explains them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.batch import rate
from rating.cards import RateCard
from rating.catalog import EVERYONE, Assignment, Catalog
from rating.errors import CardError, InvoiceError, Path
from rating.invoices import build_invoice
from rating.overrides import OVERRIDE, Overrides, charge_digest, overrides_for, parse_overrides
from rating.period import TenantPeriod
from rating.plans import parse_plan
from rating.rated import RatedLine
from tests.rating.builders import PERIOD, START, amounts, card, graduated, key, per_unit, sku

CARD = card(
    sku("{model}/input", "input", per_unit("2", 10)),
    sku("{model}/output", "output", per_unit("5", 10)),
    sku("{model}/output", "output", graduated((100, "4", "0"), (None, "3", "0"), per=10), model="m"),
    sku("once", "requests", {"model": "flat", "amount": "7"}),
    flat_fees=[{"sku": "fee", "amount": "20"}],
    minimum={"sku": "least", "amount": "50"},
)
USAGE = {"input_uncached": Decimal(100), "output_text": Decimal(200), "requests": Decimal(1)}


def priced(overrides: dict[str, Any] | None, model: str = "m") -> dict[str, Decimal | None]:
    """Amount by SKU of one hour of usage."""
    own = overrides_for(CARD, overrides) if overrides else None
    return {line.sku: line.amount for line in rate(CARD, [(key(model), START, USAGE)], overrides=own)}


def problems(make: Any, *arguments: object) -> dict[Path, str]:
    with pytest.raises(CardError) as caught:
        make(*arguments)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_a_line_or_all_lines_of_a_template_get_another_price() -> None:
    assert priced(None)["m/input"] == 20
    assert priced({"{model}/input": "1"})["m/input"] == 10
    assert priced({"m/input": "1"})["m/input"] == 10
    assert priced({"m/input": "1"}, "other")["other/input"] == 20
    assert priced({"m/input": "1", "{model}/input": "0.5"}) | {"least": None} == {
        **priced(None),
        "m/input": 10,
        "least": None,
    }
    assert priced({"m/input": "1", "{model}/input": "0.5"}, "other")["other/input"] == 5


def test_a_price_alone_keeps_the_block_and_a_charge_replaces_the_tiers() -> None:
    assert priced({"m/output": "1"})["m/output"] == 20
    assert priced({"m/output": {"model": "per_unit", "price": "1"}})["m/output"] == 200
    assert priced({"{model}/output": graduated((50, "1", "0"), (None, "2", "0"))})["m/output"] == 350


def test_fees_and_the_minimum_may_have_another_amount() -> None:
    assert priced({"fee": "0"})["fee"] == 0
    usual = priced(None)
    assert priced({"least": "1000"})["least"] == 1000 - sum(
        usual[name] or 0 for name in ("m/input", "m/output", "once")
    )


def test_the_card_is_not_changed_and_equal_overrides_are_one_card() -> None:
    before = CARD.document()
    one = CARD.with_overrides(overrides_for(CARD, {"fee": "1", "m/input": "1"}))
    assert one is CARD.with_overrides(
        parse_overrides({"m/input": per_unit("1.0", 10), "fee": {"model": "flat", "amount": 1}})
    )
    assert one is not CARD
    assert one != CARD
    assert CARD.document() == before
    assert CARD.with_overrides(None) is CARD
    assert CARD.with_overrides(Overrides(())) is CARD


def test_overrides_come_back_from_their_document_with_the_same_digests() -> None:
    made = overrides_for(CARD, {"m/output": graduated((50, "1.50", "0"), (None, "2", "3")), "fee": "1"})
    again = parse_overrides(made.document())
    assert again == made
    assert hash(again) == hash(made)
    assert set(again.by_digest()) == {charge_digest(charge) for _, charge in made.charges}


def catalog(*assignments: Assignment, cards: tuple[RateCard, ...] = (CARD,)) -> Catalog:
    made = Catalog()
    for each in cards:
        made = made.with_card(each)
    for assignment in assignments:
        made = made.with_assignment(assignment)
    return made


OWN = overrides_for(CARD, {"m/output": graduated((20, "1", "0"), (None, "2", "0"), per=10), "{model}/input": "1"})


def rated(known: Catalog, tenant: str = "acme", hours: int = 4) -> list[RatedLine]:
    period = TenantPeriod(tenant, PERIOD)
    for hour in range(hours):
        period.add(key(tenant=tenant), START + hour, None, USAGE)
    return period.lines(known, closed=True)


def test_only_the_assigned_tenant_has_them_and_only_for_its_time() -> None:
    known = catalog(Assignment(EVERYONE, "card", 0), Assignment("acme", "card", START + 1, START + 3, OWN))
    usual, own = amounts(rated(known, "globex")), amounts(rated(known))
    assert [own["m/input", hour] for hour in range(4)] == [20, 10, 10, 20]
    assert {usual["m/input", hour] for hour in range(4)} == {Decimal(20)}
    marks = [line.dimensions.get(OVERRIDE) for line in rated(known) if line.sku == "m/input"]
    assert [mark is not None for mark in marks] == [False, True, True, False]
    assert all((line.card_id, line.card_version) == ("card", 1) for line in rated(known))


def test_the_tiers_of_an_invoice_explain_the_amounts_and_without_the_prices_it_is_refused() -> None:
    known = catalog(Assignment(EVERYONE, "card", 0), Assignment("acme", "card", START + 1, START + 3, OWN))
    records = rated(known)
    invoice = build_invoice("acme", PERIOD, "USD", records, known)
    lines = {line.sku: line for line in invoice.lines}
    for line in (lines["m/input"], lines["m/output"]):
        assert sum(tier.amount for tier in line.tiers) == line.exact_amount
    assert {tier.unit_price for tier in lines["m/input"].tiers} == {Decimal(1), Decimal(2)}
    assert build_invoice("acme", PERIOD, "USD", records, [CARD, CARD.with_overrides(OWN)]) == invoice
    with pytest.raises(InvoiceError, match="the price of its own that acme has"):
        build_invoice("acme", PERIOD, "USD", records, [CARD])


def test_the_same_overrides_hold_for_the_next_version_of_the_card() -> None:
    later = card(
        sku("{model}/input", "input", per_unit("3", 10)),
        version=2,
        effective_from="2026-01-01T02:00:00Z",
        not_charged=["output", "requests"],
    )
    found = amounts(rated(catalog(Assignment("acme", "card", 0, None, OWN), cards=(CARD, later))))
    assert [found["m/input", hour] for hour in range(4)] == [10] * 4
    assert [found["m/output", hour] for hour in range(2)] == [38, 40]


MONEY = st.decimals("0", "100", places=3).map(str)
TIERS = st.tuples(st.integers(1, 300), MONEY, MONEY).map(
    lambda made: graduated((made[0], made[1], "0"), (None, made[2], "1"), per=10)
)


@settings(max_examples=60)
@given(
    st.one_of(TIERS, MONEY.map(lambda price: per_unit(price, 10))),
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 400)), min_size=1, max_size=8),
)
def test_an_override_is_as_good_as_a_card_with_that_price(charge: dict[str, Any], used: list[tuple[int, int]]) -> None:
    usual = card(sku("{model}/input", "input", per_unit("2", 10)))
    other = card(sku("{model}/input", "input", charge))
    usage = [(key(), START + hour, {"input_uncached": Decimal(count)}) for hour, count in used]
    own = rate(usual, usage, overrides=parse_overrides({"{model}/input": charge}))
    assert [(line.key, line.quantity, line.amount) for line in own] == [
        (line.key, line.quantity, line.amount) for line in rate(other, usage)
    ]


@pytest.mark.parametrize(
    ("data", "path", "words"),
    [
        ({"m/inptu": "1"}, ("m/inptu",), "no SKU m/inptu"),
        ({"{model}/inptu": "1"}, ("{model}/inptu",), "did you mean {model}/input?"),
        ({"m/input": 0.5}, ("m/input",), "float"),
        ({"m/input": "-1"}, ("m/input", "price"), "negative"),
        ({"m/input": "cheap"}, ("m/input",), "not a number"),
        ({"m/input": {"model": "per_unit", "prise": "1"}}, ("m/input", "prise"), "did you mean price"),
        ({"m/input": {"model": "per_unti"}}, ("m/input", "model"), "did you mean per_unit"),
        (
            {"m/input": graduated((10, "1", "0"), (10, "1", "0"), (None, "1", "0"))},
            ("m/input", "tiers", 1, "up_to"),
            "not above",
        ),
        ({"once": "1"}, ("once",), "write the whole charge"),
        ({"fee": per_unit("1")}, ("fee",), "a fixed amount of a month"),
        ({"least": "1.005"}, ("least",), "2 decimals of USD"),
        ({5: "1"}, ("5",), "no SKU 5"),
    ],
    ids=str,
)
def test_overrides_that_do_not_fit_the_card_are_refused_with_their_place(
    data: dict[str, Any], path: Path, words: str
) -> None:
    found = problems(overrides_for, CARD, data | {"m/output": 0.5})
    assert words in found["overrides", *path]
    assert ("overrides", "m/output") in found, "every problem is said"


@pytest.mark.parametrize(
    "data", [None, [], "x", {"a": "1"}, {"a": None}, {1: {"model": "flat", "amount": "1"}}], ids=str
)
def test_overrides_on_the_wire_are_whole_charges(data: object) -> None:
    assert problems(parse_overrides, data)


def test_a_plan_is_a_card_and_prices() -> None:
    plan = parse_plan({"plan": "gold", "card": "standard", "overrides": {"m/input": "1"}})
    assert (plan.plan, plan.card, plan.overrides) == ("gold", "standard", {"m/input": "1"})
    assert set(problems(parse_plan, {"plan": "a b", "crad": "x"})) == {("plan",), ("card",), ("crad",)}
    assert "did you mean card?" in problems(parse_plan, {"plan": "a", "crad": "x"})["crad",]
    assert problems(parse_plan, [])
