"""Exact numbers: money, quantities and their rounding.

Money and quantities travel as `Decimal`. Inside, sums are kept as integers of the smallest unit ("scaled": an amount in
10^-12 of the currency, seconds as microseconds), because integers are exact whatever the decimal context says.
Nothing here reads or changes the thread's decimal context, so results are the same under a precision of 5 or of 60.

Floats are refused everywhere: 0.1 is not a price.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import (
    ROUND_HALF_UP,
    Clamped,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
    Underflow,
)
from fractions import Fraction

from rating.errors import CurrencyError, MoneyError

AMOUNT_DECIMALS = 12
"""Decimals that amounts are kept to between the price and the invoice line."""
AMOUNT_SCALE = 10**AMOUNT_DECIMALS

# 400 digits is far beyond any amount that can occur; a result that would need more raises instead of being rounded.
_EXACT = Context(
    prec=400,
    Emax=999_999,
    Emin=-999_999,
    traps=[InvalidOperation, DivisionByZero, Overflow, Underflow, Inexact, Rounded, Clamped],
)
# ROUND_HALF_UP of the decimal module is "half away from zero": 0.5 becomes 1 and -0.5 becomes -1.
_ROUNDING = Context(prec=400, Emax=999_999, Emin=-999_999, rounding=ROUND_HALF_UP, traps=[InvalidOperation, Overflow])
_AMOUNT_STEP = Decimal(1).scaleb(-AMOUNT_DECIMALS, _EXACT)
_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]{1,60}(?:\.[0-9]{1,60})?", re.ASCII)


def exact_decimal(value: object) -> Decimal:
    """The exact decimal that `value` (str in plain notation, int or Decimal) says; anything else raises MoneyError."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        kind = type(value).__name__
        text = repr(value) if isinstance(value, float) and _PLAIN_NUMBER.fullmatch(repr(value)) else "0.15"
        raise MoneyError(f"a {kind} is not an exact number: write it as a string such as '{text}'", value=repr(value))
    if isinstance(value, str) and not _PLAIN_NUMBER.fullmatch(value):
        raise MoneyError(f"{value!r} is not a number in plain decimal notation such as '0.15'", value=value)
    number = Decimal(value)
    if not number.is_finite():
        raise MoneyError(f"{value} is not a finite number", value=str(value))
    return number


def to_scaled(value: Decimal | int, decimals: int) -> int:
    """`value` as a whole number of 10^-decimals. Raises MoneyError if it has more decimals or is no exact number."""
    if type(value) is int:
        factor: int = 10**decimals
        return value * factor
    number = exact_decimal(value)
    scaled = number.scaleb(decimals, _EXACT)
    integer = int(scaled)
    if integer != scaled:
        raise MoneyError(f"{value} has more than {decimals} decimals", value=str(value), decimals=decimals)
    return integer


def from_scaled(value: int, decimals: int) -> Decimal:
    """The decimal number of `value` times 10^-decimals, with exactly that many decimals."""
    return Decimal(value).scaleb(-decimals, _EXACT) if decimals else Decimal(value)


def amount_of(scaled_amount: int) -> Decimal:
    """An amount in 10^-12 of the currency as a decimal with 12 decimals."""
    return Decimal(scaled_amount).scaleb(-AMOUNT_DECIMALS, _EXACT)


def round_half_away(numerator: int, denominator: int) -> int:
    """The integer nearest to numerator / denominator (denominator > 0); a tie goes away from zero."""
    if numerator >= 0:
        return (2 * numerator + denominator) // (2 * denominator)
    return -((2 * -numerator + denominator) // (2 * denominator))


def q12(value: Decimal | int | Fraction) -> Decimal:
    """`value` rounded to 12 decimals, half away from zero."""
    if isinstance(value, Fraction):
        return amount_of(round_half_away(value.numerator * AMOUNT_SCALE, value.denominator))
    return exact_decimal(value).quantize(_AMOUNT_STEP, context=_ROUNDING)


def exact_sum(values: Iterable[Decimal]) -> Decimal:
    """The exact sum of decimals, whatever the precision of the thread's context."""
    total = Decimal(0)
    for value in values:
        total = _EXACT.add(total, exact_decimal(value))
    return total


def difference(left: Decimal, right: Decimal) -> Decimal:
    """Exactly left - right, whatever the precision of the thread's context."""
    return _EXACT.subtract(left, right)


def round_scaled_amount(scaled_amount: int, currency: str) -> int:
    """An amount in 10^-12 rounded half away from zero to the currency's smallest unit, again in 10^-12."""
    step: int = 10 ** (AMOUNT_DECIMALS - currency_exponent(currency))
    return round_half_away(scaled_amount, step) * step


def round_to_currency(amount: Decimal | int, currency: str) -> Decimal:
    """`amount` rounded half away from zero to the decimals that ISO 4217 gives the currency (JPY 0, USD 2, KWD 3)."""
    step = Decimal(1).scaleb(-currency_exponent(currency), _EXACT)
    return exact_decimal(amount).quantize(step, context=_ROUNDING)


def fraction_to_currency(amount: Fraction, currency: str) -> Decimal:
    """An exact amount rounded once, half away from zero, to the decimals of the currency."""
    decimals = currency_exponent(currency)
    return from_scaled(round_half_away(amount.numerator * 10**decimals, amount.denominator), decimals)


def plain(value: Decimal) -> str:
    """A decimal in plain notation without exponent and trailing zeros: 0.150 is '0.15', 0E-12 is '0'."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def currency_exponent(currency: str) -> int:
    """Decimals of the currency's smallest unit by ISO 4217. An unknown code raises CurrencyError."""
    exponent = CURRENCY_EXPONENTS.get(currency)
    if exponent is None:
        raise CurrencyError(f"{currency!r} is not a currency of ISO 4217, such as USD or EUR", currency=currency)
    return exponent


def _exponents() -> dict[str, int]:
    """ISO 4217 list one (currencies in use) with the minor unit of each; codes without one (metals, tests) left out."""
    by_exponent = {
        0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
        2: """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF
              CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD
              HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT
              MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR
              SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU
              UZS VED VES WST XCD XCG YER ZAR ZMW ZWG""",
        3: "BHD IQD JOD KWD LYD OMR TND",
        4: "CLF UYW",
    }
    return {code: exponent for exponent, codes in by_exponent.items() for code in codes.split()}


CURRENCY_EXPONENTS = _exponents()
"""Decimals by currency code."""
