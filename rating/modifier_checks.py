"""What can be wrong with the modifiers of a SKU beyond the types of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rating.errors import CardProblem
from rating.models import Percentage
from rating.models.base import LARGEST_UNIT_PRICE
from rating.money import currency_exponent, plain, round_to_currency

if TYPE_CHECKING:
    from rating.cards import Sku


def modifier_problems(skus: Sequence[tuple[int, Sku]], currency: str | None) -> Iterator[CardProblem]:
    """Amounts that no record could hold, and caps that the currency cannot express. SKUs come with their positions."""
    for index, sku in skus:
        if sku.quantity is not None and _is_too_dear(sku):
            yield CardProblem(
                ("skus", index, "quantity"),
                f"a unit of {sku.meter} would cost more than {plain(LARGEST_UNIT_PRICE)}: the amounts of a month may "
                "not fit their 26 digits, correct divide_by, multiply_by or the price",
            )
        if sku.maximum is not None and currency is not None and round_to_currency(sku.maximum, currency) != sku.maximum:
            # The invoice would round it, perhaps to more than the most.
            yield CardProblem(
                ("skus", index, "maximum"),
                f"{plain(sku.maximum)} has more than the {currency_exponent(currency)} decimals of {currency}: round it",
            )
        if any(isinstance(cell.price_model, Percentage) for cell in sku.cells):
            yield from _of_events(index, sku)


def _of_events(index: int, sku: Sku) -> Iterator[CardProblem]:
    """A percentage is of the amount of each event: it has no quantity of a period that could be changed before."""
    if sku.quantity is not None:
        yield CardProblem(
            ("skus", index, "quantity"),
            "a percentage is of each event's own amount: leave quantity out, change the rate",
        )
    if sku.included is not None:
        yield CardProblem(
            ("skus", index, "included"),
            "a percentage is of each event's own amount: write free_amount or free_events in the charge instead",
        )


def _is_too_dear(sku: Sku) -> bool:
    """Whether the conversion makes a price too large that is not so by itself (which is said at the price)."""
    factor = sku.quantity.factor if sku.quantity else 1
    steepest = max((cell.price_model.steepest() for cell in sku.cells), default=0)
    return steepest <= LARGEST_UNIT_PRICE < steepest * factor
