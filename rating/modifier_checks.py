"""What can be wrong with the modifiers of a SKU beyond the types of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rating.errors import CardProblem
from rating.meters import is_custom
from rating.models import Percentage, PriceModel
from rating.models.base import LARGEST_UNIT_PRICE
from rating.money import currency_exponent, plain, round_to_currency

if TYPE_CHECKING:
    from rating.cards import Sku


def modifier_problems(skus: Sequence[tuple[int, Sku]], currency: str | None) -> Iterator[CardProblem]:
    """Modifiers that do not fit the charge, and caps that the currency cannot express. SKUs come with their positions."""
    for index, sku in skus:
        said: set[str] = set()
        for cell in sku.cells:
            for field, message in misfits(sku, cell.price_model):
                if field not in said:
                    said.add(field)
                    yield CardProblem(("skus", index, field), message)
        if sku.maximum is not None and currency is not None and round_to_currency(sku.maximum, currency) != sku.maximum:
            # The invoice would round it, perhaps to more than the most.
            yield CardProblem(
                ("skus", index, "maximum"),
                f"{plain(sku.maximum)} has more than the {currency_exponent(currency)} decimals of {currency}: round it",
            )


def misfits(sku: Sku, charge: PriceModel) -> Iterator[tuple[str, str]]:
    """The modifiers of a SKU that cannot go with a charge, of its own or a tenant's, each with what to do about it."""
    conversion = sku.quantity
    if isinstance(charge, Percentage):
        # It is of single events: there is no quantity of a period that could be changed before.
        if not is_custom(sku.meter):
            yield (
                "meter",
                f"a percentage is of each event's own amount, which only custom meters (units.<name>) have: use one, or "
                f"graduated_percentage for the sum of {sku.meter}",
            )
        if sku.aggregation != "sum":
            yield (
                "aggregation",
                f"a percentage is of each event's own amount: leave {sku.aggregation} out, or write sum",
            )
        if sku.commitment is not None:
            yield "commitment", "a percentage is of each event's own amount: write a commitment of the card instead"
        if conversion is not None:
            yield "quantity", "a percentage is of each event's own amount: leave quantity out, change the rate"
        if sku.included is not None:
            yield (
                "included",
                "a percentage is of each event's own amount: write free_amount or free_events in the charge instead",
            )
    elif conversion is not None and charge.steepest() <= LARGEST_UNIT_PRICE < charge.steepest() * conversion.factor:
        # A price that is too large by itself is said where it stands.
        yield (
            "quantity",
            f"a unit of {sku.meter} would cost more than {plain(LARGEST_UNIT_PRICE)}: the amounts of a month may not fit "
            "their 26 digits, correct divide_by, multiply_by or the price",
        )
