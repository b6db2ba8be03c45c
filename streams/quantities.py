"""Totals as exact integers: their sums, their form in the state, and the same by meter name for the rating engine."""

from collections.abc import Iterable, Mapping

from rating.aggregations.gathered import Gathered, Quantity, merged
from rating.meters import LEAF_NAMES

_LARGEST_JSON = (1 << 63) - 1


def added(total: list[int] | None, meters: list[int]) -> list[int]:
    """The sum of two lists of leaf meters; neither is changed."""
    return list(meters) if total is None else [old + new for old, new in zip(total, meters, strict=True)]


def named(meters: Iterable[int], gathered: Mapping[str, Gathered]) -> dict[str, Quantity]:
    """The leaf meters other than zero by name, with what was gathered of them and of custom ones."""
    quantities: dict[str, Quantity] = {
        name: quantity for name, quantity in zip(LEAF_NAMES, meters, strict=True) if quantity
    }
    for name, more in gathered.items():
        if more:
            quantities[name] = merged(quantities[name], more) if name in quantities else more
    return quantities


def state_number(quantity: int) -> int | str:
    """A sum as the state keeps it: JSON encoders end at 64 bits, sums do not. `int` reads both forms."""
    return quantity if -_LARGEST_JSON <= quantity <= _LARGEST_JSON else str(quantity)


def state_numbers(quantities: list[int]) -> list[int | str] | list[int]:
    """`state_number` of each; the list itself where nothing is beyond 64 bits."""
    if max(quantities) <= _LARGEST_JSON and min(quantities) >= -_LARGEST_JSON:
        return quantities
    return [state_number(quantity) for quantity in quantities]
