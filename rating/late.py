"""Usage that arrives after its period has closed.

The closed period's records stay as they are. The usage is booked in a later billing period, as an adjustment that
makes the service period cost, all in all, what it would have cost had everything been on time: its price with the
late usage, less what was charged before. So do the terms of the period: what a minimum or a commitment charged for usage
that now came, and what a cap gives back of it, are adjustments too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from rating.aggregations.gathered import Quantity
from rating.aggregations.registry import series_for
from rating.cards import fitting_id
from rating.series import Series, SeriesId
from rating.skus import Kind, Line
from rating.terms.account import AccountTerms
from rating.terms.entries import PeriodEntry
from rating.terms.lines import LineCharge

PricedAs = Callable[[Line], Line]
"""The line that prices late usage, for the one that priced it on time."""


class _Adjustment(NamedTuple):
    """What a billing period adds to a line: quantity in the smallest unit, amount in 10^-12, and the line."""

    quantity: int
    amount: int
    line: Line | None
    hours: Mapping[int, int]
    """The amounts by window after it, where the terms ask for them."""


class LateUsage:
    """The late usage of one service period, by the billing period in which it is booked."""

    def __init__(self) -> None:
        self._booked: dict[str, dict[SeriesId, Series]] = {}
        self._adjustments: dict[SeriesId, dict[str, _Adjustment]] = {}
        """By series and billing period."""
        self._dirty: set[SeriesId] = set()

    def __bool__(self) -> bool:
        return bool(self._booked)

    def add(self, booked: str, series: SeriesId, hour: int, quantity: Quantity, line: Line) -> None:
        """Adds what is booked in the billing period `booked`."""
        booked_series = self._booked.setdefault(booked, {})
        found = booked_series.get(series)
        if found is None:
            found = booked_series[series] = series_for(series)
        found.take(hour, quantity, line)
        self._dirty.add(series)

    def on_time_changed(self, series: SeriesId) -> None:
        """Says that the usage before which the late one is counted has changed."""
        self._dirty.add(series)

    def entries(
        self, on_time: Mapping[SeriesId, Series], terms: AccountTerms, priced_as: PricedAs
    ) -> Iterator[PeriodEntry]:
        """One record per line and billing period, and what late usage changes of the terms that were charged."""
        if not self._booked:
            return
        for series in self._dirty:
            self._adjustments[series] = dict(self._adjust(series, on_time, terms, priced_as))
        self._dirty.clear()
        charges = terms.charges(on_time)
        due = {(entry.sku, entry.kind): entry for entry in terms.due(charges)}
        for booked in sorted(self._booked):
            named: set[tuple[str, Kind]] = set()
            for series in sorted(self._booked[booked]):
                adjustment = self._adjustments[series][booked]
                if adjustment.line is None:
                    continue
                if terms.is_charged(series):
                    charges[series] = _charged(charges.get(series), adjustment, terms)
                if adjustment.quantity or adjustment.amount:
                    yield _entry(series, booked, adjustment, adjustment.line, named)
            before, due = due, {(entry.sku, entry.kind): entry for entry in terms.due(charges)}
            for identity in sorted({*before, *due}):
                entry = due.get(identity) or before[identity]
                amount = (due[identity].amount if identity in due else 0) - (
                    before[identity].amount if identity in before else 0
                )
                if amount:
                    yield PeriodEntry(entry.sku, "adjustment", booked, 0, amount, entry.line)

    def _adjust(
        self, name: SeriesId, on_time: Mapping[SeriesId, Series], terms: AccountTerms, priced_as: PricedAs
    ) -> Iterator[tuple[str, _Adjustment]]:
        """The adjustment of a series in each billing period, oldest first."""
        owed_unused = terms.owed_unused(name, on_time)
        merged = series_for(name)
        known = on_time.get(name)
        for hour, value, line in known.content() if known is not None else ():
            merged.take(hour, value, priced_as(line))
        charged, quantity = (known.total, known.quantity) if known is not None and len(known) else (owed_unused, 0)
        for booked in sorted(self._booked):
            late = self._booked[booked].get(name)
            if late is None:
                continue
            last: Line | None = None
            for hour, value, line in late.content():
                merged.take(hour, value, priced_as(line))
                last = line if value != 0 else last
            merged.settle()
            price = merged.total if len(merged) else owed_unused
            hours = terms.hours_of(name, merged)
            yield booked, _Adjustment(merged.quantity - quantity, price - charged, last, hours)
            charged, quantity = price, merged.quantity


def _charged(before: LineCharge | None, adjustment: _Adjustment, terms: AccountTerms) -> LineCharge:
    """What a line was charged after an adjustment, which is an invoice line of its own."""
    assert adjustment.line is not None  # noqa: S101  # asked by the caller
    known = before or LineCharge(adjustment.line, 0, 0, {})
    billed = known.billed + terms.rounded(adjustment.amount)
    return LineCharge(known.line, billed, known.exact + adjustment.amount, adjustment.hours)


def _entry(
    series: SeriesId, booked: str, adjustment: _Adjustment, line: Line, named: set[tuple[str, Kind]]
) -> PeriodEntry:
    kind: Kind = "unrated" if line.kind == "unrated" else "adjustment"
    sku = series.sku
    if (sku, kind) in named:
        # Cards of one period gave one id to two meters or two currencies: the record's key must tell them apart.
        sku = fitting_id(f"{sku}/{series.meter}/{series.currency}")
    named.add((sku, kind))
    return PeriodEntry(sku, kind, booked, adjustment.quantity, adjustment.amount, line)
