"""Levels over periods: what each period takes over of the changes before it, also of those whose state is gone.

A unit is a level where a card in the catalog counts it as time_weighted. Sums of changes are noted of every custom meter,
so that a card that comes later finds them; those of forgotten periods are kept for levels alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from rating.catalog import Catalog
from rating.levels import LevelId
from rating.meters import is_custom
from rating.period import TenantPeriod
from rating.usage import UsageKey
from rating.windows import next_period
from streams.fold import AddedUsage
from streams.quantities import state_number

LEVEL = "level"
"""The kind of the state records."""
PeriodKey = tuple[str, str]
"""Tenant and period of service."""


class LevelBook:
    """The changes of levels of one partition, by tenant and period."""

    def __init__(self) -> None:
        self._changes: dict[str, dict[str, dict[LevelId, int]]] = {}
        """By tenant and period: sums of changes."""
        self._left: dict[str, dict[LevelId, int]] = {}
        """By tenant: what the forgotten periods left."""
        self._meters: frozenset[str] = frozenset()
        self._generation = -1

    def follow(self, catalog: Catalog) -> None:
        """Which meters are levels goes by the cards of this catalog."""
        if catalog.generation != self._generation:
            self._generation = catalog.generation
            self._meters = frozenset().union(*(card.level_meters for card in catalog.cards()))

    def add(self, each: AddedUsage, period: str, booked: str) -> bool:
        """Notes what was added to a usage key in a period; says whether some of it changes a level."""
        changes = {name: gathered.total for name, gathered in each.custom.items() if is_custom(name)}
        self._note(each.key, period, booked or None, changes)
        return not self._meters.isdisjoint(changes)

    def restored(self, periods: Mapping[PeriodKey, TenantPeriod]) -> None:
        """Notes the changes of restored periods."""
        for (_, period), state in periods.items():
            for level, change in state.level_changes().items():
                self._note(level.key, period, level.booked, {level.meter: change})

    def _note(self, key: UsageKey, period: str, booked: str | None, changes: Mapping[str, int]) -> None:
        if changes:
            noted = self._changes.setdefault(key.tenant_id, {}).setdefault(period, {})
            for name, change in changes.items():
                level = LevelId(key, name, booked)
                noted[level] = noted.get(level, 0) + change

    def opening(self, key: PeriodKey) -> dict[LevelId, int]:
        """The levels that a period takes over. Changes that are late for it too keep where they are booked."""
        found: dict[LevelId, int] = {}
        if not self._meters:
            return found
        tenant_id, period = key
        for level, change in self._before(tenant_id, period):
            if level.meter in self._meters:
                late = level.booked is not None and level.booked > period
                taken = level if late else level._replace(booked=None)
                found[taken] = found.get(taken, 0) + change
        return {level: change for level, change in found.items() if change}

    def tenants(self) -> Iterator[str]:
        """The tenants that may have levels."""
        if self._meters:
            yield from self._changes.keys() | self._left.keys()

    def restore(self, key: list[Any], payload: list[Any]) -> None:
        """Put back what the forgotten periods left of one level."""
        *parts, meter, booked = key
        usage_key = UsageKey(*parts)
        self._left.setdefault(usage_key.tenant_id, {})[LevelId(usage_key, meter, booked or None)] = int(payload[0])

    def forget(self, period: str) -> Iterator[tuple[bytes, list[int | str] | None]]:
        """Keeps of a period only what it leaves to later ones; gives state keys and their values, None to delete.

        Periods are forgotten in their order.
        """
        for tenant_id in sorted(self._changes.keys() | self._left.keys()):
            gone = self._changes.get(tenant_id, {}).pop(period, {})
            if not self._changes.get(tenant_id):
                self._changes.pop(tenant_id, None)
            before = self._left.pop(tenant_id, {})
            after = self._together(before, gone, period)
            if after:
                self._left[tenant_id] = after
            for level in sorted(before.keys() | after.keys(), key=str):
                if before.get(level) != after.get(level):
                    left = after.get(level)
                    key = orjson.dumps([LEVEL, *level.key, level.meter, level.booked or ""])
                    yield key, None if left is None else [state_number(left)]

    def _together(self, before: Mapping[LevelId, int], gone: Mapping[LevelId, int], period: str) -> dict[LevelId, int]:
        """What earlier periods and this one leave. Booked up to the next period, it is on time for all that remain."""
        found: dict[LevelId, int] = {}
        changes = [(level, change) for level, change in gone.items() if level.meter in self._meters]
        for level, change in [*before.items(), *changes]:
            late = level.booked is not None and level.booked > next_period(period)
            taken = level if late else level._replace(booked=None)
            found[taken] = found.get(taken, 0) + change
        return {level: change for level, change in found.items() if change}

    def _before(self, tenant_id: str, period: str) -> Iterable[tuple[LevelId, int]]:
        yield from self._left.get(tenant_id, {}).items()
        for earlier, changes in self._changes.get(tenant_id, {}).items():
            if earlier < period:
                yield from changes.items()
