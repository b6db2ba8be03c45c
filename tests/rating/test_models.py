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
from rating.money import q12
from tests.rating.builders import dynamic, graduated, package, per_unit, percentages, volume
from tests.rating.prices import charges, price

CHARGE: TypeAdapter[PriceModel] = TypeAdapter(Charge)


def model(document: dict[str, object]) -> PriceModel:
    return CHARGE.validate_python(document)


# Examples from the test suites of Lago, OpenMeter and Flexprice (public facts: tiers, usage, amount).
LAGO = graduated((10, "10", "2"), (20, "5", "3"), (None, "5", "3"))
OPENMETER = graduated((5, "0", "100"), (10, "0", "50"), (15, "10", "0"), (None, "5", "0"))
SLAB = graduated((10, "50", "0"), (20, "40", "0"), (None, "30", "0"))
SLAB_FEES = graduated((5, "0", "1"), (10, "1", "2"), (None, "2", "0"))
LAGO_VOLUME = volume((100, "2", "10"), (200, "1", "0"), (None, "0.5", "50"))
OPENMETER_VOLUME = volume((5, "0", "100"), (10, "0", "150"), (15, "10", "0"), (None, "5", "0"))
LAGO_PERCENT = percentages((10, "1", "200"), (20, "2", "300"), (None, "3", "400"))


def blocks(model: str, *tiers: tuple[int | None, str, int]) -> dict[str, object]:
    """Tiers as (up_to, price of a block, units of a block), as Kill Bill and CGRateS have them."""
    return {
        "model": model,
        "tiers": [{"up_to": up_to, "price": price, "package": size} for up_to, price, size in tiers],
    }


KILL_BILL = blocks("graduated", (1000, "1", 100), (None, "1", 1000))
KILL_BILL_TOP = blocks("volume", (1000, "1", 100), (101_000, "1", 1000), (None, "0.5", 1000))
CALL = blocks("graduated", (30, "0.10", 30), (None, "0.02", 6))
"""The first 30 seconds whole, then started 6 seconds."""


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
        (LAGO_VOLUME, "0", "10"),
        (LAGO_VOLUME, "1", "12"),
        (LAGO_VOLUME, "100", "210"),
        (LAGO_VOLUME, "100.5", "100.5"),
        (LAGO_VOLUME, "200", "200"),
        (LAGO_VOLUME, "300", "200"),
        (OPENMETER_VOLUME, "5", "100"),
        (OPENMETER_VOLUME, "14", "140"),
        (OPENMETER_VOLUME, "15", "150"),
        (OPENMETER_VOLUME, "16", "80"),
        (volume((10, "10", "2"), (None, "5", "3"), flat_on_zero=False), "0", "0"),
        (volume((1000, "3", "0"), (None, "2", "0"), per=1000), "1500", "3"),
        (package("15", 10), "0", "0"),
        (package("15", 10), "0.000001", "15"),
        (package("15", 10), "10", "15"),
        (package("15", 10), "10.000001", "30"),
        (package("100", 10), "121", "1300"),
        (package("0.07", "0.5"), "1.25", "0.21"),
        (KILL_BILL, "5325", "15"),
        (KILL_BILL, "1000", "10"),
        (KILL_BILL, "1001", "11"),
        (KILL_BILL_TOP, "101000", "101"),
        (KILL_BILL_TOP, "101001", "51"),
        (CALL, "0", "0"),
        (CALL, "1", "0.10"),
        (CALL, "30", "0.10"),
        (CALL, "31", "0.12"),
        (CALL, "37", "0.14"),
        (LAGO_PERCENT, "0", "200"),
        (LAGO_PERCENT, "1", "200.01"),
        (LAGO_PERCENT, "10", "200.1"),
        (LAGO_PERCENT, "11", "500.12"),
        (LAGO_PERCENT, "21", "900.33"),
        (dynamic(), "0.402", "0.402"),
        (dynamic("1.33333"), "10", "13.3333"),
        (per_unit("0.15", 1_000_000), "1000000000000000", "150000000"),
        (volume((None, "0.15", "0"), per=1_000_000), "1000000000000000", "150000000"),
        (package("0.15", 1_000_000), "1000000000000001", "150000000.15"),
        (per_unit("1000000000000"), "3", "3000000000000"),
    ],
)
def test_prices_of_known_examples(charge: dict[str, object], quantity: str, amount: str) -> None:
    assert model(charge).price_of(Decimal(quantity)) == Decimal(amount)
    assert model(charge).pricer(6)(int(Decimal(quantity) * 10**6)) == int(Decimal(amount) * 10**12)


@given(charges(), st.integers(0, 2 * 10**9))
def test_every_model_equals_a_reference_with_fractions(charge: dict[str, object], thousandths: int) -> None:
    made = model(charge)
    quantity = Fraction(thousandths, 1000)
    expected = price(charge, quantity)
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


@given(charges(fees=False, packages=False, whole=False), st.integers(0, 10**6), st.integers(0, 1000))
def test_without_fees_a_price_is_monotone_and_continuous(charge: dict[str, object], quantity: int, more: int) -> None:
    made = model(charge)
    low, high = made.price_exact(quantity), made.price_exact(quantity + Fraction(more, 1000))
    assert low <= high <= low + made.steepest() * Fraction(more, 1000)


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


def test_of_packages_below_zero_only_whole_ones_are_given_back() -> None:
    for made in (model(package("15", 10)), model(blocks("graduated", (20, "15", 10), (None, "1", 1)))):
        for quantity, amount in ((-1, 0), (-9, 0), (-10, -15), (-11, -15), (-20, -30)):
            assert made.price_of(quantity) == amount
            assert made.pricer(0)(quantity) == amount * 10**12
        # So taking back what was used brings back what it cost, however the hours fall.
        assert made.price_of(7 - 10) - made.price_of(7) == -15


def test_a_volume_tier_below_zero_is_the_first_one() -> None:
    made = model(volume((10, "2", "5"), (None, "1", "0"), flat_on_zero=False))
    assert made.price_of(-3) == -6
    assert made.pricer(0)(-3) == -6 * 10**12


def test_a_package_that_the_edge_of_its_tier_cuts_short_is_charged_whole() -> None:
    made = model(blocks("graduated", (25, "10", 10), (None, "1", 1)))
    assert made.price_of(25) == 30
    assert made.price_of(26) == 31


def test_every_registered_model_is_named_as_its_file() -> None:
    for name, made in MODELS.items():
        assert made.__module__ == f"rating.models.{name}"


@given(charges())
def test_a_model_comes_back_from_its_document(charge: dict[str, object]) -> None:
    made = model(charge)
    assert CHARGE.validate_python(made.model_dump(mode="json", exclude_none=True)) == made
