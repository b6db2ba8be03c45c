"""What one line of a period owes beyond its hours: a fee without usage, what is missing to a commitment, and to a minimum.

Each is compared with the line as invoices charge it, rounded to the currency, so that both together come to the
commitment or the minimum exactly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from rating.cards import RateCard, Sku, fitting_id
from rating.catalog import Span
from rating.money import AMOUNT_DECIMALS, AMOUNT_SCALE, round_half_away, to_scaled
from rating.patterns import is_pattern
from rating.series import SeriesId, series_id
from rating.skus import Kind, Line, priced_line
from rating.terms.entries import PeriodEntry, Rounded
from rating.terms.fields import LineCommitment
from rating.terms.subscription import Subscription
from rating.windows import WindowSize


class LineCharge(NamedTuple):
    """What a line was charged in a period so far.

    `billed` is the sum of its invoice lines, each rounded to the currency; `exact` is the same unrounded, both in
    10^-12. `hours` are the amounts by window, empty where no commitment by the window asks for them.
    """

    line: Line
    billed: int
    exact: int
    hours: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Terms:
    """The terms of one line by the card in force at the end of the period: `line` is the line under this card."""

    line: Line
    minimum: Decimal | None
    commitment: LineCommitment | None


class LineTerms:
    """The lines of a period that owe something beyond their hours. Made once per subscription."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._card = subscription.terms_card
        self._terms: dict[SeriesId, _Terms | None] = {}
        self._by_window: dict[SeriesId, _WindowCommitment | None] = {}
        self._has_windows = any(_by_window(sku) for _, card in subscription.cards() for sku in card.cells)
        self.unused: dict[SeriesId, tuple[int, Line]] = {}
        """The lines that are known without usage and owe something for it, with what their price says for nothing."""
        for line, sku in lines_known_without_usage(self._card) if self._card else ():
            amount = line.pricer(0) if line.pricer else 0
            if amount or sku.minimum is not None or sku.commitment is not None:
                self.unused[series_id(line)] = (amount, line)
        if self._has_windows:
            for _, card in subscription.cards():
                for line, sku in lines_known_without_usage(card):
                    if _by_window(sku):
                        self.unused.setdefault(series_id(line), (0, line))

    @property
    def any_owed(self) -> bool:
        """Whether a line of the period can owe anything for the usage it has."""
        skus = self._card.cells if self._card else ()
        return self._has_windows or any(sku.minimum is not None or sku.commitment is not None for sku in skus)

    def needs_hours(self, line: Line) -> bool:
        """Whether the terms of a line ask for its amount by the window."""
        return self._has_windows and self._window_commitment(line) is not None

    def entries(self, charge: LineCharge, rounded: Rounded) -> Iterator[PeriodEntry]:
        """What a line owes: the rest of its commitment, and of its minimum after that."""
        committed = 0
        for entry in self._commitment_entries(charge, rounded):
            committed += entry.amount
            yield entry
        terms = self._terms_of(charge.line)
        if terms is not None and terms.minimum is not None:
            owed = max(0, to_scaled(terms.minimum, AMOUNT_DECIMALS) - charge.billed - committed)
            yield self._entry(terms.line, "minimum", int(owed > 0), owed, "months")

    def _commitment_entries(self, charge: LineCharge, rounded: Rounded) -> Iterator[PeriodEntry]:
        terms = self._terms_of(charge.line)
        if terms is not None and terms.commitment is not None and terms.commitment.window == "period":
            if terms.commitment.true_up:
                owed = max(0, rounded(_scaled(_committed(terms.line))) - charge.billed)
                yield self._entry(terms.line, "commitment", int(owed > 0), owed, "months")
            return
        by_window = self._window_commitment(charge.line) if self._has_windows else None
        if by_window is not None:
            missing, windows = by_window.missing(charge.hours)
            owed = max(0, rounded(charge.exact + _scaled(missing)) - charge.billed)
            yield self._entry(by_window.line, "commitment", windows if owed else 0, owed, "windows")

    def _entry(self, line: Line, kind: Kind, quantity: int, amount: int, unit: str) -> PeriodEntry:
        sku = fitting_id(f"{line.sku}/{kind}")
        named = replace(line, sku=sku, meter=kind, unit=unit, decimals=0, model=None, price=None, pricer=None)
        return PeriodEntry(sku, kind, self._subscription.period, quantity, amount, named)

    def _terms_of(self, line: Line) -> _Terms | None:
        name = series_id(line)
        if name not in self._terms:
            self._terms[name] = self._find_terms(line)
        return self._terms[name]

    def _find_terms(self, line: Line) -> _Terms | None:
        found = line_under(self._card, line) if self._card else None
        if found is None:
            return None
        own, sku = found
        return _Terms(own, sku.minimum, sku.commitment) if sku.minimum is not None or sku.commitment else None

    def _window_commitment(self, line: Line) -> _WindowCommitment | None:
        name = series_id(line)
        if name not in self._by_window:
            self._by_window[name] = _window_commitment(self._subscription, line)
        return self._by_window[name]


