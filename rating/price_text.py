"""The price of a SKU in words, for people: tables, differences of cards, messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rating.models import PriceModel
from rating.models.words import PriceRow
from rating.money import plain

if TYPE_CHECKING:
    from rating.cards import Sku


def priced_unit(sku: Sku) -> str:
    """The unit that a SKU's prices, edges and allowance are in: its meter's, or the one that it is converted into."""
    conversion = sku.quantity
    if conversion is None or conversion.factor == 1:
        return (conversion.unit if conversion else None) or sku.measure.unit
    return conversion.unit or "converted units"


def price_text(sku: Sku, charge: PriceModel | None = None) -> str:
    """Everything that makes the price of a SKU with one charge (or of a cell), in one line.

    `charge` is another charge that takes the place of its own, e.g. a tenant's.
    """
    return "; ".join([(charge or sku.price_model).text(priced_unit(sku)), *terms_texts(sku)])


def price_rows(sku: Sku) -> list[PriceRow]:
    """The charge of a SKU (or of a cell) as rows of a table: a tier or a fee each, without its terms."""
    return sku.price_model.rows(priced_unit(sku))


def terms_texts(sku: Sku) -> list[str]:
    """What changes the price of a SKU beside its charge, a phrase each."""
    words = []
    if sku.aggregation != "sum":
        words.append(f"quantity is the {sku.aggregation} of {sku.meter}")
    if sku.tier_scope == "hour":
        words.append("each window by itself")
    words += sku.modifiers_text()
    commitment = sku.commitment
    if commitment is not None:
        what = plain(commitment.amount) if commitment.amount is not None else ""
        if commitment.quantity is not None:
            what = f"{plain(commitment.quantity)} {priced_unit(sku)}"
        window = "month" if commitment.window == "period" else "window"
        words.append(f"commitment of {what} a {window}" + ("" if commitment.true_up else " without true-up"))
        if commitment.overage_factor != 1:
            words[-1] += f", {plain(commitment.overage_factor)} times the price above it"
    if sku.minimum is not None:
        words.append(f"at least {plain(sku.minimum)} a month")
    return words
