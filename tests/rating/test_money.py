from __future__ import annotations

import decimal
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.errors import CurrencyError, MoneyError
from rating.money import (
    amount_of,
    currency_exponent,
    exact_decimal,
    exact_sum,
    fraction_to_currency,
    from_scaled,
    plain,
    q12,
    round_half_away,
    round_scaled_amount,
    round_to_currency,
    to_scaled,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.0000000000005", "0.000000000001"),
        ("-0.0000000000005", "-0.000000000001"),
        ("0.0000000000004999", "0"),
        ("1.0000000000015", "1.000000000002"),
        ("7", "7"),
    ],
)
def test_q12_rounds_half_away_from_zero(value: str, expected: str) -> None:
    assert q12(Decimal(value)) == Decimal(expected)
    assert q12(Fraction(value)) == Decimal(expected)


@given(st.fractions(min_value=-(10**20), max_value=10**20))
def test_q12_of_a_fraction_is_the_nearest_step_and_ties_leave_zero(value: Fraction) -> None:
    rounded = Fraction(q12(value))
    step = Fraction(1, 10**12)
    assert (rounded / step).denominator == 1
    assert abs(rounded - value) <= step / 2
    if abs(rounded - value) == step / 2:
        assert abs(rounded) > abs(value)
    assert q12(-value) == q12(value).copy_negate()


@given(st.integers(), st.integers(min_value=1))
def test_round_half_away_is_the_nearest_integer(numerator: int, denominator: int) -> None:
    assert abs(Fraction(round_half_away(numerator, denominator)) - Fraction(numerator, denominator)) <= Fraction(1, 2)


@pytest.mark.parametrize("value", [0.1, 1.0, float("nan"), True, None, [], b"1"])
@pytest.mark.parametrize("function", [exact_decimal, q12, lambda value: to_scaled(value, 6)])
def test_floats_and_other_inexact_things_raise(function: Callable[[object], object], value: object) -> None:
    with pytest.raises(MoneyError):
        function(value)


@pytest.mark.parametrize("text", ["1e5", "NaN", "Infinity", "", " 1", "1_000", "1,5", ".5", "0x10", "１", "--1", "1."])
def test_only_plain_notation_is_a_number(text: str) -> None:
    with pytest.raises(MoneyError):
        exact_decimal(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "sNaN"])
def test_numbers_that_are_not_finite_raise(number: str) -> None:
    with pytest.raises(MoneyError):
        exact_decimal(Decimal(number))


@pytest.mark.parametrize(
    ("currency", "amount", "expected"),
    [
        ("JPY", "0.5", "1"),
        ("JPY", "-0.5", "-1"),
        ("JPY", "1234.4999", "1234"),
        ("USD", "3.685", "3.69"),
        ("USD", "0.005", "0.01"),
        ("USD", "-0.005", "-0.01"),
        ("KWD", "0.0005", "0.001"),
        ("KWD", "0.00049", "0.000"),
        ("CLF", "0.00005", "0.0001"),
    ],
)
def test_rounding_to_the_currency_uses_its_iso_exponent(currency: str, amount: str, expected: str) -> None:
    rounded = round_to_currency(Decimal(amount), currency)
    assert (rounded, -int(rounded.as_tuple().exponent)) == (Decimal(expected), currency_exponent(currency))


@pytest.mark.parametrize(("code", "exponent"), [("JPY", 0), ("KRW", 0), ("USD", 2), ("EUR", 2), ("KWD", 3), ("BHD", 3)])
def test_currency_exponents(code: str, exponent: int) -> None:
    assert currency_exponent(code) == exponent


@pytest.mark.parametrize("code", ["usd", "XXX", "", "EURO", "XAU"])
def test_a_currency_that_iso_4217_does_not_list_raises(code: str) -> None:
    with pytest.raises(CurrencyError):
        currency_exponent(code)


@given(st.integers(min_value=-(10**30), max_value=10**30), st.integers(min_value=0, max_value=12))
def test_scaled_integers_come_back(value: int, decimals: int) -> None:
    assert to_scaled(from_scaled(value, decimals), decimals) == value


def test_integers_are_scaled_too() -> None:
    assert to_scaled(3, 6) == 3_000_000
    assert to_scaled(-3, 0) == -3


@pytest.mark.parametrize(
    ("currency", "amount"), [("JPY", "1234.5"), ("USD", "-0.005"), ("KWD", "0.00049"), ("CLF", "7")]
)
def test_scaled_amounts_are_rounded_as_decimals_are(currency: str, amount: str) -> None:
    rounded = round_scaled_amount(to_scaled(Decimal(amount), 12), currency)
    assert amount_of(rounded) == round_to_currency(Decimal(amount), currency)


def test_too_many_decimals_raise_and_are_not_cut_off() -> None:
    with pytest.raises(MoneyError):
        to_scaled(Decimal("1.0000001"), 6)
    assert to_scaled(Decimal("1.0000010"), 6) == 1_000_001


@pytest.mark.parametrize("precision", [1, 5, 28, 60])
def test_the_thread_context_never_matters(precision: int) -> None:
    with decimal.localcontext(decimal.Context(prec=precision, rounding=decimal.ROUND_DOWN)):
        assert q12(Decimal("123456789012345.6789012345675")) == Decimal("123456789012345.678901234568")
        assert exact_sum([Decimal(10) ** 0, Decimal("1e-12"), Decimal("1e26")]) == Decimal(
            "100000000000000000000000001.000000000001"
        )
        assert round_to_currency(Decimal("999999999999.995"), "USD") == Decimal("1000000000000.00")
        assert amount_of(10**38 + 1) == Decimal("100000000000000000000000000.000000000001")
        assert to_scaled(Decimal("123456789.123456"), 6) == 123456789123456


@pytest.mark.parametrize(
    ("value", "text"),
    [("0.150", "0.15"), ("0E-12", "0"), ("-0", "0"), ("1E+3", "1000"), ("1E-7", "0.0000001"), ("100", "100")],
)
def test_plain_notation_has_no_exponent_and_no_trailing_zeros(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


@pytest.mark.parametrize(
    ("value", "hint"), [(0.1, "'0.1'"), (True, "'0.15'"), (float("inf"), "'0.15'"), (None, "'0.15'")]
)
def test_a_value_that_is_no_exact_number_is_refused_with_what_to_write(value: object, hint: str) -> None:
    with pytest.raises(MoneyError, match="write it as a string") as refused:
        exact_decimal(value)
    assert str(refused.value).endswith(hint)


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        (Fraction(1, 3), "USD", "0.33"),
        (Fraction(1, 200), "USD", "0.01"),
        (Fraction(-1, 200), "USD", "-0.01"),
        (Fraction(7, 2), "JPY", "4"),
        (Fraction(12_345, 10_000), "KWD", "1.235"),
    ],
)
def test_an_exact_fraction_is_rounded_once_to_the_currency(amount: Fraction, currency: str, rounded: str) -> None:
    assert str(fraction_to_currency(amount, currency)) == rounded
