"""The usage of one partition per usage key, window and booking, and its state records (DESIGN D4).

Leaf meters are sums. What is gathered of custom meters, and sets of ids, live in the `TenantPeriod` that prices them; here
they become records: one per custom meter of fixed size, and numbered parts of ids and events in the order in which they
came, of which a flush writes those that it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson

from rating.aggregations.gathered import Gathered, MeteredEvent, single
from rating.meters import is_custom
from rating.period import TenantPeriod
from rating.usage import UsageKey
from rating.windows import WindowSize
from streams.fold import AddedUsage
from streams.gathering import Ids, ids_of
from streams.meters import METERS
from streams.quantities import added, named, state_number, state_numbers
from streams.transactions import OutgoingRecord

USAGE, UNITS, IDS, EVENTS = "usage", "units", "ids", "events"
KINDS = frozenset({USAGE, UNITS, IDS, EVENTS})
"""The kinds of state records that are kept here."""
IDS_A_RECORD = 4096
EVENTS_A_RECORD = 1024
"""How many a state record holds; a flush writes the last, unfilled one anew."""
_ID_KINDS: tuple[Ids, ...] = ("api_keys", "workflows")

PeriodKey = tuple[str, str]
"""Tenant and period of service."""
Cell = tuple[UsageKey, int, str]
"""Where usage is counted: key, window, and the period it is booked in ("" when it came before its own closed)."""
Total = tuple[list[int], dict[str, None]]
"""The leaf meters in their smallest units, and the names of the meters of which more was gathered."""


class Totals:
    """The totals of a partition."""

    def __init__(self, window: WindowSize, topic: str, partition: int) -> None:
        """`topic`: where state records go."""
        self._window = window
        self._topic = topic
        self._partition = partition
        self._cells: dict[PeriodKey, dict[Cell, Total]] = {}
        self._parts: dict[tuple[Cell, str, str], dict[int, Sequence[Any]]] = {}
        """While state is restored: the parts of ids and events, by cell, kind and meter."""
        self.cells = 0
        """How many totals are held."""

    def restore(
        self, kind: str, key: list[Any], payload: list[Any], period: Callable[[PeriodKey], TenantPeriod]
    ) -> None:
        """Put back one state entry; `finish` when all are."""
        if kind == USAGE:
            *parts, hour, booked = key
            meters = [int(quantity) for quantity in payload]
            meters += [0] * (METERS - len(meters))  # written before the last meters were added
            self._merge((UsageKey(*parts), hour, booked), meters, {}, period)
        elif kind == UNITS:
            *parts, hour, booked, name = key
            gathered = self._gathered(hour, payload)
            self._merge((UsageKey(*parts), hour, booked), [0] * METERS, {name: gathered}, period)
        elif kind == IDS:
            *parts, hour, booked, what, name, number = key
            self._parts.setdefault(((UsageKey(*parts), hour, booked), what, name), {})[number] = payload
        else:
            *parts, hour, booked, name, number = key
            self._parts.setdefault(((UsageKey(*parts), hour, booked), EVENTS, name), {})[number] = payload

    def finish(self, period: Callable[[PeriodKey], TenantPeriod]) -> None:
        """All state entries are back: put the parts of ids and events together in their order."""
        for (cell, what, name), parts in self._parts.items():
            values = (int(value) for number in sorted(parts) for value in parts[number])
            if what == EVENTS:
                gathered = Gathered(events=[MeteredEvent(*event) for event in zip(values, values, values, strict=True)])
            else:
                ids: dict[int, None] = dict.fromkeys(values)
                gathered = Gathered(api_keys=ids) if what == "api_keys" else Gathered(workflows=ids)
            self._merge(cell, [0] * METERS, {name: gathered}, period)
        self._parts = {}

    def add(self, each: AddedUsage, booked: str, position: int, period: TenantPeriod) -> Iterator[OutgoingRecord]:
        """Take in what was added to a usage key in an hour; gives the state records."""
        cell: Cell = (each.key, each.hour, booked)
        place = [*each.key, each.hour, booked]
        before = {name: _sizes(_of(period, cell, name)) for name in each.custom}
        meters, _ = self._merge(cell, each.meters, each.custom, lambda _: period)
        yield self._record(position, [USAGE, *place], state_numbers(meters))
        for name in each.custom:
            # One record per custom meter: a tenant may invent any number of them.
            gathered = _of(period, cell, name)
            if is_custom(name):
                yield self._record(position, [UNITS, *place, name], _unit_numbers(gathered))
            for key, values in _parts(gathered, name, before[name]):
                yield self._record(position, [key[0], *place, *key[1:]], values)

    def forget(self, key: PeriodKey, period: TenantPeriod) -> Iterator[bytes]:
        """The state keys of everything that is kept of a tenant's period, which is forgotten here."""
        totals = self._cells.pop(key, {})
        self.cells -= len(totals)
        for cell, (_, names) in totals.items():
            usage_key, hour, booked = cell
            place = [*usage_key, hour, booked]
            yield orjson.dumps([USAGE, *place])
            for name in names:
                if is_custom(name):
                    yield orjson.dumps([UNITS, *place, name])
                for part, _ in _parts(_of(period, cell, name), name, {}):
                    yield orjson.dumps([part[0], *place, *part[1:]])

    def _merge(
        self,
        cell: Cell,
        meters: list[int],
        gathered: Mapping[str, Gathered],
        period: Callable[[PeriodKey], TenantPeriod],
    ) -> Total:
        usage_key, hour, booked = cell
        key = (usage_key.tenant_id, self._window.period(hour))
        cells = self._cells.setdefault(key, {})
        known, names = cells.get(cell, (None, {}))
        self.cells += known is None
        names.update(dict.fromkeys(gathered))
        cells[cell] = total = added(known, meters), names
        period(key).add_scaled(usage_key, hour, booked or None, named(meters, gathered))
        return total

    def _gathered(self, hour: int, payload: list[Any]) -> Gathered:
        """What a record of a custom meter says; one that was written when only sums were kept is one event."""
        total, *rest = (None if value is None else int(value) for value in payload)
        if not rest:
            return single(total or 0, hour * self._window.microseconds, self._window.microseconds)
        count, largest, time_us, identity, quantity, weighted = rest
        latest = None if time_us is None else MeteredEvent(time_us, identity or 0, quantity or 0)
        return Gathered(total or 0, count or 0, largest, latest, weighted or 0)

    def _record(self, position: int, key: list[Any], values: Sequence[Any]) -> OutgoingRecord:
        return OutgoingRecord(self._topic, self._partition, orjson.dumps(key), orjson.dumps([position, *values]))


