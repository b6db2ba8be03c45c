# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
"""What a SKU does around its price model: convert, round, include, discount, cap, in this order."""

from __future__ import annotations

import decimal
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rating.cards import parse_card
from rating.models import Charge, PriceModel
from rating.modifiers import Modifiers, Price
from rating.money import q12
from tests.rating.builders import Document, card, dynamic, graduated, package, per_unit, sku, volume
from tests.rating.prices import charges, conversions, modifiers, price_with, priced_quantity

CHARGE: TypeAdapter[PriceModel] = TypeAdapter(Charge)
TIERS = graduated((10, "2", "5"), (None, "1", "0"))
UNIT = per_unit("1")


def made(fields: Document, charge: Document) -> Price:
    return Modifiers.model_validate(fields).price_of_charge(CHARGE.validate_python(charge))


def rule(**fields: object) -> Document:
    return {"quantity": fields}


@pytest.mark.parametrize(
    ("fields", "charge", "quantity", "amount"),
    [
        # Conversion and rounding of the quantity (rounding examples of Lago's test suite: public facts).
        (rule(divide_by=1000), UNIT, "1500", "1.5"),
        (rule(multiply_by="1.2"), UNIT, "10", "12"),
        (rule(divide_by=3), UNIT, "1", "0.333333333333"),
        (rule(divide_by=3), per_unit("3"), "1", "1"),
        (rule(divide_by=1024, multiply_by=8, round="up"), UNIT, "129", "2"),
        (rule(round="nearest", decimals=2), UNIT, "123.456", "123.46"),
        (rule(round="nearest", decimals=-2), UNIT, "123.456", "100"),
        (rule(round="up", decimals=2), UNIT, "123.456", "123.46"),
        (rule(round="up"), UNIT, "123.456", "124"),
        (rule(round="up", decimals=-2), UNIT, "123.456", "200"),
        (rule(round="down"), UNIT, "123.456", "123"),
        (rule(round="down", decimals=-2), UNIT, "123.456", "100"),
        (rule(round="up", decimals=-12), UNIT, "1", "1000000000000"),
        (rule(divide_by=7, round="down", decimals=12), UNIT, "1", "0.142857142857"),
        (rule(round="nearest"), UNIT, "0.5", "1"),
        (rule(round="nearest"), UNIT, "2.5", "3"),
        (rule(divide_by=1000, round="up"), UNIT, "0.000001", "1"),
        # A package of which only whole ones count.
        (rule(divide_by=100, round="down"), UNIT, "50", "0"),
        (rule(divide_by=100, round="down"), UNIT, "250", "2"),
        # What is included is taken off before tiers are looked up.
        ({"included": "5"}, volume((15, "10", "0"), (None, "5", "0")), "20", "150"),
        ({"included": "5"}, volume((15, "10", "0"), (None, "5", "0")), "21", "80"),
        ({"included": "5"}, per_unit("10"), "3", "0"),
        ({"included": "5"}, per_unit("10"), "6", "10"),
        ({"included": {"quantity": "5", "rollover": "2"}}, per_unit("10"), "6", "10"),
        ({"included": "5"}, package("15", 10), "5", "0"),
        ({"included": "5"}, package("15", 10), "5.000001", "15"),
        ({"included": "5"}, package("15", 10), "15", "15"),
        ({"included": "5"}, TIERS, "4", "5"),
        ({"included": "5"}, {**TIERS, "flat_on_zero": False}, "5", "0"),
        ({"included": "5"}, {**TIERS, "flat_on_zero": False}, "6", "7"),
        # The fee of the only tier is as much as what is included would cost.
        ({"included": "5"}, graduated((None, "1", "5")), "3", "5"),
        ({"included": "5"}, graduated((None, "1", "5"), flat_on_zero=False), "3", "0"),
        ({"included": "5"}, graduated((None, "1", "5"), flat_on_zero=False), "6", "6"),
        ({"included": "5"}, {"model": "flat", "amount": "9"}, "5", "0"),
        ({"included": "5"}, {"model": "flat", "amount": "9"}, "6", "9"),
        # It counts in converted units, after they were rounded.
        (rule(divide_by=1000, round="up") | {"included": "2"}, UNIT, "2001", "1"),
        (rule(divide_by=1000, round="up") | {"included": "2"}, UNIT, "2000", "0"),
        # The discount is of everything that the charge costs, its fees too; the cap is of what is left.
        ({"discount_percent": "10"}, TIERS, "10", "22.5"),
        ({"discount_percent": "10"}, TIERS, "0", "4.5"),
        ({"discount_percent": "100"}, TIERS, "1000", "0"),
        ({"discount_percent": "33.3333"}, per_unit("0.000000000001"), "2", "0.000000000001"),
        ({"maximum": "100"}, per_unit("10"), "10", "100"),
        ({"maximum": "100"}, per_unit("10"), "10.000001", "100"),
        ({"discount_percent": "50", "maximum": "100"}, per_unit("10"), "20", "100"),
        ({"discount_percent": "50", "maximum": "99.99"}, per_unit("10"), "20", "99.99"),
        ({"maximum": "100"}, dynamic("1.33333"), "70", "93.3331"),
        ({"maximum": "100"}, dynamic("1.33333"), "76", "100"),
        # 10^15 tokens, as credits.
        (rule(divide_by=1_000_000) | {"included": "1000"}, per_unit("0.15"), "1000000000000000", "149999850"),
    ],
)
def test_known_amounts(fields: Document, charge: Document, quantity: str, amount: str) -> None:
    price = made(fields, charge)
    assert price.price_of(Decimal(quantity)) == Decimal(amount)
    assert price.pricer(6)(int(Decimal(quantity) * 10**6)) == int(Decimal(amount) * 10**12)


