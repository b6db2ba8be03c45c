"""Totals as exact integers, and the same as decimals by meter name for the rating engine."""

from decimal import Decimal

from rating.meters import CUSTOM_DECIMALS, LEAF_METERS
from rating.money import from_scaled


def merged(
    total: tuple[list[int], dict[str, int]] | None, added: tuple[list[int], dict[str, int]]
) -> tuple[list[int], dict[str, int]]:
    """The sum of two totals; neither is changed."""
    meters, custom = added
    if total is None:
        return list(meters), dict(custom)
    units = dict(total[1])
    for name, quantity in custom.items():
        units[name] = units.get(name, 0) + quantity
    return [old + new for old, new in zip(total[0], meters, strict=True)], units


def named_quantities(meters: list[int], custom: dict[str, int]) -> dict[str, Decimal]:
    """The meters other than zero as decimals in the meter's unit."""
    quantities = {
        meter.name: from_scaled(quantity, meter.decimals)
        for meter, quantity in zip(LEAF_METERS, meters, strict=True)
        if quantity
    }
    quantities.update((name, from_scaled(quantity, CUSTOM_DECIMALS)) for name, quantity in custom.items() if quantity)
    return quantities