def _of(period: TenantPeriod, cell: Cell, name: str) -> Gathered:
    usage_key, hour, booked = cell
    return period.gathered(usage_key, hour, booked or None, name)


def _unit_numbers(gathered: Gathered) -> list[int | str | None]:
    latest = gathered.latest
    last = (None, None, None) if latest is None else tuple(map(state_number, latest))
    largest = None if gathered.largest is None else state_number(gathered.largest)
    return [state_number(gathered.total), gathered.count, largest, *last, state_number(gathered.weighted)]


def _sizes(gathered: Gathered) -> dict[str, int]:
    return {EVENTS: len(gathered.events), **{what: len(ids_of(gathered, what)) for what in _ID_KINDS}}


def _parts(
    gathered: Gathered, name: str, before: Mapping[str, int]
) -> Iterator[tuple[list[str | int], list[int | str]]]:
    """The parts that changed since there were so many ids and events: end of the state key, and values."""
    for what in _ID_KINDS:
        ids = ids_of(gathered, what)
        for number in _changed(before.get(what, 0), len(ids), IDS_A_RECORD):
            part = islice(ids, number * IDS_A_RECORD, (number + 1) * IDS_A_RECORD)
            yield [IDS, what, name, number], list(map(state_number, part))
    for number in _changed(before.get(EVENTS, 0), len(gathered.events), EVENTS_A_RECORD):
        events = gathered.events[number * EVENTS_A_RECORD : (number + 1) * EVENTS_A_RECORD]
        yield [EVENTS, name, number], [state_number(value) for event in events for value in event]


def _changed(before: int, after: int, size: int) -> range:
    return range(before // size, -(-after // size)) if after > before else range(0)
