"""What a period costs beyond its hours: flat fees, fees owed without usage, and the minimum.

The monthly terms of a period are those of one card version: the one in force at the last hour of the period that has a
card ("in arrears"). A tenant who changes cards inside a period pays the fees and the minimum of the later one, whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rating.cards import RateCard
from rating.catalog import Span
from rating.money import AMOUNT_DECIMALS, round_scaled_amount, to_scaled
from rating.patterns import is_pattern
from rating.series import Series, SeriesId, series_id
from rating.skus import Kind, Line, priced_line


class PeriodEntry(NamedTuple):
    """A record of a whole period before it is written out: quantity in the line's smallest unit, amount in 10^-12."""

    sku: str
    kind: Kind
    billing_period: str
    quantity: int
    amount: int
    line: Line


class AccountTerms:
    """The monthly terms of one period: made once per card, asked after each change of usage."""

    def __init__(self, period: str, card: RateCard | None) -> None:
        self._period = period
        self._fees: list[PeriodEntry] = []
        self._owed_unused: dict[SeriesId, tuple[int, Line]] = {}
        self._currency = card.currency if card else ""
        self.minimum_line: Line | None = None
        self._minimum = 0
        if card is None:
            return
        for fee in card.flat_fees:
            line = _monthly_line(card, fee.sku, "flat_fee")
            self._fees.append(PeriodEntry(fee.sku, "flat_fee", period, 1, to_scaled(fee.amount, AMOUNT_DECIMALS), line))
        if card.minimum is not None:
            self.minimum_line = _monthly_line(card, card.minimum.sku, "minimum")
            self._minimum = to_scaled(card.minimum.amount, AMOUNT_DECIMALS)
        for line in _lines_known_without_usage(card):
            amount = line.pricer(0) if line.pricer else 0
            if amount:
                self._owed_unused[series_id(line)] = (amount, line)

    def owed_unused(self, series: SeriesId, on_time: Mapping[SeriesId, Series]) -> int:
        """What was charged for a series because it had no usage on time: its fee that is owed at zero, or nothing."""
        return 0 if len(on_time.get(series, ())) else self._owed_unused.get(series, (0, None))[0]

    def entries(self, on_time: Mapping[SeriesId, Series]) -> Iterator[PeriodEntry]:
        """The period's own records, given the settled usage that arrived before it closed."""
        yield from self._fees
        for series, (amount, line) in self._owed_unused.items():
            if not len(on_time.get(series, ())):
                yield PeriodEntry(line.sku, "flat_fee", self._period, 0, amount, line)
        if self.minimum_line is not None:
            amount = self.true_up(self.billed(on_time))
            yield PeriodEntry(
                self.minimum_line.sku, "minimum", self._period, int(amount > 0), amount, self.minimum_line
            )

    def true_up(self, billed: int) -> int:
        """What is missing to the minimum; never negative."""
        return max(0, self._minimum - billed)

    def billed(self, on_time: Mapping[SeriesId, Series]) -> int:
        """The usage as the invoice charges it: each line rounded to the currency, so that the total meets the minimum.

        Fees do not count towards the minimum, and neither does usage in another currency.
        """
        return sum(
            self.rounded(series.total)
            for name, series in on_time.items()
            if name.kind == "usage" and self.is_own_currency(name)
        )

    def rounded(self, amount: int) -> int:
        """An amount as an invoice line of the terms' currency shows it."""
        return round_scaled_amount(amount, self._currency)

    def is_own_currency(self, series: SeriesId) -> bool:
        """Whether a series is charged in the currency of the terms."""
        return bool(self._currency) and series.currency == self._currency


def terms_of(period: str, tenant_id: str, spans: Sequence[Span]) -> AccountTerms:
    """The monthly terms of a tenant's period. Reserved tenants (capacity) have none."""
    if tenant_id.startswith("_"):
        return AccountTerms(period, None)
    cards = [span.card for span in spans if span.card is not None]
    return AccountTerms(period, cards[-1] if cards else None)


def _monthly_line(card: RateCard, sku: str, meter_name: str) -> Line:
    return Line(
        sku=sku,
        meter=meter_name,
        unit="months",
        decimals=0,
        kind="usage",
        outcome="priced",
        currency=card.currency,
        card_id=card.id,
        card_version=card.version,
    )


def _lines_known_without_usage(card: RateCard) -> Iterator[Line]:
    """The lines whose id does not depend on usage: only of these can a fee be owed for no usage at all."""
    for sku in card.cells:
        exact = {name: value for name, value in sku.match.constraints().items() if not is_pattern(value)}
        if all(name in exact for name in sku.placeholders):
            yield priced_line(card, sku, {name: exact[name] for name in sku.placeholders})
