"""A closed period priced again: adjustments that make it cost what other prices say, and leave its own records as they are.

In each billing period in which something is booked, the adjustments of all billing periods so far sum to the price of the
usage known by then under the ordered prices, less what the period's own records say about the same usage. So they depend
on the usage and the orders alone, and the same order twice adjusts nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from rating.cards import fitting_id
from rating.catalog import Catalog
from rating.money import amount_of, difference, exact_sum
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.skus import Kind
from rating.windows import period_end, period_start

RERATED = "rerated"
"""Last part of the SKU of a correction, and the dimension that names the order."""
_COUNTED = frozenset({"usage", "unrated", "adjustment"})
"""Kinds of records whose quantity is usage."""


class Rerate(NamedTuple):
    """An order: from the billing period `booked` on, the service period costs what `prices` say. `name` is for people."""

    booked: str
    prices: Catalog
    name: str


class _Place(NamedTuple):
    """What amounts are compared by. Records of several kinds may share a place: usage, and a fee owed without usage."""

    sku: str
    unrated: bool
    meter: str
    currency: str


class _Sum(NamedTuple):
    quantity: Decimal
    amount: Decimal
    last: RatedLine


Sums = Mapping[_Place, _Sum]
_NOTHING = Decimal(0)


def corrections(period: TenantPeriod, catalog: Catalog, rerates: Sequence[Rerate]) -> list[RatedLine]:
    """The adjustments of a closed period that is priced again, in the order of billing period, SKU and meter.

    `catalog` is the one that priced the period's own records; `rerates` are in the order of their billing periods, one
    for each. A correction of 0 is left out. Late usage of the period that is booked after the first order is corrected in
    the billing period in which it is booked.
    """
    if not rerates:
        return []
    own = period.lines(catalog, closed=True, only_changed=False)
    taken = {line.key for line in own}
    booked = {rerate.booked for rerate in rerates}
    booked |= {later for later in period.late_periods() if later > rerates[0].booked}
    found: list[RatedLine] = []
    before: Sums = {}
    for billing_period in sorted(booked):
        rerate = [each for each in rerates if each.booked <= billing_period][-1]
        again = period.as_if_on_time(billing_period).lines(rerate.prices, closed=True)
        due = _difference(_sums(again), _sums(line for line in own if line.billing_period <= billing_period))
        for made in _lines(_difference(due, before), period.period, billing_period, rerate.name):
            line = _named_apart(made, taken)
            taken.add(line.key)
            found.append(line)
        before = due
    return found


def _sums(lines: Iterable[RatedLine]) -> Sums:
    groups: dict[_Place, list[RatedLine]] = {}
    for line in lines:
        place = _Place(line.sku, line.kind == "unrated", line.meter, line.currency or "")
        groups.setdefault(place, []).append(line)
    return {
        place: _Sum(
            exact_sum(line.quantity for line in group if line.kind in _COUNTED),
            exact_sum(line.amount for line in group if line.amount is not None),
            max(group, key=lambda line: line.window_start),
        )
        for place, group in groups.items()
    }


def _difference(left: Sums, right: Sums) -> Sums:
    """`left` less `right`, place by place; the line is that of `left`, where it has one."""
    found: dict[_Place, _Sum] = {}
    for place in left.keys() | right.keys():
        ours, theirs = left.get(place), right.get(place)
        one = ours or theirs
        assert one is not None  # noqa: S101  # every place is of one side
        found[place] = _Sum(
            difference(ours.quantity if ours else _NOTHING, theirs.quantity if theirs else _NOTHING),
            difference(ours.amount if ours else _NOTHING, theirs.amount if theirs else _NOTHING),
            one.last,
        )
    return found


def _lines(sums: Sums, service_period: str, billing_period: str, name: str) -> Iterator[RatedLine]:
    for place in sorted(sums):
        quantity, amount, last = sums[place]
        if not quantity and not amount:
            continue
        kind: Kind = "unrated" if place.unrated else "adjustment"
        yield replace(
            last,
            # Usage without a price keeps its name: taken back here, it is no longer waiting for a price.
            sku=place.sku if place.unrated else fitting_id(f"{place.sku}/{RERATED}"),
            kind=kind,
            window_kind="period",
            window_start=period_start(billing_period),
            window_end=period_end(billing_period),
            billing_period=billing_period,
            service_period=service_period,  # also of a fee that was paid in advance for the next one
            quantity=quantity,
            amount=None if place.unrated else exact_sum((amount_of(0), amount)),
            provisional=False,
            dimensions={**last.dimensions, RERATED: name},
        )


def _named_apart(line: RatedLine, taken: set[tuple[str, str, str, str, datetime, str]]) -> RatedLine:
    """The line under a key that no other record of the period has."""
    if line.key in taken:
        line = replace(line, sku=fitting_id(f"{line.sku}/{RERATED}/{line.meter}/{line.currency or ''}"))
    return line
