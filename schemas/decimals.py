"""Decimals on the wire: always strings in plain notation, never floats."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_PLAIN: Final = re.compile(r"-?[0-9]{1,38}(?:\.[0-9]{1,38})?")


def format_decimal(value: Decimal) -> str:
    """The one canonical text of a finite decimal: no exponent, no trailing zeros, no negative zero ("0", "1.5", "-20").

    ValueError for infinities and NaN.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite decimal")
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def parse_decimal(value: object) -> Decimal:
    """A Decimal, an int or text in plain notation as a Decimal. ValueError for anything else: floats, exponents, NaN."""
    if isinstance(value, str):
        if not _PLAIN.fullmatch(value):
            raise ValueError('is not a decimal in plain notation, such as "12.5"')
        return Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("is not a decimal: write it as a string")
    result = Decimal(value)
    if not result.is_finite():
        raise ValueError("is not a finite decimal")
    return result


def find_float(value: object, place: str) -> str | None:
    """Where in plain JSON data a float stands, as `<place>.key[0]`; None where there is none."""
    if isinstance(value, float):
        return place
    children: list[tuple[str, object]] = []
    if isinstance(value, dict):
        children = [(f"{place}.{name}", child) for name, child in value.items()]
    elif isinstance(value, list):
        children = [(f"{place}[{index}]", child) for index, child in enumerate(value)]
    return next((found for where, child in children if (found := find_float(child, where))), None)
