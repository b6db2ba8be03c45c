"""All terms of one period together, in their order: fees, what lines owe beyond their hours, and the terms of the card.

The terms are those of one card version: the one in force at the last window of the period that has a card. What late
usage gives back of them is the difference between the same terms with it and without it (see `rating.late`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rating.money import round_scaled_amount
from rating.series import Series, SeriesId
from rating.terms.card import CardTerms
from rating.terms.entries import PeriodEntry
from rating.terms.fees import charged_in_advance, fee_entries
from rating.terms.lines import LineCharge, LineTerms
from rating.terms.opening import NOTHING_OPEN, Opening
from rating.terms.rollover import Rollover
from rating.terms.subscription import Subscription

Charges = dict[SeriesId, LineCharge]
"""What each line was charged so far: those with usage, and those that owe something without any."""


class AccountTerms:
    """The terms of one period: made once per subscription, asked after each change of usage."""

    def __init__(self, subscription: Subscription | None = None, opening: Opening = NOTHING_OPEN) -> None:
        """`subscription` None: nothing is known yet, so there are no terms."""
        self._subscription = subscription
        self._opening = opening
        card = subscription.terms_card if subscription else None
        self._currency = card.currency if card else ""
        self._fees = list(fee_entries(subscription, opening)) if subscription else []
        self._lines = LineTerms(subscription) if subscription else None
        self._card = CardTerms(card, subscription.period) if subscription and card else None
        self._rollover = Rollover(card)
        self._paid_ahead = charged_in_advance(subscription) if subscription else {}
        terms = (card.discounts, card.commitment, card.maximum, card.minimum) if card else ()
        self._lines_owe = self._lines is not None and self._lines.any_owed
        self._depends_on_usage = any(terms) or self._lines_owe

    def owed_unused(self, series: SeriesId, on_time: Mapping[SeriesId, Series]) -> int:
        """What was charged for a series because it had no usage on time: its fee that is owed at zero, or nothing."""
        if self._lines is None or len(on_time.get(series, ())):
            return 0
        found = self._lines.unused.get(series)
        return found[0] if found else 0

    def entries(self, on_time: Mapping[SeriesId, Series]) -> Iterator[PeriodEntry]:
        """The period's own records, given the settled usage that arrived before it closed."""
        yield from self._fees
        if self._subscription is None or self._lines is None:
            return
        for series, (amount, line) in self._lines.unused.items():
            if amount and not len(on_time.get(series, ())):
                yield PeriodEntry(line.sku, "flat_fee", self._subscription.period, 0, amount, line)
        yield from self.due(self.charges(on_time))

    def charges(self, on_time: Mapping[SeriesId, Series]) -> Charges:
        """What invoices charge for each line, given the settled usage that arrived before the period closed.

        Fees do not count, and neither does usage in another currency than that of the terms.
        """
        found: Charges = {}
        if self._lines is None or not self._depends_on_usage:
            return found
        for name, series in on_time.items():
            if len(series) and self.is_charged(name):
                _, last = next(series.states(len(series) - 1))
                hours = self.hours_of(name, series) if self._lines.needs_hours(last.line) else {}
                found[name] = LineCharge(last.line, self.rounded(series.total), series.total, hours)
        for name, (amount, line) in self._lines.unused.items():
            if name not in found and self.is_charged(name):
                found[name] = LineCharge(line, self.rounded(amount), amount, {})
        return found

    def due(self, charges: Mapping[SeriesId, LineCharge]) -> list[PeriodEntry]:
        """What the period owes, or gets back, beyond these charges."""
        if self._lines is None or self._card is None or not self._depends_on_usage:
            return []
        found: list[PeriodEntry] = []
        usage: dict[str, int] = {}
        for name in sorted(charges):
            if self._lines_owe:
                found.extend(self._lines.entries(charges[name], self.rounded))
            usage[name.sku] = usage.get(name.sku, 0) + charges[name].billed
        beyond = sum(entry.amount for entry in found)
        found.extend(self._card.entries(usage, beyond, self.rounded))
        return found

    def hours_of(self, name: SeriesId, series: Series) -> Mapping[int, int]:
        """The amounts of a settled series by window, if its terms ask for them."""
        last = next((state.line for _, state in series.states(max(0, len(series) - 1))), None)
        if self._lines is None or last is None or not self.is_charged(name) or not self._lines.needs_hours(last):
            return {}
        return {hour: state.amount for hour, state in series.states()}

    def handover(self, on_time: Mapping[SeriesId, Series]) -> Opening:
        """What the next period takes over, given the settled usage that arrived before this one closed."""
        subscription = self._subscription
        if subscription is None:
            return NOTHING_OPEN
        allowances = self._rollover.unused(on_time, self._opening.allowances, is_subscribed=subscription.is_own)
        return Opening(allowances, self._paid_ahead)

    def rounded(self, amount: int) -> int:
        """An amount as an invoice line of the terms' currency shows it."""
        return round_scaled_amount(amount, self._currency)

    def is_charged(self, series: SeriesId) -> bool:
        """Whether the terms count a series: usage that is charged in their currency."""
        return series.kind == "usage" and bool(self._currency) and series.currency == self._currency
