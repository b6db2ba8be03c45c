"""Usage that arrives after its period has closed.

The closed period's records stay as they are. The usage is booked in a later billing period, as an adjustment that
makes the service period cost, all in all, what it would have cost had everything been on time: its price with the
late usage, less what was charged before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rating.account import AccountTerms, PeriodEntry
from rating.cards import fitting_id
from rating.series import Series, SeriesId, period_price
from rating.skus import Kind, Line


class LateUsage:
    """The late usage of one service period, by the billing period in which it is booked."""

    def __init__(self) -> None:
        self._booked: dict[str, dict[SeriesId, Series]] = {}
        self._amounts: dict[SeriesId, dict[str, int]] = {}
        """Adjustment in 10^-12 per series and billing period."""
        self._dirty: set[SeriesId] = set()

    def __bool__(self) -> bool:
        return bool(self._booked)

    def add(self, booked: str, series: SeriesId, hour: int, quantity: int, line: Line) -> None:
        """Adds a quantity that is booked in the billing period `booked`."""
        self._booked.setdefault(booked, {}).setdefault(series, Series()).add(hour, quantity, line)
        self._dirty.add(series)

    def on_time_changed(self, series: SeriesId) -> None:
        """Says that the usage before which the late one is counted has changed."""
        self._dirty.add(series)

    def entries(self, on_time: Mapping[SeriesId, Series], terms: AccountTerms) -> Iterator[PeriodEntry]:
        """One record per line and billing period, and what late usage gives back of a minimum that was charged."""
        if not self._booked:
            return
        for series in self._dirty:
            self._amounts[series] = dict(self._adjust(series, on_time, terms))
        self._dirty.clear()
        billed = terms.billed(on_time)
        missing = terms.true_up(billed)
        for booked in sorted(self._booked):
            named: set[tuple[str, Kind]] = set()
            for series in sorted(self._booked[booked]):
                usage = _usage(self._booked[booked][series])
                amount = self._amounts[series][booked]
                if terms.is_own_currency(series):
                    billed += terms.rounded(amount)
                if usage:
                    yield _entry(series, booked, usage, amount, named)
            still_missing = terms.true_up(billed)
            if terms.minimum_line is not None and still_missing != missing:
                line = terms.minimum_line
                yield PeriodEntry(line.sku, "adjustment", booked, 0, still_missing - missing, line)
            missing = still_missing

    def _adjust(
        self, series: SeriesId, on_time: Mapping[SeriesId, Series], terms: AccountTerms
    ) -> Iterator[tuple[str, int]]:
        """The adjustment of a series in each billing period, oldest first."""
        owed_unused = terms.owed_unused(series, on_time)
        known = on_time.get(series)
        usage = known.usage() if known else {}
        charged = known.total if known and len(known) else owed_unused
        for booked in sorted(self._booked):
            if series not in self._booked[booked]:
                continue
            for hour, (quantity, line) in self._booked[booked][series].usage().items():
                before = usage.get(hour, (0, line))[0]
                usage[hour] = (before + quantity, line)
            price = period_price(usage, owed_unused)
            yield booked, price - charged
            charged = price


def _usage(series: Series) -> dict[int, tuple[int, Line]]:
    return {hour: (quantity, line) for hour, (quantity, line) in series.usage().items() if quantity}


def _entry(
    series: SeriesId, booked: str, usage: Mapping[int, tuple[int, Line]], amount: int, named: set[tuple[str, Kind]]
) -> PeriodEntry:
    line = usage[max(usage)][1]
    kind: Kind = "unrated" if line.kind == "unrated" else "adjustment"
    sku = series.sku
    if (sku, kind) in named:
        # Cards of one period gave one id to two meters or two currencies: the record's key must tell them apart.
        sku = fitting_id(f"{sku}/{series.meter}/{series.currency}")
    named.add((sku, kind))
    return PeriodEntry(sku, kind, booked, sum(quantity for quantity, _ in usage.values()), amount, line)
