"""Orders to price closed months again, in the order of the log, and the adjustments that follow from them (DESIGN D6).

An order is kept with the billing period that was open when it was read, so every replay books it in the same place. It
names published card versions; what they say never changes, so neither does what it means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import orjson

from infra.config import Settings
from rating.catalog import Catalog
from rating.errors import PeriodError
from rating.overrides import Overrides, parse_overrides
from rating.period import TenantPeriod
from rating.pinned import PinnedPrice, pinned
from rating.rated import RatedLine
from rating.rerating import Rerate, corrections
from schemas.instants import format_instant
from schemas.partitioning import partition_for
from schemas.rerating import OrderedPrice as RecordPrice
from schemas.rerating import RerateOrdered
from streams.outcomes import NEVER_US, TimeRules
from streams.transactions import OutgoingRecord

STATE_KIND = "rerate"
"""First part of the keys of orders in the state."""
PeriodKey = tuple[str, str]
"""Tenant and period of service."""
RecordKey = tuple[str, str, str, str, datetime, str]


@dataclass(frozen=True, slots=True)
class OrderedPrice:
    """A price of an order: from a window on; `card_id` None is "no price"."""

    first: int
    card_id: str | None
    card_version: int | None
    overrides: Overrides | None


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the state keeps it: what names it for people, the billing period it is booked in, and its prices."""

    booked: str
    name: str
    prices: tuple[OrderedPrice, ...]

    def document(self) -> list[object]:
        """Plain JSON data, from which `parse` makes an equal order."""
        return [
            self.name,
            [
                [
                    price.first,
                    price.card_id,
                    price.card_version,
                    price.overrides.document() if price.overrides else None,
                ]
                for price in self.prices
            ],
        ]

    @classmethod
    def parse(cls, booked: str, document: list[Any]) -> Order:
        """The order of a state entry."""
        name, prices = document
        return cls(
            booked,
            name,
            tuple(
                OrderedPrice(first, card_id, version, parse_overrides(overrides) if overrides else None)
                for first, card_id, version, overrides in prices
            ),
        )


Orders = Mapping[PeriodKey, tuple[Order, ...]]
"""Per tenant and period at most one order for each billing period, in the order of these. Never changed in place."""
NO_ORDERS: Orders = MappingProxyType({})


def with_order(orders: Orders, key: PeriodKey, order: Order) -> Orders:
    """The orders and one more; it replaces that of the same billing period."""
    kept = [each for each in orders.get(key, ()) if each.booked != order.booked]
    return {**orders, key: tuple(sorted([*kept, order], key=lambda each: each.booked))}


class OrderBook:
    """The orders of one partition as of its position, and what of them changed since the last flush."""

    def __init__(self, settings: Settings, rules: TimeRules, partition: int) -> None:
        """`partition`: the one that tenants of orders must belong to."""
        self._settings = settings
        self._rules = rules
        self._partition = partition
        self.orders: Orders = NO_ORDERS
        self._changed: dict[bytes, Order] = {}

    def order(self, record: RerateOrdered, catalog: Catalog, watermark_us: int) -> None:
        """Take in an order; of a month that is open nothing, since what is published holds there already.

        Raises PeriodError for an order that cannot be carried out: another partition's tenant, a month whose state is
        gone, a card that is not published, prices that begin outside the month or within a window; CardError for prices
        of the tenant's own that cannot be read.
        """
        target = partition_for(record.tenant_id, self._settings.partitions)
        if target != self._partition:
            raise PeriodError(
                f"the order to rate {record.tenant_id} again came to partition {self._partition}, the tenant's is "
                f"{target}: write it there, by `tokenmill rerate`"
            )
        closes_us = self._rules.period_closes_us(record.period)
        if watermark_us == NEVER_US or watermark_us < closes_us:
            return
        if watermark_us >= closes_us + self._rules.kept_us:
            raise PeriodError(f"{record.period} closed too long ago to be rated again: its state is gone")
        prices = tuple(self._price(record.period, price, catalog) for price in record.prices)
        key = (record.tenant_id, record.period)
        order = Order(self._rules.open_period(watermark_us), record.reason, prices)
        if order not in self.orders.get(key, ()):
            self.orders = with_order(self.orders, key, order)
            self._changed[state_key(key, order)] = order

    def restore(self, key: list[Any], payload: list[Any]) -> None:
        """Put back one order."""
        tenant_id, period, booked = key
        self.orders = with_order(self.orders, (tenant_id, period), Order.parse(booked, payload))

    def take_state(self, position: int) -> list[OutgoingRecord]:
        """The state records of what changed since the last call."""
        changed, self._changed = self._changed, {}
        topic = self._settings.topics.state
        return [
            OutgoingRecord(topic, self._partition, key, orjson.dumps([position, *order.document()]))
            for key, order in changed.items()
        ]

    def _price(self, period: str, price: RecordPrice, catalog: Catalog) -> OrderedPrice:
        window, start = self._rules.window, price.effective_from
        if not window.is_start(start) or window.period(window.index_of(start)) != period:
            raise PeriodError(f"a price of the order begins at {format_instant(start)}: not a window of {period}")
        if price.card_id is not None and catalog.card(price.card_id, price.card_version or 0) is None:
            raise PeriodError(f"card {price.card_id} version {price.card_version} of the order is not published")
        overrides = parse_overrides(price.overrides) if price.overrides else None
        return OrderedPrice(window.index_of(start), price.card_id, price.card_version, overrides)


class Corrections:
    """The adjustments of the periods that are priced again, and which of them changed."""

    def __init__(self) -> None:
        self._orders: Orders = NO_ORDERS
        self._given: dict[PeriodKey, dict[RecordKey, RatedLine]] = {}
        """The last adjustments of each period, by their keys."""

    def changed(self, orders: Orders) -> set[PeriodKey]:
        """The periods whose orders differ from those of the last call."""
        before, self._orders = self._orders, orders
        if orders is before:
            return set()
        return {key for key in orders if orders[key] != before.get(key)}

    def lines(self, key: PeriodKey, period: TenantPeriod, catalog: Catalog) -> Iterator[RatedLine]:
        """All adjustments of a period; those that fell away come once more with 0. Nothing for a period without orders."""
        orders = self._orders.get(key)
        if not orders:
            return
        rerates = [Rerate(each.booked, _prices(key[0], each, catalog), each.name) for each in orders]
        made = {line.key: line for line in corrections(period, catalog, rerates)}
        for name, line in self._given.get(key, {}).items():
            if name not in made:
                zero = None if line.amount is None else Decimal(0)
                yield replace(line, quantity=Decimal(0), amount=zero)
        self._given[key] = made
        yield from made.values()

    def forget(self, key: PeriodKey) -> Iterator[bytes]:
        """The state keys of a period's orders; its adjustments are forgotten here."""
        self._given.pop(key, None)
        for order in self._orders.get(key, ()):
            yield state_key(key, order)


def state_key(key: PeriodKey, order: Order) -> bytes:
    """The key of an order in the state."""
    return orjson.dumps([STATE_KIND, *key, order.booked])


def _prices(tenant_id: str, order: Order, catalog: Catalog) -> Catalog:
    """The catalog that an order means; versions that were published once are there for ever."""
    return pinned(
        tenant_id,
        [
            PinnedPrice(
                price.first,
                None if price.card_id is None else catalog.card(price.card_id, price.card_version or 0),
                price.overrides,
            )
            for price in order.prices
        ],
        catalog.window,
        catalog.gathered_from,
    )
