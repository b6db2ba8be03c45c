"""Rating a list of usage with one card, for scripts, try-outs and tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from rating.cards import RateCard
from rating.catalog import EVERYONE, Assignment, Catalog
from rating.overrides import Overrides
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.usage import UsageKey
from rating.windows import HOUR, WindowSize

Usage = tuple[UsageKey, int, Mapping[str, Decimal]]
"""Usage key, window, and leaf quantities."""


def rate(
    card: RateCard, usage: Iterable[Usage], *, window: WindowSize = HOUR, overrides: Overrides | None = None
) -> list[RatedLine]:
    """The rated records of some usage under one card, as if every tenant were assigned to it from the first usage on.

    Each tenant and month is a closed period of its own, with the card's monthly terms; `overrides` replace charges of
    the card. The records come sorted by
    tenant, period, kind, SKU and window. Example::

        card = parse_card(yaml.safe_load(Path("standard.yaml").read_text()))
        key = UsageKey("acme", operation="chat", model="model-00", status="success")
        rate(card, [(key, hour_of(instant), {"input_uncached": Decimal(1200), "requests": Decimal(1)})])
    """
    periods: dict[tuple[str, str], TenantPeriod] = {}
    first: int | None = None
    for key, hour, quantities in usage:
        name = (key.tenant_id, window.period(hour))
        period = periods.get(name)
        if period is None:
            period = periods[name] = TenantPeriod(*name, window)
        period.add(key, hour, None, quantities)
        first = hour if first is None else min(first, hour)
    catalog = (
        Catalog(window).with_card(card).with_assignment(Assignment(EVERYONE, card.id, first or 0, None, overrides))
    )
    lines = [line for name in sorted(periods) for line in periods[name].lines(catalog, closed=True)]
    return sorted(
        lines, key=lambda line: (line.tenant_id, line.service_period, line.window_kind, line.sku, line.window_start)
    )