@given(modifiers(), charges(), st.integers(0, 10**8), st.sampled_from([0, 3, 6, 9]))
def test_a_price_equals_a_reference_with_fractions(
    fields: Document, charge: Document, quantity: int, decimals: int
) -> None:
    price = made(fields, charge)
    exact = price_with(fields, charge, Fraction(quantity, 10**decimals))
    assert price.price_exact(Fraction(quantity, 10**decimals)) == exact
    assert price.pricer(decimals)(quantity) == Fraction(q12(exact)) * 10**12


@given(modifiers(), charges(), st.integers(-(10**6), 10**6), st.sampled_from([0, 2, 9]))
def test_the_compiled_form_is_the_exact_price_rounded_once_also_below_zero(
    fields: Document, charge: Document, quantity: int, decimals: int
) -> None:
    price = made(fields, charge)
    exact = price.price_exact(Fraction(quantity, 10**decimals))
    assert price.pricer(decimals)(quantity) == Fraction(q12(exact)) * 10**12


@given(modifiers(), charges(), st.integers(0, 10**12), st.sampled_from([5, 28, 60]))
def test_the_context_precision_never_matters(fields: Document, charge: Document, quantity: int, precision: int) -> None:
    usual = made(fields, charge).price_of(quantity), made(fields, charge).pricer(3)(quantity)
    with decimal.localcontext(decimal.Context(prec=precision, rounding=decimal.ROUND_DOWN)):
        again = made(fields, charge)
        assert (again.price_of(quantity), again.pricer(3)(quantity)) == usual


@given(conversions(), st.integers(-(10**6), 10**6), st.integers(0, 1000))
def test_a_conversion_never_turns_more_into_less(fields: Document, quantity: int, more: int) -> None:
    price = made({"quantity": fields}, UNIT)
    assert price.converted(Fraction(quantity, 1000)) <= price.converted(Fraction(quantity + more, 1000))


@given(conversions(), st.integers(0, 10**6))
def test_a_rounded_quantity_is_less_than_one_step_away(fields: Document, thousandths: int) -> None:
    exact = {name: value for name, value in fields.items() if name not in ("round", "decimals")}
    off = priced_quantity({"quantity": fields}, Fraction(thousandths, 1000)) - priced_quantity(
        {"quantity": exact}, Fraction(thousandths, 1000)
    )
    step = Fraction(10) ** -fields.get("decimals", 0)
    assert made({"quantity": fields}, UNIT).converted(Fraction(thousandths, 1000)) == priced_quantity(
        {"quantity": fields}, Fraction(thousandths, 1000)
    )
    assert {"up": 0 <= off < step, "down": -step < off <= 0, "nearest": abs(off) <= step / 2}.get(
        fields.get("round", ""), off == 0
    )


