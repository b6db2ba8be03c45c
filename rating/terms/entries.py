"""A record of a whole period before it is written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rating.cards import RateCard
from rating.skus import Kind, Line

Rounded = Callable[[int], int]
"""Rounds an amount in 10^-12 as an invoice line of one currency does."""
FeeId = tuple[str, str]
"""Id and currency of a fee."""


class PeriodEntry(NamedTuple):
    """A record of a whole period: quantity in the line's smallest unit, amount in 10^-12.

    `service_period` is the period that it is for, where that is not the one that it was made in.
    """

    sku: str
    kind: Kind
    billing_period: str
    quantity: int
    amount: int
    line: Line
    service_period: str | None = None


def term_line(card: RateCard, sku: str, meter_name: str, unit: str = "months") -> Line:
    """The line of a term that belongs to a card as a whole."""
    return Line(
        sku=sku,
        meter=meter_name,
        unit=unit,
        decimals=0,
        kind="usage",
        outcome="priced",
        currency=card.currency,
        card_id=card.id,
        card_version=card.version,
    )
