"""Pricing stored usage again: which tenants, by which prices, and what they were charged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.config import Settings
from rating.cards import RateCard
from rating.catalog import Catalog, Span
from rating.period import TenantPeriod
from rating.pinned import PinnedPrice, pinned
from rating.rated import RatedLine
from rating.trial import TenantTrial, compare
from rating.windows import WindowSize, previous_period
from sinks.stored_usage import StoredUsage, load_service_period, load_usage

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_TENANTS_AT_ONCE = 50
"""Tenants whose usage is held in memory."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A month to be priced again: what is published, and the prices of each tenant instead, from window to window."""

    period: str
    published: Catalog
    prices: Callable[[str], Sequence[PinnedPrice]]


def prices_with(
    card: RateCard, published: Catalog, period: str, wholly: Callable[[str], bool]
) -> Callable[[str], list[PinnedPrice]]:
    """The prices of a tenant if `card` stood where the published versions of the same card do, with the tenant's own prices.

    `wholly`: for which tenants it stands for everything instead.
    """
    first, last = published.window.first(period), published.window.last(period)

    def prices(tenant_id: str) -> list[PinnedPrice]:
        if wholly(tenant_id):
            return [PinnedPrice(first, card)]
        found = []
        for span in published.spans(tenant_id, first, last):
            price = _price(span, published)
            replaced = price.card is not None and price.card.id == card.id
            found.append(price._replace(card=card) if replaced else price)
        return found

    return prices


def as_published(published: Catalog, period: str) -> Callable[[str], list[PinnedPrice]]:
    """The prices of a tenant as the published cards and assignments say themselves."""
    first, last = published.window.first(period), published.window.last(period)

    def prices(tenant_id: str) -> list[PinnedPrice]:
        return [_price(span, published) for span in published.spans(tenant_id, first, last)]

    return prices


def _price(span: Span, published: Catalog) -> PinnedPrice:
    if span.card is None:
        return PinnedPrice(span.first, None)
    card = published.card(span.card.id, span.card.version)
    return PinnedPrice(span.first, card, span.card.overrides)


def priced_by(card_id: str, published: Catalog, period: str, tenants: Sequence[str]) -> list[str]:
    """Of these tenants those whom some version of a card prices in a period."""
    first, last = published.window.first(period), published.window.last(period)
    return [
        tenant
        for tenant in tenants
        if any(span.card is not None and span.card.id == card_id for span in published.spans(tenant, first, last))
    ]


def run_trial(client: Client, settings: Settings, trial: Trial, tenants: Sequence[str]) -> Iterator[TenantTrial]:
    """The tenants one after the other, in the order given. Raises StoreError."""
    for start in range(0, len(tenants), _TENANTS_AT_ONCE):
        some = tenants[start : start + _TENANTS_AT_ONCE]
        charged = load_service_period(client, some, trial.period)
        for tenant, new, cards in _priced(client, settings, trial, some):
            yield compare(tenant, trial.period, charged[tenant], new, trial.published, cards)


def _priced(
    client: Client, settings: Settings, trial: Trial, tenants: Sequence[str]
) -> Iterator[tuple[str, list[RatedLine], list[RateCard]]]:
    """Tenant, its records under the trial's prices, and the cards that made them."""
    window = WindowSize(settings.window_minutes)
    prices = {tenant: trial.prices(tenant) for tenant in tenants}
    cards = {id(price.card): price.card for each in prices.values() for price in each if price.card is not None}
    known = [*cards.values(), *trial.published.cards()]
    demands = {demand for card in known for demand in card.demands}
    levels = {sku.meter for card in known for sku in card.skus if sku.aggregation == "time_weighted"}
    usage = load_usage(client, settings, tenants, trial.period, demands, levels)
    before: dict[str, StoredUsage] = {}
    if any(_takes_over(card) for card in known):
        earlier = load_usage(client, settings, tenants, previous_period(trial.period), demands, levels)
        before = {each.tenant_id: each for each in earlier}
    for used in usage:
        period = _filled(used, trial.period, window)
        if used.tenant_id in before:
            handing_over = _filled(before[used.tenant_id], previous_period(trial.period), window)
            handing_over.lines(trial.published, closed=True)
            period.open_with(handing_over.handover())
        catalog = pinned(used.tenant_id, prices[used.tenant_id], window)
        yield used.tenant_id, period.lines(catalog, closed=True), list(catalog.cards())


def _filled(used: StoredUsage, period: str, window: WindowSize) -> TenantPeriod:
    made = TenantPeriod(used.tenant_id, period, window)
    made.carry(used.levels)
    for (key, hour), quantities in used.cells.items():
        made.add_scaled(key, hour, None, quantities)
    return made


def _takes_over(card: RateCard) -> bool:
    """Whether what a month costs under a card depends on the month before."""
    rolls = any(sku.included is not None and sku.included.rollover is not None for sku in card.skus)
    return rolls or any(fee.in_advance for fee in card.flat_fees)
