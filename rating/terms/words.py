"""The terms of a card in words, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rating.cards import RateCard
from rating.money import plain
from rating.terms.card import OVERAGE
from rating.terms.fields import Discount, FlatFee


class TermRow(NamedTuple):
    """A term as a row of a table: the id of its line, its amount or percent, what that is of, and what it means."""

    sku: str
    amount: str
    per: str
    meaning: str


def term_rows(card: RateCard) -> Iterator[TermRow]:
    """The terms of a card (not those of its SKUs), in the order in which they apply."""
    for fee in card.flat_fees:
        yield TermRow(fee.sku, plain(fee.amount), "month", _fee(fee))
    for discount in card.discounts:
        percent = discount.percent is not None
        amount = discount.percent if discount.percent is not None else discount.amount
        per = "%" if percent else "month"
        yield TermRow(discount.sku, f"-{plain(amount)}" if amount is not None else "", per, _reduced(discount))
    commitment = card.commitment
    if commitment is not None:
        meaning = "committed" if commitment.true_up else "committed, without true-up"
        yield TermRow(commitment.sku, plain(commitment.amount), "month", meaning)
        if commitment.overage_factor != 1:
            more = f"{plain(commitment.overage_factor)} times the price above it"
            yield TermRow(f"{commitment.sku}/{OVERAGE}", "", "", more)
    if card.maximum is not None:
        yield TermRow(card.maximum.sku, plain(card.maximum.amount), "month", "at most")
    if card.minimum is not None:
        yield TermRow(card.minimum.sku, plain(card.minimum.amount), "month", "at least")
    for tax in card.tax:
        yield TermRow(tax.name, plain(tax.rate_percent), "%", "tax")


def _fee(fee: FlatFee) -> str:
    words = [word for word, holds in (("in advance", fee.in_advance), ("by days", fee.prorate)) if holds]
    return ", ".join(words)


def _reduced(discount: Discount) -> str:
    lines = "all usage" if discount.skus == ("*",) else ", ".join(discount.skus)
    return f"off {lines}"
