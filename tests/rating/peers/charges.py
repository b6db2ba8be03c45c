"""From a peer's definition of a price to the charge and the modifiers of a SKU of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from rating.money import exact_decimal

Document = dict[str, Any]
Definition = Mapping[str, Any]

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_ROUNDINGS = {
    "ceiling": "up",
    "ceil": "up",
    "up": "up",
    "floor": "down",
    "down": "down",
    "half_up": "nearest",
    "round": "nearest",
}


class UnknownModel(Exception):
    """There is no mapping for a model or a definition: it has to be written, never guessed."""


def decimal(value: object) -> Decimal:
    """A number of a case; JSON integers and text."""
    return exact_decimal(str(value))


def numbers(usage: str) -> list[Decimal]:
    """Every number of a text."""
    return [Decimal(each) for each in _NUMBER.findall(usage)]


def text(value: Fraction | Decimal | int) -> str:
    """A number as a card writes it. A fraction that is no decimal cannot be written."""
    number = Fraction(value)
    power = 0
    while number.denominator != 1:
        number, power = number * 10, power + 1
        if power > 30:
            raise UnknownModel(f"{value} is no decimal number")
    digits = str(abs(number.numerator)).rjust(power + 1, "0")
    sign = "-" if number < 0 else ""
    return sign + (f"{digits[:-power]}.{digits[-power:]}" if power else digits)


def modifiers(definition: Definition) -> Document:
    """Conversion, rounding, allowance, discount, cap and minimum, by the names that the peers give them."""
    found: Document = {}
    quantity: Document = {}
    if "divide_by" in definition:
        quantity["divide_by"] = str(definition["divide_by"])
    if "op" in definition:
        quantity["divide_by" if definition["op"] == "divide" else "multiply_by"] = str(definition["factor"])
    rounding = definition.get("rounding", definition.get("function", "none"))
    if rounding != "none":
        quantity |= {"round": _ROUNDINGS[rounding], "decimals": int(definition.get("precision") or 0)}
    if quantity:
        found["quantity"] = quantity
    for name in ("included_units", "free_units", "usage_discount_units"):
        if decimal(definition.get(name) or 0):
            found["included"] = str(definition[name])
    if "percent_discount" in definition:
        found["discount_percent"] = str(definition["percent_discount"])
    for name in ("maximum", "minimum"):
        if name in definition:
            found[name] = str(definition[name])
    return found


def charge_of(model: str, definition: Definition) -> Document:
    """The charge: by the fields that the definition has, and by whether the model's name says volume."""
    volume = "volume" in model or definition.get("policy") == "TOP_TIER"
    if "tiers" in definition:
        return tiered(definition["tiers"], volume=volume, flat_on_zero=True)
    if "package_size" in definition:
        price = str(definition.get("package_price", "1"))
        return {"model": "package", "size": str(definition["package_size"]), "price": price}
    if "block_size" in definition and "block_price" in definition:
        return {"model": "package", "size": str(definition["block_size"]), "price": str(definition["block_price"])}
    if "multiplier" in definition:
        return {"model": "dynamic", "multiplier": str(definition["multiplier"])}
    if "flat" in model:
        return {"model": "flat", "amount": str(definition["amount"])}
    if "unit" in definition:
        return {"model": "per_unit", "price": str(definition["unit"])}
    return {"model": "per_unit", "price": "1"}


def tiered(tiers: list[Definition], *, volume: bool, flat_on_zero: bool) -> Document:
    """Tiers with absolute upper edges (`to`), with percentages (`rate`), or relative ones made of blocks."""
    if "rate" in tiers[0]:
        steps = [
            {"up_to": each["to"], "rate": str(each["rate"]), "flat_fee": str(each.get("flat", "0"))} for each in tiers
        ]
        return {"model": "graduated_percentage", "tiers": opened(steps), "flat_on_zero": flat_on_zero}
    if "block_size" in tiers[0]:
        return blocks([(each["block_size"], each["max_blocks"], each["block_price"]) for each in tiers], volume=volume)
    steps = [
        {"up_to": each["to"], "price": str(each["unit"]), "flat_fee": str(each.get("flat", "0"))} for each in tiers
    ]
    model = "volume" if volume else "graduated"
    return {"model": model, "tiers": opened(steps), "flat_on_zero": flat_on_zero}


def blocks(tiers: list[tuple[object, object, object]], *, volume: bool) -> Document:
    """Kill Bill's tiers: so many blocks of a size, each counted from the end of the tier before; -1 is without end."""
    reached = Fraction(0)
    steps: list[Document] = []
    for size, most, price in tiers:
        step: Document = {"price": str(price), "package": str(size)}
        if decimal(most) >= 0:
            reached += Fraction(decimal(size)) * Fraction(decimal(most))
            step["up_to"] = text(reached)
        steps.append(step)
    return {"model": "volume" if volume else "graduated", "tiers": opened(steps), "flat_on_zero": False}


def opened(steps: list[Document]) -> list[Document]:
    """Our tiers: numbers as text, the last one open (what a peer leaves without a price beyond its last tier keeps it)."""
    made = [
        {name: str(value) if name == "up_to" else value for name, value in step.items() if value is not None}
        for step in steps
    ]
    made[-1].pop("up_to", None)
    return made


def single_range(definition: Definition) -> Document:
    """One tier of Lago's: nothing below it, nothing above it. Whole numbers are both included: 11-20 is (10, 20]."""
    lower = decimal(definition["from"])
    whole = definition.get("edges") != "adjacent" and lower == lower.to_integral_value()
    if whole and lower:
        lower -= 1
    fee = str(definition.get("flat", "0"))
    name = "rate" if "rate" in definition else "price"
    price = str(definition["rate" if name == "rate" else "unit"])
    steps: list[Document] = [{"up_to": text(lower), name: "0"}] if lower else []
    steps.append({"up_to": str(definition["to"]), name: price, "flat_fee": fee})
    steps.append({name: "0"})
    model = "graduated_percentage" if name == "rate" else "graduated"
    return {"model": model, "tiers": steps, "flat_on_zero": not lower}
