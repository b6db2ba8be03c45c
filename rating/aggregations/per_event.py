"""Prices that are made event by event: the events of a period in the order of their time, priced one after the other."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from rating.aggregations.gathered import Gathered, MeteredEvent, Quantity, in_order
from rating.aggregations.names import Scope
from rating.models.percentage import EventPricer, Percentage, Priced
from rating.money import AMOUNT_SCALE, round_half_away
from rating.series import Series
from rating.skus import Line


class _Charged(NamedTuple):
    """How far the events were priced, and the amount of the period so far in 10^-12."""

    priced: Priced
    amount: int


class PerEventSeries(Series):
    """The quantity is the sum of the events; the amount of an hour is what its events add to the price of those before.

    When the price changes inside a period, the events before are priced anew by the new version, so that its free events
    and amounts are those of the whole period.
    """

    __slots__ = ("_charged", "_events")

    def __init__(self, scope: Scope = "period") -> None:
        super().__init__(scope)
        self._events: list[list[MeteredEvent]] = []
        """Of each hour, in order."""
        self._charged: list[_Charged] = []
        """After each hour, by its own version."""

    def take(self, hour: int, value: Quantity, line: Line) -> None:
        """Adds the events of an hour."""
        if not isinstance(value, Gathered) or not value.events:
            return
        place = bisect_left(self._hours, hour)
        if place == len(self._hours) or self._hours[place] != hour:
            self._hours.insert(place, hour)
            self._lines.insert(place, line)
            for column in (self._quantities, self._after, self._amounts):
                column.insert(place, 0)
            self._events.insert(place, [])
            self._charged.insert(place, _Charged(Priced(), 0))
        self._quantities[place] += sum(event.quantity for event in value.events)
        self._events[place] = list(in_order([*self._events[place], *value.events]))
        if self._dirty_from is None or hour < self._dirty_from:
            self._dirty_from = hour

    def content(self) -> Iterator[tuple[int, Quantity, Line]]:
        """The events by hour."""
        for hour, events, line in zip(self._hours, self._events, self._lines, strict=True):
            yield hour, Gathered(events=events), line

    def _price_from(self, first: int) -> None:
        for place in range(first, len(self._hours)):
            line = self._lines[place]
            before = self._before(place, line)
            self._charge(place, line, before)

    def _price_anew(self, first: int) -> None:
        for place in range(first, len(self._hours)):
            self._charge(place, self._lines[place], _Charged(Priced(), 0))

    def _before(self, place: int, line: Line) -> _Charged:
        """What the events of the hours before cost by the version of a line."""
        if not place:
            return _Charged(Priced(), 0)
        if self._lines[place - 1] is line:
            return self._charged[place - 1]
        pricer = _pricer(line)
        priced = Priced()
        for events in self._events[:place]:
            priced = pricer.price(events, priced)
        return _Charged(priced, _amount(line, pricer, priced))

    def _charge(self, place: int, line: Line, before: _Charged) -> None:
        pricer = _pricer(line)
        priced = pricer.price(self._events[place], before.priced)
        amount = _amount(line, pricer, priced)
        self._charged[place] = _Charged(priced, amount)
        self._set_amount(place, amount - before.amount)


def _pricer(line: Line) -> EventPricer:
    model = line.model
    if not isinstance(model, Percentage):
        raise TypeError(f"{line.sku} is not priced event by event")
    return model.event_pricer(line.decimals)


def _amount(line: Line, pricer: EventPricer, priced: Priced) -> int:
    """The rounded amount, after the discount and the cap of the SKU."""
    exact = pricer.exact(priced)
    if line.price is not None:
        exact = line.price.reduced(exact)
    return round_half_away(exact.numerator * AMOUNT_SCALE, exact.denominator)