@given(modifiers(), charges(), st.lists(st.integers(0, 10**5), min_size=1, max_size=8))
def test_the_hours_sum_to_the_price_of_the_period(fields: Document, charge: Document, hours: list[int]) -> None:
    pricer = made(fields, charge).pricer(2)
    before, amounts = 0, []
    for quantity in hours:
        amounts.append(pricer(before + quantity) - pricer(before))
        before += quantity
    assert pricer(0) + sum(amounts) == pricer(sum(hours))


def test_what_is_included_is_not_given_back_when_corrections_exceed_the_usage() -> None:
    price = made({"included": "5"}, per_unit("10"))
    assert (price.price_of(-3), price.pricer(0)(-3)) == (0, 0)
    assert price.price_of(8) - price.price_of(-3) == 30
    fee = made({"included": "5"}, TIERS)
    assert (fee.price_of(-3), fee.pricer(0)(-3)) == (5, 5 * 10**12)


def test_a_discount_and_no_cap_hold_for_credits_below_zero() -> None:
    price = made({"discount_percent": "10", "maximum": "1"}, per_unit("10"))
    assert price.price_of(-3) == -27
    assert price.pricer(0)(-3) == -27 * 10**12


def test_without_modifiers_the_pricer_is_that_of_the_charge() -> None:
    charge = CHARGE.validate_python(TIERS)
    assert Price(charge).pricer(3) is charge.pricer(3)


@given(modifiers())
def test_modifiers_come_back_from_their_document(fields: Document) -> None:
    found = Modifiers.model_validate(fields)
    assert Modifiers.model_validate(found.model_dump(mode="json", exclude_none=True)) == found


@given(modifiers(), charges())
def test_a_card_with_any_price_comes_back_from_its_document(fields: Document, charge: Document) -> None:
    made_card = card({**sku("a", "images", charge), **fields})
    assert parse_card(made_card.document()) == made_card


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        (rule(), ("quantity",), "it changes nothing"),
        (rule(divide_by=2, decimals=1), ("quantity",), "add round"),
        (rule(divide_by=0), ("quantity", "divide_by"), "not more than 0"),
        (rule(divide_by="-1"), ("quantity", "divide_by"), "not more than 0"),
        (rule(multiply_by=1.2), ("quantity", "multiply_by"), "write it as a string such as '1.2'"),
        (rule(round="ceil"), ("quantity", "round"), "'up', 'down' or 'nearest'"),
        (rule(round="up", decimals=13), ("quantity", "decimals"), "use -12 to 12"),
        (rule(round="up", decimals="2"), ("quantity", "decimals"), "without quotes"),
        ({"included": "0"}, ("included", "quantity"), "not more than 0"),
        ({"included": 0.5}, ("included", "quantity"), "'0.5'"),
        ({"included": {"quantity": "5", "rollover": "-1"}}, ("included", "rollover"), "negative"),
        ({"discount_percent": "101"}, ("discount_percent",), "0 to 100"),
        ({"discount_percent": "-1"}, ("discount_percent",), "negative"),
        ({"discount_percent": 0.1}, ("discount_percent",), "'0.1'"),
        ({"maximum": "0"}, ("maximum",), "not more than 0"),
        ({"maximum": "1000000000000001"}, ("maximum",), "too large"),
    ],
)
def test_modifiers_that_cannot_be_meant_are_refused_with_words(
    fields: Document, place: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        Modifiers.model_validate(fields)
    problems = {each["loc"]: each["msg"] for each in raised.value.errors()}
    assert words in problems[place], problems


@pytest.mark.parametrize("model", ["per_unit", "package"])
def test_what_is_included_may_end_inside_a_unit(model: str) -> None:
    charge = per_unit("3") if model == "per_unit" else package("3", 1)
    price = made({"included": "0.5"}, charge).pricer(0)
    assert [price(quantity) for quantity in (0, 1, 2)] == (
        [0, 15 * 10**11, 45 * 10**11] if model == "per_unit" else [0, 3 * 10**12, 6 * 10**12]
    )


def test_packages_cheaper_than_the_last_decimal_are_rounded_once() -> None:
    charge = graduated((None, "0.0000000000001", "0.0000000000003"))
    charge["tiers"][0]["package"] = "10"
    price = made({}, charge).pricer(0)
    # 0.3 + 0.1 for each started ten, in 10^-12, half away from zero.
    assert [price(quantity) for quantity in (10, 11, 20, 21, 120, 121)] == [0, 1, 1, 1, 2, 2]
