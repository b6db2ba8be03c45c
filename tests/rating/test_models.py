# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
from __future__ import annotations

import decimal
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from rating.breakdown import breakdown
from rating.models import MODELS, Charge, PriceModel
from rating.modifiers import Price
from rating.money import exact_sum, q12
from tests.rating.builders import graduated, per_unit

CHARGE: TypeAdapter[PriceModel] = TypeAdapter(Charge)


def model(document: dict[str, object]) -> PriceModel:
    return CHARGE.validate_python(document)


# Examples from the test suites of Lago, OpenMeter and Flexprice (public facts: tiers, usage, amount).
LAGO = graduated((10, "10", "2"), (20, "5", "3"), (None, "5", "3"))
OPENMETER = graduated((5, "0", "100"), (10, "0", "50"), (15, "10", "0"), (None, "5", "0"))
SLAB = graduated((10, "50", "0"), (20, "40", "0"), (None, "30", "0"))
SLAB_FEES = graduated((5, "0", "1"), (10, "1", "2"), (None, "2", "0"))


@pytest.mark.parametrize(
    ("charge", "quantity", "amount"),
    [
        (per_unit("5.12345"), "10", "51.2345"),
        (per_unit("0.15", 1_000_000), "1", "0.00000015"),
        (per_unit("2.50", 3600), "1800.5", "1.250347222222"),
        (per_unit("2.50", "0.5"), "3", "15"),
        (LAGO, "0", "2"),
        (LAGO, "10", "102"),
        (LAGO, "11", "110"),
        (OPENMETER, "0", "100"),
        (OPENMETER, "5", "100"),
        (OPENMETER, "5.001", "150"),
        (OPENMETER, "7", "150"),
        (OPENMETER, "12", "170"),
        (OPENMETER, "22", "235"),
        (SLAB, "15", "700"),
        (SLAB, "25", "1050"),
        (SLAB_FEES, "3", "1"),
        (SLAB_FEES, "7", "5"),
        (SLAB_FEES, "12", "12"),
        (graduated((10, "10", "2"), (None, "5", "3"), flat_on_zero=False), "0", "0"),
        (graduated((10, "10", "2"), (None, "5", "3"), flat_on_zero=False), "0.000001", "2.00001"),
        ({"model": "flat", "amount": "9.99"}, "0", "0"),
        ({"model": "flat", "amount": "9.99"}, "0.000001", "9.99"),
        ({"model": "flat", "amount": "9.99"}, "1000000", "9.99"),
        ({"model": "flat", "amount": "9.99", "flat_on_zero": True}, "0", "9.99"),
        (per_unit("0.15", 1_000_000), "1000000000000000", "150000000"),
        (per_unit("1000000000000"), "3", "3000000000000"),
    ],
)
def test_prices_of_known_examples(charge: dict[str, object], quantity: str, amount: str) -> None:
    assert model(charge).price_of(Decimal(quantity)) == Decimal(amount)
    assert model(charge).pricer(6)(int(Decimal(quantity) * 10**6)) == int(Decimal(amount) * 10**12)


PRICES = st.integers(0, 10**6).map(lambda value: str(Decimal(value).scaleb(-4)))
PER = st.sampled_from([1, 3, 7, 1000, 3600, 1_000_000])
EDGES = st.lists(st.integers(1, 10**6), min_size=1, max_size=4, unique=True).map(sorted)


@st.composite
def charges(draw: st.DrawFn, fees: bool = True) -> dict[str, object]:
    if draw(st.booleans()):
        return per_unit(draw(PRICES), draw(PER))
    fee = PRICES if fees else st.just("0")
    edges = [*draw(EDGES), None]
    tiers = [(edge, draw(PRICES), draw(fee)) for edge in edges]
    return graduated(*tiers, per=draw(PER), flat_on_zero=draw(st.booleans()))


def reference(charge: dict[str, object], quantity: Fraction) -> Fraction:
    """The price, written down a second time: walk the tiers and charge what lies in each."""
    per = Fraction(str(charge["per"]))
    if charge["model"] == "per_unit":
        return quantity * Fraction(str(charge["price"])) / per
    total, lower = Fraction(0), Fraction(0)
    tiers = charge["tiers"]
    assert isinstance(tiers, list)
    for position, tier in enumerate(tiers):
        upper = Fraction(tier["up_to"]) if tier["up_to"] else max(quantity, lower)
        inside = min(quantity, upper) - lower
        if inside > 0 or (position == 0 and charge["flat_on_zero"]):
            total += Fraction(tier["flat_fee"]) + max(inside, Fraction(0)) * Fraction(tier["price"]) / per
        lower = upper
    return total


