"""The amounts of one line over the hours of a period, kept up to date as usage arrives in any order.

The amount of an hour is the rounded price of everything in the period up to and including it, less the rounded price
of everything before it, in the order of event time. So the hours always sum to the rounded price of the period, and
what an hour costs does not depend on when its usage arrived.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rating.aggregations.gathered import Quantity, total_of
from rating.aggregations.names import Reading, Scope
from rating.skus import Kind, Line


class SeriesId(NamedTuple):
    """What has one quantity position: a SKU id, and what cards might differ in: meter, currency, and how it is counted."""

    sku: str
    kind: Kind
    meter: str
    currency: str
    reading: Reading = "sum"
    scope: Scope = "period"


def series_id(line: Line) -> SeriesId:
    """The series that a line's usage belongs to."""
    return SeriesId(line.sku, line.kind, line.meter, line.currency or "", line.reading, line.scope)


class HourState(NamedTuple):
    """An hour of a series: quantity in the meter's smallest unit, amount in 10^-12, and the line that priced it."""

    quantity: int
    amount: int
    line: Line


class Series:
    """Quantities and amounts by hour. Only the hours from the first changed one on are computed again.

    This one sums plain quantities. What reads something else out of the usage is a subclass, made by
    `rating.aggregations.registry.series_for`.
    """

    __slots__ = ("_after", "_amounts", "_anew", "_dirty_from", "_emptied", "_hours", "_lines", "_quantities", "total")

    def __init__(self, scope: Scope = "period") -> None:
        """`scope` hour: the quantity position begins anew with each hour."""
        self._anew = scope == "hour"
        self._hours: list[int] = []
        self._quantities: list[int] = []
        self._lines: list[Line] = []
        self._after: list[int] = []
        """Quantity of the period up to and including each hour."""
        self._amounts: list[int] = []
        self._dirty_from: int | None = None
        self._emptied = False
        self.total = 0
        """Amount of all hours in 10^-12, as of the last `settle`."""

    def __len__(self) -> int:
        return len(self._hours)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held that could count later."""
        return not self._hours

    def add(self, hour: int, quantity: int, line: Line) -> None:
        """Adds a quantity (which may be negative) to an hour; `line` is what prices that hour."""
        if not quantity:
            return
        hours = self._hours
        if not hours or hour > hours[-1]:
            position = len(hours)
        else:
            position = bisect_left(hours, hour)
        if position < len(hours) and hours[position] == hour:
            self._quantities[position] += quantity
            self._emptied = self._emptied or not self._quantities[position]
        else:
            hours.insert(position, hour)
            self._quantities.insert(position, quantity)
            self._lines.insert(position, line)
            self._after.insert(position, 0)
            self._amounts.insert(position, 0)
        if self._dirty_from is None or hour < self._dirty_from:
            self._dirty_from = hour

    def take(self, hour: int, value: Quantity, line: Line) -> None:
        """Adds what was gathered in an hour."""
        self.add(hour, total_of(value), line)

    def content(self) -> Iterator[tuple[int, Quantity, Line]]:
        """What was taken, by hour: another series that takes it comes to the same."""
        yield from zip(self._hours, self._quantities, self._lines, strict=True)

    def settle(self) -> tuple[int, list[int]]:
        """Computes what changed; gives the position of the first hour computed and the hours that fell to nothing."""
        if self._dirty_from is None:
            return len(self._hours), []
        emptied = self._drop_empty_hours() if self._emptied else []
        first = bisect_left(self._hours, self._dirty_from)
        self._dirty_from = None
        if self._anew:
            self._price_anew(first)
        else:
            self._price_from(first)
        return first, emptied

    def _price_from(self, first: int) -> None:
        before = self._after[first - 1] if first else 0
        # An hour that begins a version must price the position before it anew; within a version the last price serves.
        priced_by: Line | None = None
        price_before = 0
        for position in range(first, len(self._hours)):
            line = self._lines[position]
            after = before + self._quantities[position]
            amount = 0
            if line.pricer is not None:
                if line is not priced_by:
                    # Before the first usage of a period nothing was charged, also not a fee that is owed at zero.
                    price_before = line.pricer(before) if position else 0
                price = line.pricer(after)
                amount = price - price_before
                priced_by, price_before = line, price
            self._after[position] = before = after
            self.total += amount - self._amounts[position]
            self._amounts[position] = amount

    def _price_anew(self, first: int) -> None:
        """Prices each hour as a period of its own."""
        for position in range(first, len(self._hours)):
            quantity, line = self._quantities[position], self._lines[position]
            self._set_amount(position, line.pricer(quantity) if line.pricer is not None else 0)

    def _set_amount(self, position: int, amount: int) -> None:
        self.total += amount - self._amounts[position]
        self._amounts[position] = amount

    def _drop_empty_hours(self) -> list[int]:
        self._emptied = False
        empty = [position for position, quantity in enumerate(self._quantities) if not quantity]
        hours = [self._hours[position] for position in empty]
        for position in reversed(empty):
            self.total -= self._amounts[position]
            for column in (self._hours, self._quantities, self._lines, self._after, self._amounts):
                del column[position]
        return hours

    @property
    def quantity(self) -> int:
        """Quantity of all hours in the meter's smallest unit, as of the last `settle`."""
        return sum(self._quantities)

    def states(self, first: int = 0) -> Iterator[tuple[int, HourState]]:
        """The hours from a position on, in order, as of the last `settle`."""
        for position in range(first, len(self._hours)):
            yield (
                self._hours[position],
                HourState(self._quantities[position], self._amounts[position], self._lines[position]),
            )

    def usage(self) -> dict[int, tuple[int, Line]]:
        """Quantity and line by hour."""
        return {hour: (state.quantity, state.line) for hour, state in self.states()}


def period_price(usage: Mapping[int, tuple[int, Line]], owed_unused: int) -> int:
    """The amount in 10^-12 of a whole period: the sum of its hours; `owed_unused` is what no usage at all costs."""
    if not usage:
        return owed_unused
    series = Series()
    for hour, (quantity, line) in usage.items():
        series.add(hour, quantity, line)
    series.settle()
    return series.total if len(series) else owed_unused
