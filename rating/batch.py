"""Rating a list of usage with one card, for scripts, try-outs and tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal

from rating.aggregations.events import event_usage
from rating.aggregations.gathered import Gathered
from rating.cards import RateCard
from rating.catalog import EVERYONE, Assignment, Catalog
from rating.levels import LevelId
from rating.meters import is_custom
from rating.overrides import Overrides
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.terms.opening import NOTHING_OPEN
from rating.usage import UsageKey
from rating.windows import HOUR, WindowSize, next_period

Usage = tuple[UsageKey, datetime | int, Mapping[str, Decimal | Gathered]]
"""Usage key, instant (aware) or index of a window, and quantities by leaf or custom meter, in the meter's unit."""


def rate(
    card: RateCard, usage: Iterable[Usage], *, window: WindowSize = HOUR, overrides: Overrides | None = None
) -> list[RatedLine]:
    """The rated records of some usage under one card: the amounts that the stream would come to.

    Every tenant counts as assigned to the card from the first usage on, and every month as over: it has the card's
    monthly terms, and takes over from the month before what goes on (unused allowances, levels). `overrides` replace
    charges of the card. Records come sorted by tenant, period, kind of window, SKU and window; records without an amount
    are usage that the card has no price for. Example::

        from datetime import UTC, datetime
        from decimal import Decimal
        from rating import UsageKey, build_invoice, parse_card, rate

        card = parse_card({
            "id": "standard", "version": 1, "currency": "USD", "effective_from": "2026-01-01T00:00:00Z",
            "skus": [{"sku": "{model}/input", "meter": "input", "included": 1000,
                      "charge": {"model": "per_unit", "price": "0.15", "per": 1000000}}],
        })
        key = UsageKey("acme", operation="chat", model="model-00", status="success")
        records = rate(card, [(key, datetime(2026, 1, 5, 10, tzinfo=UTC), {"input_uncached": Decimal(2_001_000)})])
        invoice = build_invoice("acme", "2026-01", "USD", records, [card])
        print(invoice.total)  # 0.30

    Usage with an instant counts as one event where the card counts events or levels, with a window as one at its start;
    `rating.aggregations.events.event_usage` also takes the ids of an event.

    Raises MoneyError for floats and for more decimals than a meter has, MeterError for a meter that does not exist.
    """
    periods: dict[str, dict[str, TenantPeriod]] = {}
    first: int | None = None
    for number, (key, when, quantities) in enumerate(usage):
        hour = window.index_of(when) if isinstance(when, datetime) else when
        if isinstance(when, datetime) and any(map(is_custom, quantities)):
            quantities = event_usage(when, quantities, identity=number, window=window)
        of_tenant, month = periods.setdefault(key.tenant_id, {}), window.period(hour)
        if month not in of_tenant:
            of_tenant[month] = TenantPeriod(key.tenant_id, month, window)
        of_tenant[month].add(key, hour, None, quantities)
        first = hour if first is None else min(first, hour)
    assignment = Assignment(EVERYONE, card.id, first or 0, None, overrides)
    catalog = Catalog(window).with_card(card).with_assignment(assignment)
    lines = [line for tenant, months in periods.items() for line in _months(tenant, months, catalog, card, window)]
    return sorted(
        lines, key=lambda line: (line.tenant_id, line.service_period, line.window_kind, line.sku, line.window_start)
    )


def _months(
    tenant: str, months: Mapping[str, TenantPeriod], catalog: Catalog, card: RateCard, window: WindowSize
) -> Iterator[RatedLine]:
    """The records of a tenant's months, from the first to the last with usage."""
    level_meters = frozenset(sku.meter for sku in card.skus if sku.aggregation == "time_weighted")
    levels: dict[LevelId, int] = {}
    opening = NOTHING_OPEN
    month = min(months)
    while month <= max(months):
        period = months.get(month)
        if period is None and any(levels.values()):
            period = TenantPeriod(tenant, month, window)  # a level goes on through a month without events
        if period is None:
            opening = NOTHING_OPEN
        else:
            period.carry(levels)
            period.open_with(opening)
            yield from period.lines(catalog, closed=True)
            opening = period.handover()
            for level, change in period.level_changes(level_meters).items():
                levels[level] = levels.get(level, 0) + change
        month = next_period(month)
