# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
"""How an amount came about: the slices sum to what was charged."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from rating.breakdown import TierSlice, breakdown
from rating.modifiers import Price
from rating.money import exact_sum
from rating.terms.overage import Committed
from tests.rating.builders import Document, graduated, package, per_unit, volume
from tests.rating.prices import charges, modifiers
from tests.rating.test_modifiers import CHARGE, made, rule

POSITIONS = st.integers(-(10**4), 10**6)


def shown(slices: tuple[TierSlice, ...]) -> list[tuple[str, Decimal, Decimal, Decimal]]:
    """Kind, lower edge, quantity and amount."""
    return [(each.kind, each.lower, each.quantity, each.amount) for each in slices]


@given(modifiers(), charges(), POSITIONS, POSITIONS)
def test_the_slices_sum_to_what_was_charged_between_two_positions(
    fields: Document, charge: Document, before: int, after: int
) -> None:
    price = made(fields, charge)
    slices = breakdown(price, Decimal(before), Decimal(after))
    assert exact_sum(each.amount for each in slices) == price.price_of(after) - price.price_of(before)
    moved = price.converted(Fraction(after)) - price.converted(Fraction(before))
    # Each quantity that is shown is the difference of two rounded ones.
    assert abs(sum(Fraction(each.quantity) for each in slices) - moved) <= len(slices) * Fraction(1, 10**12)
    assert all(each.quantity or each.amount for each in slices)


@given(modifiers(), charges(), POSITIONS)
def test_the_first_slices_of_a_period_sum_to_its_price(fields: Document, charge: Document, after: int) -> None:
    price = made(fields, charge)
    slices = breakdown(price, None, Decimal(after))
    assert exact_sum(each.amount for each in slices) == price.price_of(after)


@given(charges(), st.lists(st.integers(0, 1000), min_size=1, max_size=6))
def test_hour_by_hour_is_the_same_as_all_at_once(charge: Document, hours: list[int]) -> None:
    price = made({}, charge)
    found: dict[tuple[str, Decimal], tuple[Decimal, Decimal]] = {}
    position: Decimal | None = None
    for quantity in hours:
        after = (position or Decimal(0)) + quantity
        for each in breakdown(price, position, after):
            known = found.get((each.kind, each.lower), (Decimal(0), Decimal(0)))
            found[each.kind, each.lower] = known[0] + each.quantity, known[1] + each.amount
        position = after
    whole = {
        (each.kind, each.lower): (each.quantity, each.amount) for each in breakdown(price, None, Decimal(sum(hours)))
    }
    assert {name: sums for name, sums in found.items() if any(sums)} == whole


def test_every_step_from_the_quantity_to_the_amount_is_shown() -> None:
    price = made(
        rule(divide_by=1000, round="up") | {"included": "2", "discount_percent": "10", "maximum": "20"},
        graduated((10, "2", "0"), (None, "1", "3")),
    )
    # 14.2 thousands are 15; 2 are included, 10 at 2, 3 at 1 and a fee of 3: 26, less 10 %: 23.4, at most 20.
    assert shown(breakdown(price, None, Decimal(14_200))) == [
        ("included", 0, 2, 0),
        ("tier", 0, 10, 20),
        ("tier", 10, 3, 6),
        ("discount", 0, 0, Decimal("-2.6")),
        ("maximum", 0, 0, Decimal("-3.4")),
    ]
    assert [
        (each.upper, each.unit_price, each.per, each.basis) for each in breakdown(price, None, Decimal(14_200))
    ] == [
        (2, 0, 1, "units"),
        (10, 2, 1, "units"),
        (None, 1, 1, "units"),
        (None, 10, 100, "percent"),
        (None, 20, 1, "units"),
    ]


def test_usage_above_a_commitment_has_a_slice_of_its_own() -> None:
    price = Price(CHARGE.validate_python(per_unit("1")), commitment=Committed(Decimal(10), None, Decimal("1.5")))
    assert shown(breakdown(price, None, Decimal(14))) == [("tier", 0, 14, 14), ("overage", 0, 0, 2)]
    assert price.price_of(14) == 16
    overage = breakdown(price, None, Decimal(14))[-1]
    assert (overage.unit_price, overage.per, overage.basis) == (Decimal("1.5"), 1, "multiple")


def test_a_commitment_to_a_quantity_is_to_what_it_costs_after_the_discount() -> None:
    price = Price(
        CHARGE.validate_python(per_unit("1")),
        discount_percent=Decimal(50),
        commitment=Committed(None, Decimal(10), Decimal(2)),
    )
    # 10 units cost 5; the other 4 cost 2, twice.
    assert price.price_of(14) == 9
    assert price.pricer(0)(14) == 9 * 10**12


def test_a_volume_tier_that_is_left_gives_back_what_it_charged() -> None:
    price = made({}, volume((10, "2", "1"), (None, "1", "0")))
    assert shown(breakdown(price, Decimal(9), Decimal(12))) == [("tier", 0, -9, -19), ("tier", 10, 12, 12)]


def test_a_package_is_in_the_slice_of_the_hour_that_starts_it() -> None:
    price = made({}, package("15", 10))
    assert shown(breakdown(price, None, Decimal(4))) == [("tier", 0, 4, 15)]
    assert shown(breakdown(price, Decimal(4), Decimal(10))) == [("tier", 0, 6, 0)]
    (third,) = breakdown(price, Decimal(10), Decimal(11))
    assert (third.basis, third.per, third.unit_price, third.amount) == ("packages", 10, 15, 15)


def test_what_is_taken_back_is_shown_below_zero() -> None:
    price = made({}, graduated((10, "2", "5"), (None, "1", "0"), flat_on_zero=False))
    assert shown(breakdown(price, Decimal(12), Decimal(3))) == [("tier", 0, -7, -14), ("tier", 10, -2, -2)]
    assert shown(breakdown(price, Decimal(3), Decimal(-2))) == [("tier", 0, -5, -15)]
