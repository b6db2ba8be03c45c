"""Small cards, catalogs and usage for the tests of the rating engine."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from rating.cards import RateCard, parse_card
from rating.catalog import EVERYONE, Assignment, Catalog
from rating.rated import RatedLine
from rating.usage import UsageKey
from rating.windows import first_hour

PERIOD = "2026-01"
START = first_hour(PERIOD)

Document = dict[str, Any]


def per_unit(price: str, per: int | str = 1) -> Document:
    return {"model": "per_unit", "price": price, "per": per}


def graduated(*tiers: tuple[int | str | None, str, str], per: int | str = 1, flat_on_zero: bool = True) -> Document:
    """Tiers as (up_to, price, flat fee)."""
    steps: list[Document] = [{"up_to": up_to, "price": price, "flat_fee": fee} for up_to, price, fee in tiers]
    return {"model": "graduated", "tiers": steps, "per": per, "flat_on_zero": flat_on_zero}


def volume(*tiers: tuple[int | str | None, str, str], per: int | str = 1, flat_on_zero: bool = True) -> Document:
    """Tiers as (up_to, price, flat fee)."""
    return {**graduated(*tiers, per=per, flat_on_zero=flat_on_zero), "model": "volume"}


def percentages(*tiers: tuple[int | str | None, str, str], flat_on_zero: bool = True) -> Document:
    """Tiers as (up_to, rate, flat fee)."""
    steps: list[Document] = [{"up_to": up_to, "rate": rate, "flat_fee": fee} for up_to, rate, fee in tiers]
    return {"model": "graduated_percentage", "tiers": steps, "flat_on_zero": flat_on_zero}


def package(price: str, size: int | str) -> Document:
    return {"model": "package", "price": price, "size": size}


def dynamic(multiplier: str = "1") -> Document:
    return {"model": "dynamic", "multiplier": multiplier}


def sku(name: str, meter: str, charge: Document, **match: Any) -> Document:
    return {"sku": name, "meter": meter, "charge": charge, "match": match}


def document(*skus: Document, **fields: Any) -> Document:
    return {
        "id": "card",
        "version": 1,
        "currency": "USD",
        "effective_from": "2020-01-01T00:00:00Z",
        "skus": list(skus),
        **fields,
    }


def card(*skus: Document, **fields: Any) -> RateCard:
    return parse_card(document(*skus, **fields))


def catalog(*cards: RateCard) -> Catalog:
    """The cards, with the first one assigned to everyone."""
    made = Catalog()
    for each in cards:
        made = made.with_card(each)
    return made.with_assignment(Assignment(EVERYONE, cards[0].id, 0))


def key(model: str = "m", tenant: str = "acme", **fields: Any) -> UsageKey:
    return UsageKey(tenant, operation="chat", model=model, **{"status": "success", **fields})


def latest(lines: Iterable[RatedLine]) -> dict[tuple[object, ...], RatedLine]:
    """The last record of each key, as a consumer of the records would hold it."""
    return {line.key: line for line in lines}


def amounts(lines: Iterable[RatedLine], kind: str = "usage") -> dict[tuple[str, int], Decimal | None]:
    """Amount by SKU and window offset within the period."""
    return {
        (line.sku, int(line.window_start.timestamp()) // 3600 - START): line.amount
        for line in lines
        if line.kind == kind
    }
