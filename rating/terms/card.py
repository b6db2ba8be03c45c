"""What a card charges or credits for all usage of a period together, in this order: discounts, commitment, cap, minimum.

All is compared with the lines as invoices charge them, rounded to the currency, and every term is rounded to it too, so
that the invoice comes to a cap or a minimum exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from rating.cards import RateCard
from rating.money import AMOUNT_DECIMALS, round_half_away, to_scaled
from rating.patterns import matches
from rating.skus import Kind
from rating.terms.entries import PeriodEntry, Rounded, term_line
from rating.terms.fields import Discount

OVERAGE = "overage"
"""Last part of the id of the line for usage above the commitment of a card."""


class CardTerms:
    """The terms of a card version for one period."""

    def __init__(self, card: RateCard, period: str) -> None:
        self._card = card
        self._period = period

    def entries(self, usage: Mapping[str, int], beyond: int, rounded: Rounded) -> Iterator[PeriodEntry]:
        """The records of the terms.

        `usage`: what invoices charge for each line, in 10^-12; `beyond`: what commitments and minimums of lines add to
        that, which no discount reduces.
        """
        charged = sum(usage.values()) + beyond
        for entry in self._discounts(usage, rounded):
            charged += entry.amount
            yield entry
        for entry in self._commitment(charged, rounded):
            charged += entry.amount
            yield entry
        card = self._card
        if card.maximum is not None:
            above = max(0, charged - to_scaled(card.maximum.amount, AMOUNT_DECIMALS))
            charged -= above
            yield self._entry(card.maximum.sku, "credit", "maximum", -above)
        if card.minimum is not None:
            missing = max(0, to_scaled(card.minimum.amount, AMOUNT_DECIMALS) - charged)
            yield self._entry(card.minimum.sku, "minimum", "minimum", missing)

    def _discounts(self, usage: Mapping[str, int], rounded: Rounded) -> Iterator[PeriodEntry]:
        left = {sku: Fraction(amount) for sku, amount in usage.items()}
        reduced, given = Fraction(0), 0
        for discount in self._card.discounts:
            matched = [sku for sku in left if any(matches(pattern, sku) for pattern in discount.skus)]
            cost = Fraction(sum(left[sku] for sku in matched))
            share = _share(discount, cost)
            for sku in matched:
                left[sku] *= 1 - share
            reduced += cost * share
            # What was given in all is rounded, so that no discounts ever exceed what the lines cost.
            total = rounded(round_half_away(reduced.numerator, reduced.denominator))
            yield self._entry(discount.sku, "credit", "discount", given - total)
            given = total

    def _commitment(self, charged: int, rounded: Rounded) -> Iterator[PeriodEntry]:
        commitment = self._card.commitment
        if commitment is None:
            return
        committed = to_scaled(commitment.amount, AMOUNT_DECIMALS)
        missing = max(0, committed - charged) if commitment.true_up else 0
        yield self._entry(commitment.sku, "commitment", "commitment", missing)
        more = max(0, charged - committed) * (Fraction(commitment.overage_factor) - 1)
        surcharge = rounded(round_half_away(more.numerator, more.denominator))
        yield self._entry(f"{commitment.sku}/{OVERAGE}", "commitment", OVERAGE, surcharge)

    def _entry(self, sku: str, kind: Kind, meter_name: str, amount: int) -> PeriodEntry:
        line = term_line(self._card, sku, meter_name)
        return PeriodEntry(sku, kind, self._period, int(amount != 0), amount, line)


def _share(discount: Discount, cost: Fraction) -> Fraction:
    """The part of what the lines still cost that a discount takes off."""
    if cost <= 0:
        return Fraction(0)
    if discount.percent is not None:
        return Fraction(discount.percent) / 100
    amount = to_scaled(discount.amount, AMOUNT_DECIMALS) if discount.amount is not None else 0
    return min(Fraction(1), amount / cost)
