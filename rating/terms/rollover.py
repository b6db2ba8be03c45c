"""Allowances that go on: what a period left unused of what it includes is included in the next one, up to a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from rating.cards import RateCard, Sku
from rating.series import Series, SeriesId, series_id
from rating.skus import Line
from rating.terms.lines import line_under, lines_known_without_usage
from rating.terms.opening import CARRIED_IN, AllowanceId, units_text


class Rollover:
    """The allowances that a period hands over. Made once per subscription, asked after each change of usage."""

    def __init__(self, card: RateCard | None) -> None:
        """`card`: the one whose terms hold for the period."""
        rolls = card is not None and any(_rolls(sku) for sku in card.skus)
        self._card = card if rolls else None
        self._lines: dict[SeriesId, tuple[Line, Sku] | None] = {}
        self._known = {
            series_id(line): (line, sku)
            for line, sku in (lines_known_without_usage(self._card) if self._card else ())
            if _rolls(sku)
        }

    def unused(
        self, on_time: Mapping[SeriesId, Series], carried_in: Mapping[AllowanceId, Fraction], *, is_subscribed: bool
    ) -> dict[AllowanceId, Fraction]:
        """Units that each line's next period includes besides its own.

        `on_time`: the settled usage that arrived before the period closed. Of lines without any only those are asked
        whose id is known without usage, and only for a tenant who `is_subscribed` by an assignment of its own.
        """
        if self._card is None:
            return {}
        found: dict[AllowanceId, Fraction] = {}
        for name, series in on_time.items():
            line_and_sku = self._line(name, series)
            if line_and_sku is not None:
                self._note(found, *line_and_sku, series.quantity, carried_in)
        if is_subscribed or on_time:
            for name, (line, sku) in self._known.items():
                if name not in on_time:
                    self._note(found, line, sku, 0, carried_in)
        return found

    def _note(
        self,
        found: dict[AllowanceId, Fraction],
        line: Line,
        sku: Sku,
        quantity: int,
        carried_in: Mapping[AllowanceId, Fraction],
    ) -> None:
        if line.price is None or sku.included is None or sku.included.rollover is None:
            return
        name = line.sku, line.meter
        used = max(Fraction(0), line.price.converted(Fraction(quantity, 10**line.decimals)))
        left = Fraction(sku.included.quantity) + carried_in.get(name, 0) - used
        units = min(left, Fraction(sku.included.rollover))
        if units > 0:
            found[name] = units

    def _line(self, name: SeriesId, series: Series) -> tuple[Line, Sku] | None:
        if name.kind != "usage" or self._card is None:
            return None
        if name not in self._lines:
            last = max(series.states(), key=lambda state: state[0], default=None)
            if last is None:
                return None
            found = line_under(self._card, last[1].line)
            self._lines[name] = (
                found if found is not None and series_id(found[0]) == name and _rolls(found[1]) else None
            )
        return self._lines[name]


def _rolls(sku: Sku) -> bool:
    return sku.included is not None and bool(sku.included.rollover)


def with_allowance(line: Line, units: Fraction) -> Line:
    """A line that includes so many units more, and says so, or less; the line itself where its SKU includes nothing."""
    price = line.price
    if price is None or not price.included:
        return line
    changed = replace(price, included=Fraction(price.included) + units)
    dimensions = {**line.dimensions, CARRIED_IN: units_text(units)} if units > 0 else line.dimensions
    return replace(line, price=changed, pricer=changed.pricer(line.decimals), dimensions=dimensions)