class _Stretch(NamedTuple):
    """Windows first..last in which a line is committed to an amount each."""

    first: int
    last: int
    committed: Fraction


@dataclass(frozen=True, slots=True)
class _WindowCommitment:
    """What a line is committed to window by window; each window by the card in force in it."""

    line: Line
    stretches: tuple[_Stretch, ...]
    """In the order of time; none overlap."""

    def missing(self, hours: Mapping[int, int]) -> tuple[Fraction, int]:
        """What is missing to the commitment of all windows, and in how many of them something is."""
        missing, windows = Fraction(0), 0
        for first, last, committed in self.stretches:
            missing += committed * (last + 1 - first)
            windows += last + 1 - first
        for hour, amount in hours.items():
            committed = self._committed_at(hour)
            if committed:
                charged = Fraction(amount, AMOUNT_SCALE)
                missing -= min(committed, charged)
                windows -= charged >= committed
        return missing, windows

    def _committed_at(self, hour: int) -> Fraction:
        place = bisect_right(self.stretches, hour, key=lambda each: each.first) - 1
        if place < 0 or hour > self.stretches[place].last:
            return Fraction(0)
        return self.stretches[place].committed


def _window_commitment(subscription: Subscription, line: Line) -> _WindowCommitment | None:
    last: Line | None = None
    stretches = []
    for span, card in subscription.cards():
        found = line_under(card, line)
        if found is None or series_id(found[0]) != series_id(line):
            continue
        own, sku = found
        if sku.commitment is not None and sku.commitment.window == "hour":
            if sku.commitment.true_up:
                committed = _committed(own)
                stretches += [_Stretch(*each, committed) for each in _windows_of(sku, span, subscription.window)]
            last = own
    return _WindowCommitment(last, tuple(stretches)) if last is not None and stretches else None


def _windows_of(sku: Sku, span: Span, window: WindowSize) -> Iterator[tuple[int, int]]:
    """The windows of a span in which a SKU, or a cell for some hours of the day, can have usage: first and last of each run."""
    times = sku.cell.times if sku.cell is not None else ()
    if not times:
        yield span.first, span.last
        return
    first: int | None = None
    for hour in range(span.first, span.last + 2):
        start = window.start(hour)
        holds = hour <= span.last and all(selector.bucket_at(start) == bucket for selector, bucket in times)
        if holds and first is None:
            first = hour
        elif not holds and first is not None:
            yield first, hour - 1
            first = None


def line_under(card: RateCard, line: Line) -> tuple[Line, Sku] | None:
    """A line as another card version makes it, with its SKU there; None if that has no such line."""
    sku = card.router.sku_of(line.sku, line.meter, line.dimensions) if line.outcome == "priced" else None
    if sku is None or card.currency != line.currency:
        return None
    return priced_line(card, sku, {name: line.dimensions[name] for name in sku.placeholders}), sku


def lines_known_without_usage(card: RateCard) -> Iterator[tuple[Line, Sku]]:
    """The lines whose id does not depend on usage: only of these can something be owed for no usage at all."""
    for sku in card.cells:
        exact = {name: value for name, value in sku.match.constraints().items() if not is_pattern(value)}
        if all(name in exact for name in sku.placeholders):
            yield priced_line(card, sku, {name: exact[name] for name in sku.placeholders}), sku


def _by_window(sku: Sku) -> bool:
    return sku.commitment is not None and sku.commitment.window == "hour"


def _committed(line: Line) -> Fraction:
    """The amount that a line is committed to."""
    committed = line.price.committed if line.price is not None else None
    return committed if committed is not None else Fraction(0)


def _scaled(exact: Fraction) -> int:
    return round_half_away(exact.numerator * AMOUNT_SCALE, exact.denominator)
