"""KPIs of governance: usage without a price, limits that were hit, signals, and who changed which price when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson

from sinks.kpi_scope import Scope, ask

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@dataclass(frozen=True, slots=True)
class UnpricedUsage:
    """What a tenant used of a meter and has no price for, as rated now: kept, never zero, rated when a price appears."""

    tenant: str
    meter: str
    quantity: Decimal
    unit: str
    first_hour: datetime


def unpriced_usage(client: Client, scope: Scope) -> list[UnpricedUsage]:
    """Usage without a price by tenant and meter. Such usage names no model, so a scope with a model finds none."""
    rows = ask(
        client,
        scope,
        "SELECT tenant_id, meter, sum(quantity) AS total, any(unit), min(window_start) FROM rated "
        f"WHERE kind = 'unrated' AND {scope.where(model=_MODEL, time='window_start')} "
        "GROUP BY tenant_id, meter HAVING total != 0 ORDER BY tenant_id, meter",
    )
    return [UnpricedUsage(tenant, meter, quantity, unit, _utc(first)) for tenant, meter, quantity, unit, first in rows]


_MODEL = "dimensions['model']"


@dataclass(frozen=True, slots=True)
class RateLimitHits:
    """Requests of a tenant that were answered with HTTP 429, and all of its requests."""

    tenant: str
    hits: int
    requests: int


def rate_limit_hits(client: Client, scope: Scope) -> list[RateLimitHits]:
    """Tenants that ran into a rate limit, most hits first."""
    rows = ask(
        client,
        scope,
        f"SELECT tenant_id, sum(rate_limited) AS hits, sum(requests) FROM kpi_reliability WHERE {scope.where()} "
        "GROUP BY tenant_id HAVING hits > 0 ORDER BY hits DESC, tenant_id",
    )
    return [RateLimitHits(str(tenant), int(hits), int(requests)) for tenant, hits, requests in rows]


@dataclass(frozen=True, slots=True)
class SignalCount:
    """How many policies of a family (`unpriced_usage`, `missing_batches`, ...) say this now."""

    family: str
    kind: str
    policies: int


def signals(client: Client, scope: Scope) -> list[SignalCount]:
    """The latest word of every policy, counted; the balance is no policy of anybody and left out."""
    tenant = " AND tenant_id = {tenant:String}" if scope.tenant is not None else ""
    rows = ask(
        client,
        scope,
        "SELECT splitByChar('/', policy)[1] AS family, kind, count() FROM signals_latest "
        f"WHERE kind != 'balance'{tenant} GROUP BY family, kind ORDER BY family, kind",
    )
    return [SignalCount(str(family), str(kind), int(number)) for family, kind, number in rows]


@dataclass(frozen=True, slots=True)
class PriceChange:
    """One act: who published a card version or assigned a card, when, and what it changed, one text each."""

    changed_at: datetime
    changed_by: str
    what: str
    """`rate card` or `assignment`."""
    tenant: str
    card_id: str
    card_version: int | None
    changes: tuple[str, ...]


def price_changes(client: Client, scope: Scope) -> list[PriceChange]:
    """Every card version and assignment in the order of the log, with the differences to the version before.

    A scope's tenant and time limit what is returned; its model does not.
    """
    rows = ask(
        client,
        Scope(),
        "SELECT changed_at, changed_by, what, tenant_id, card_id, card_version, data FROM kpi_price_changes "
        "ORDER BY appended_at, changed_at, card_id, card_version",
    )
    known: dict[str, Mapping[str, Any]] = {}
    cards_of: dict[str, str] = {}
    found = []
    for changed_at, changed_by, what, tenant, card_id, version, text in rows:
        data = orjson.loads(text)
        if what == "rate card":
            card = _object(data.get("card"))
            changes = _card_changes(known.get(card_id), card)
            known[card_id] = card
        else:
            changes = (_assignment(data, cards_of.get(tenant)),)
            cards_of[tenant] = card_id
        number = None if version is None else int(version)
        found.append(PriceChange(_utc(changed_at), changed_by, what, tenant, card_id, number, changes))
    return [each for each in found if _wanted(each, scope, cards_of)]


def _wanted(change: PriceChange, scope: Scope, cards_of: Mapping[str, str]) -> bool:
    if scope.start is not None and change.changed_at < scope.start:
        return False
    if scope.end is not None and change.changed_at >= scope.end:
        return False
    if scope.tenant is None:
        return True
    if change.what == "assignment":
        return change.tenant in (scope.tenant, "*")
    return change.card_id in (cards_of.get(scope.tenant), cards_of.get("*"))


def _assignment(data: Mapping[str, Any], before: str | None) -> str:
    until = f" until {data['effective_to']}" if data.get("effective_to") else ""
    instead = f" instead of {before}" if before not in (None, data.get("card_id")) else ""
    return f"{data.get('card_id')} from {data.get('effective_from')}{until}{instead}"


def _card_changes(before: Mapping[str, Any] | None, card: Mapping[str, Any]) -> tuple[str, ...]:
    since = f", effective from {card['effective_from']}" if card.get("effective_from") else ""
    now = _charges(card)
    if before is None:
        return (f"first version: {len(now)} SKUs in {card.get('currency')}{since}",)
    then = _charges(before)
    lines = [f"{sku} added: {charge}" for sku, charge in now.items() if sku not in then]
    lines += [f"{sku} removed" for sku in then if sku not in now]
    lines += [f"{sku}: {then[sku]} -> {now[sku]}" for sku in now if sku in then and then[sku] != now[sku]]
    rest = {name for name in {*before, *card} - {"skus", "version"} if before.get(name) != card.get(name)}
    lines += [f"{name}: {_short(before.get(name))} -> {_short(card.get(name))}" for name in sorted(rest)]
    return tuple(lines) or ("nothing but the number",)


def _charges(card: Mapping[str, Any]) -> dict[str, str]:
    """Each SKU of a card as one text: two versions differ where the texts do."""
    skus = card.get("skus")
    entries: Iterable[Any] = skus if isinstance(skus, list) else ()
    return {str(sku.get("sku")): _charge(sku) for sku in entries if isinstance(sku, dict)}


def _charge(sku: Mapping[str, Any]) -> str:
    charge = _object(sku.get("charge"))
    if charge.get("model") == "per_unit" and "price" in charge:
        text = f"{charge['price']} per {charge.get('per', 1)}"
        more = {name: value for name, value in charge.items() if name not in ("model", "price", "per")}
    else:
        text = str(charge.get("model"))
        more = {name: value for name, value in charge.items() if name != "model"}
    rest = {name: value for name, value in sku.items() if name not in ("sku", "charge")}
    match = _short({**more, **rest}) if more or rest else ""
    return f"{text} {match}".strip()


def _short(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
