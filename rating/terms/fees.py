"""Flat fees: whole or by days, in arrears or in advance.

A fee in arrears is that of the card in force at the end of the period. A fee in advance stands on the invoice of the
period before: the amount of the card in force at that period's end, since nothing that is published later can change
it. The period itself charges what it finds to be owed beyond that, or gives it back: the first month, a fee that rose,
days on which the card held no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from rating.cards import RateCard
from rating.money import AMOUNT_DECIMALS, AMOUNT_SCALE, round_half_away, to_scaled
from rating.skus import Line
from rating.terms.entries import FeeId, PeriodEntry, term_line
from rating.terms.fields import FlatFee
from rating.terms.opening import Opening
from rating.terms.subscription import Subscription
from rating.windows import next_period

_METER = "flat_fee"


class _Owed:
    """What one fee comes to in its period: its amount in 10^-12, its quantity, and the line that says so."""

    def __init__(self, card: RateCard, fee: FlatFee) -> None:
        self.fee, self.currency = fee, card.currency
        self.line: Line = term_line(card, fee.sku, _METER, "days" if fee.prorate else "months")
        self.exact = Fraction(0)
        self.days = 0

    @property
    def quantity(self) -> int:
        return self.days if self.fee.prorate else 1

    @property
    def amount(self) -> int:
        if not self.fee.prorate:
            return to_scaled(self.fee.amount, AMOUNT_DECIMALS)
        scaled = self.exact * AMOUNT_SCALE
        return round_half_away(scaled.numerator, scaled.denominator)


def fee_entries(subscription: Subscription, opening: Opening) -> Iterator[PeriodEntry]:
    """The records of the fees of a period, and of those that it charges for the next one in advance."""
    period = subscription.period
    for owed in _owed(subscription, in_advance=False).values():
        yield PeriodEntry(owed.fee.sku, "flat_fee", period, owed.quantity, owed.amount, owed.line)
    yield from _still_owed(subscription, opening)
    for owed in _next_in_advance(subscription):
        service = next_period(period)
        yield PeriodEntry(owed.fee.sku, "flat_fee", period, owed.quantity, owed.amount, owed.line, service)


def charged_in_advance(subscription: Subscription) -> dict[FeeId, int]:
    """What a period charges for the next one."""
    return {(owed.fee.sku, owed.currency): owed.amount for owed in _next_in_advance(subscription)}


def _still_owed(subscription: Subscription, opening: Opening) -> Iterator[PeriodEntry]:
    """Fees in advance that the period before did not charge, or not at the right amount."""
    owed = _owed(subscription, in_advance=True)
    for name in sorted({*owed, *opening.fees}):
        found, charged = owed.get(name), opening.fees.get(name)
        if found is None:
            line = _line_given_back(subscription, name)
            yield PeriodEntry(name[0], "adjustment", subscription.period, 0, -(charged or 0), line)
        elif charged is None:
            yield PeriodEntry(name[0], "flat_fee", subscription.period, found.quantity, found.amount, found.line)
        elif charged != found.amount:
            yield PeriodEntry(name[0], "adjustment", subscription.period, 0, found.amount - charged, found.line)


def _owed(subscription: Subscription, *, in_advance: bool) -> dict[FeeId, _Owed]:
    """Each fee of the period once.

    A whole fee in arrears is that of the card whose terms hold; one in advance that of the first card that has it. A fee
    by days is the sum of all cards that have it. Where cards differ in that, the whole fee holds alone.
    """
    terms_card = subscription.terms_card
    found: dict[FeeId, _Owed] = {}
    for span, card in subscription.cards():
        for fee in card.flat_fees:
            if fee.in_advance != in_advance:
                continue
            name = fee.sku, card.currency
            known = found.get(name)
            if not fee.prorate:
                is_first = known is None or known.fee.prorate
                if is_first if in_advance else card is terms_card:
                    found[name] = _Owed(card, fee)
                continue
            if known is not None and not known.fee.prorate:
                continue
            days = subscription.days_of(span)
            now = _Owed(card, fee)
            now.exact = (known.exact if known else 0) + Fraction(fee.amount) * days / subscription.days
            now.days = (known.days if known else 0) + days
            found[name] = now
    return found


def _next_in_advance(subscription: Subscription) -> Iterator[_Owed]:
    following = subscription.following
    if following is None or subscription.terms_card is None:
        return
    after = next_period(subscription.period)
    whole = Subscription(subscription.tenant_id, after, subscription.window, (), None).days
    for fee in following.card.flat_fees:
        if fee.in_advance:
            owed = _Owed(following.card, fee)
            owed.days = following.days
            owed.exact = Fraction(fee.amount) * following.days / whole
            yield owed


def _line_given_back(subscription: Subscription, name: FeeId) -> Line:
    """The line of a fee that was paid in advance for a period whose cards know it no more."""
    card = subscription.terms_card
    sku, currency = name
    if card is not None and card.currency == currency:
        return term_line(card, sku, _METER)
    return Line(sku, _METER, "months", 0, "usage", "priced", currency)
