"""Prices written down once more, in the plainest way: fractions and loops over tiers. Shares no code with the engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

Document = Mapping[str, Any]
_Q12 = 10**12


def rounded(value: Fraction) -> Fraction:
    """To 12 decimals, half away from zero."""
    scaled = abs(value) * _Q12
    whole = math.floor(scaled)
    whole += scaled - whole >= Fraction(1, 2)
    return Fraction(whole if value >= 0 else -whole, _Q12)


def charge_price(charge: Document, quantity: Fraction) -> Fraction:
    """What a charge of a card makes of a quantity of 0 or more."""
    model = charge["model"]
    if model == "flat":
        return Fraction(charge["amount"]) if quantity > 0 or charge.get("flat_on_zero") else Fraction(0)
    if model == "per_unit":
        return quantity * Fraction(charge["price"]) / Fraction(charge.get("per", 1))
    if model == "dynamic":
        return quantity * Fraction(charge.get("multiplier", 1))
    if model == "package":
        return math.ceil(quantity / Fraction(charge["size"])) * Fraction(charge["price"])
    if quantity == 0 and not charge.get("flat_on_zero", True):
        return Fraction(0)
    return _tiered(charge, quantity)


def _tiered(charge: Document, quantity: Fraction) -> Fraction:
    price, lower = Fraction(0), Fraction(0)
    for tier in charge["tiers"]:
        upper = Fraction(tier["up_to"]) if "up_to" in tier else None
        last = upper is None or quantity <= upper
        if charge["model"] == "volume":
            if last:
                return Fraction(tier.get("flat_fee", 0)) + _part(charge, tier, quantity)
            continue
        reached = quantity if upper is None or quantity < upper else upper
        price += Fraction(tier.get("flat_fee", 0)) + _part(charge, tier, reached - lower)
        if last:
            return price
        lower = reached
    raise AssertionError("the last tier is open")


def _part(charge: Document, tier: Document, quantity: Fraction) -> Fraction:
    if "rate" in tier:
        return quantity * Fraction(tier["rate"]) / 100
    if "package" in tier:
        return math.ceil(quantity / Fraction(tier["package"])) * Fraction(tier["price"])
    return quantity * Fraction(tier["price"]) / Fraction(charge.get("per", 1))


def converted(sku: Document, quantity: Fraction) -> Fraction:
    """Convert, then round."""
    how = sku.get("quantity", {})
    number = quantity * Fraction(how.get("multiply_by", 1)) / Fraction(how.get("divide_by", 1))
    if "round" not in how:
        return number
    step = Fraction(10) ** -how.get("decimals", 0)
    steps = number / step
    whole = {"up": math.ceil(steps), "down": math.floor(steps), "nearest": math.floor(steps + Fraction(1, 2))}
    found: Fraction = whole[how["round"]] * step
    return found


def sku_price(sku: Document, quantity: Fraction) -> Fraction:
    """Convert, round, allowance, price, discount, cap: what a period costs."""
    left = max(Fraction(0), converted(sku, quantity) - Fraction(sku.get("included", 0)))
    price = charge_price(sku["charge"], left) * (1 - Fraction(sku.get("discount_percent", 0)) / 100)
    return min(price, Fraction(sku["maximum"])) if "maximum" in sku else price


def hour_amounts(priced_by: Sequence[tuple[int, Document]], usage: Mapping[int, Fraction]) -> dict[int, Fraction]:
    """The amount of each hour with usage. `priced_by`: from which hour on which version of the SKU prices, in order."""
    found = {}
    before = Fraction(0)
    for hour in sorted(usage):
        sku = [each for since, each in priced_by if since <= hour][-1]
        if sku.get("tier_scope") == "hour":
            found[hour] = rounded(sku_price(sku, usage[hour]))
            continue
        after = before + usage[hour]
        found[hour] = rounded(sku_price(sku, after)) - (rounded(sku_price(sku, before)) if before else 0)
        before = after
    return found