@given(charges(), st.integers(0, 2 * 10**9))
def test_every_model_equals_a_reference_with_fractions(charge: dict[str, object], thousandths: int) -> None:
    made = model(charge)
    quantity = Fraction(thousandths, 1000)
    expected = reference(charge, quantity)
    assert made.price_exact(quantity) == expected
    assert made.price_of(Decimal(thousandths).scaleb(-3)) == q12(expected)
    assert made.pricer(3)(thousandths) == Fraction(q12(expected)) * 10**12


@given(charges(), st.integers(0, 10**15), st.sampled_from([5, 28, 60]))
def test_the_context_precision_never_matters(charge: dict[str, object], quantity: int, precision: int) -> None:
    made = model(charge)
    usual = (made.price_of(quantity), breakdown(Price(made), None, Decimal(quantity)))
    with decimal.localcontext(decimal.Context(prec=precision, rounding=decimal.ROUND_DOWN)):
        again = model(charge)
        assert (again.price_of(quantity), breakdown(Price(again), None, Decimal(quantity))) == usual


@given(charges(fees=False), st.integers(0, 10**6), st.integers(0, 1000))
def test_without_fees_a_price_is_monotone_and_continuous(charge: dict[str, object], quantity: int, more: int) -> None:
    made = model(charge)
    low, high = made.price_exact(quantity), made.price_exact(quantity + Fraction(more, 1000))
    steepest = max(segment.slope for segment in made.segments())
    assert low <= high <= low + steepest * Fraction(more, 1000)


@given(charges(), st.integers(0, 2 * 10**6), st.integers(0, 2 * 10**6))
def test_a_breakdown_sums_to_the_price_and_the_quantity(charge: dict[str, object], first: int, second: int) -> None:
    made = model(charge)
    before, after = sorted((Decimal(first), Decimal(second)))
    slices = breakdown(Price(made), before or None, after)
    assert exact_sum(each.quantity for each in slices) == after - before
    charged = made.price_of(before) if before else Decimal(0)
    owed = made.price_of(after) if after > before else charged
    assert exact_sum(each.amount for each in slices) == owed - charged
    for each in slices:
        assert each.quantity > 0
        assert each.lower < after
        assert each.upper is None or each.upper > before


def test_tier_edges_belong_to_the_lower_tier() -> None:
    made = model(graduated((10, "2", "0"), (None, "1", "100")))
    assert made.price_of(Decimal(10)) == 20
    assert made.price_of(Decimal("10.000000000001")) == Decimal("120.000000000001")
    edge, above = breakdown(Price(made), Decimal(9), Decimal(11))
    assert (edge.quantity, edge.amount, edge.upper) == (1, 2, 10)
    assert (above.quantity, above.amount, above.lower, above.upper) == (1, 101, 10, None)


def test_an_edge_finer_than_the_meter_still_separates_the_tiers() -> None:
    made = model(graduated(("10.5", "2", "0"), (None, "1", "0")))
    assert made.pricer(0)(10) == 20 * 10**12
    assert made.pricer(0)(11) == Fraction("21.5") * 10**12


def test_what_is_taken_back_below_zero_is_credited_at_the_first_price() -> None:
    made = model(graduated((10, "2", "5"), (None, "1", "0"), flat_on_zero=False))
    assert made.price_of(Decimal(-3)) == -6
    assert made.pricer(0)(-3) == -6 * 10**12
    assert model(per_unit("0.1", 3)).pricer(0)(-1) == -model(per_unit("0.1", 3)).pricer(0)(1)


def test_every_registered_model_is_named_as_its_file() -> None:
    for name, made in MODELS.items():
        assert made.__module__ == f"rating.models.{name}"


@given(charges())
def test_a_model_comes_back_from_its_document(charge: dict[str, object]) -> None:
    made = model(charge)
    assert CHARGE.validate_python(made.model_dump(mode="json", exclude_none=True)) == made
