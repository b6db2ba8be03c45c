"""Showback: what a tenant is charged, shared over its projects and API keys.

The amount of each line of each hour is shared by the quantities that were used of it in that hour, so a project pays the
price of its hours. Shares are exact: they are whole units of 10^-12, what cannot be divided goes to the largest
remainders, and they sum to the amount.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple, TypeVar

from rating.cards import RateCard
from rating.errors import InvoiceError
from rating.money import AMOUNT_DECIMALS, amount_of, exact_sum, to_scaled
from rating.rated import RatedLine
from rating.skus import Kind, Line, counts, route, slot_at
from rating.usage import UsageKey
from rating.windows import HOUR, WindowSize

K = TypeVar("K", bound=tuple[str, ...])
_BY_EVENTS = frozenset({"count", "unique_api_keys", "unique_workflows"})
"""The readings whose quantity is a number of events or of what they name."""


class Owner(NamedTuple):
    """Whose usage it is; "" where the events did not say."""

    project_id: str
    api_key_id: str


class Used(NamedTuple):
    """What one owner used under one key in one window: leaf (and custom) meters in their smallest units."""

    owner: Owner
    key: UsageKey
    hour: int
    events: int
    quantities: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Share:
    """What one owner bears of a line over the period; `owner` None: what could be given to nobody.

    That is what belongs to no hour (fees, minimums, adjustments, credits), and usage that names no project and no key
    at all, such as GPU time. `quantity` and `amount` have up to 12 decimals.
    """

    owner: Owner | None
    sku: str
    meter: str
    kind: Kind
    service_period: str
    unit: str
    currency: str
    quantity: Decimal
    amount: Decimal


def shares(amount: Decimal, weights: Mapping[K, int]) -> dict[K, Decimal]:
    """An amount of at most 12 decimals shared in proportion to the weights, exactly; the largest remainders get the rest.

    Equal remainders go by the order of the keys, so the result does not depend on the order of the weights. Weights that
    are not above 0 get nothing; without any other the result is empty. Raises MoneyError for more than 12 decimals.
    """
    heavy = {key: weight for key, weight in sorted(weights.items()) if weight > 0}
    total = sum(heavy.values())
    if not total:
        return {}
    scaled = to_scaled(amount, AMOUNT_DECIMALS)
    sign, scaled = (-1, -scaled) if scaled < 0 else (1, scaled)
    parts = {key: divmod(scaled * weight, total) for key, weight in heavy.items()}
    rest = scaled - sum(whole for whole, _ in parts.values())
    # Sorting is stable: of equal remainders the first key comes first.
    favoured = set(sorted(parts, key=lambda key: -parts[key][1])[:rest])
    return {key: amount_of(sign * (whole + (key in favoured))) for key, (whole, _) in parts.items()}


def showback(
    records: Iterable[RatedLine],
    used: Iterable[Used],
    cards: Iterable[RateCard],
    *,
    window: WindowSize = HOUR,
    spread: bool = False,
) -> list[Share]:
    """The amounts of a tenant's billing period by owner and line; they sum to the amounts of the records, exactly.

    `records`: the last record of each key; `used`: the usage of the hours that they are about, by owner; `cards`: those
    that priced them. With `spread` what belongs to nobody is shared in proportion to the amounts that each owner bears
    of the same currency. Raises InvoiceError when a card is missing.
    """
    known = list(records)
    hourly = {(window.index_of(each.window_start), each.sku): each for each in known if _is_hourly(each)}
    weights = _weights(hourly, used, cards, window)
    totals: dict[_Line, dict[Owner | None, list[Decimal]]] = {}
    for record in known:
        if record.amount is None or record.currency is None:
            continue
        place = (window.index_of(record.window_start), record.sku)
        by_owner: Mapping[Owner, int] = weights.get(place, {}) if _is_hourly(record) else {}
        name = _Line(record.currency, record.service_period, record.kind, record.sku, record.meter, record.unit)
        parts = totals.setdefault(name, {})
        amounts: Mapping[Owner, Decimal] = shares(record.amount, by_owner)
        quantities: Mapping[Owner, Decimal] = shares(record.quantity, by_owner)
        for owner in amounts:
            parts.setdefault(owner, []).append(amounts[owner])
            parts.setdefault(owner, []).append(quantities[owner])
        if not amounts:
            parts.setdefault(None, []).extend((record.amount, record.quantity))
    found = [_share(name, owner, values) for name, parts in totals.items() for owner, values in parts.items()]
    return _merged(_spread(found) if spread else found)


class _Line(NamedTuple):
    currency: str
    service_period: str
    kind: Kind
    sku: str
    meter: str
    unit: str


def _is_hourly(record: RatedLine) -> bool:
    return record.window_kind == "hour" and record.kind == "usage"


def _share(name: _Line, owner: Owner | None, values: list[Decimal]) -> Share:
    return Share(
        owner,
        name.sku,
        name.meter,
        name.kind,
        name.service_period,
        name.unit,
        name.currency,
        quantity=exact_sum(values[1::2]),
        amount=exact_sum(values[::2]),
    )


def _weights(
    hourly: Mapping[tuple[int, str], RatedLine], used: Iterable[Used], cards: Iterable[RateCard], window: WindowSize
) -> dict[tuple[int, str], dict[Owner, int]]:
    """How much of each line each owner used, by hour."""
    published = {(card.id, card.version): card for card in cards if card.overrides is None}
    priced: dict[int, RateCard] = {}
    for (hour, sku), record in hourly.items():
        if record.card_id is None or record.card_version is None or hour in priced:
            continue
        # A tenant's hour is priced by one version of one card; own prices change no line.
        card = published.get((record.card_id, record.card_version))
        if card is None:
            raise InvoiceError(
                f"card {record.card_id} version {record.card_version}, which priced {sku}, is not among the cards",
                card_id=record.card_id,
                card_version=record.card_version,
            )
        priced[hour] = card
    weights: dict[tuple[int, str], dict[Owner, int]] = {}
    for each in used:
        card = priced.get(each.hour)
        if card is None:
            continue
        slot = slot_at(card, each.hour, window)
        for leaf, quantity in each.quantities.items():
            for line in (route(card, each.key, leaf, slot), *counts(card, each.key, leaf, slot)):
                by_owner = weights.setdefault((each.hour, line.sku), {})
                by_owner[each.owner] = by_owner.get(each.owner, 0) + _weight(line, quantity, each.events)
    return weights


def _weight(line: Line, quantity: int, events: int) -> int:
    return events if line.reading in _BY_EVENTS else quantity


def _spread(found: list[Share]) -> list[Share]:
    """Shares what nobody bears in proportion to what each owner bears in its currency; where nobody bears any, it stays."""
    borne: dict[str, dict[Owner, int]] = {}
    for each in found:
        if each.owner is not None:
            amounts = borne.setdefault(each.currency, {})
            amounts[each.owner] = amounts.get(each.owner, 0) + to_scaled(each.amount, AMOUNT_DECIMALS)
    spread: list[Share] = []
    for each in found:
        weights = borne.get(each.currency, {}) if each.owner is None else {}
        amounts_of, quantities = shares(each.amount, weights), shares(each.quantity, weights)
        parts = [replace(each, owner=o, quantity=quantities[o], amount=amounts_of[o]) for o in amounts_of]
        spread += parts or [each]
    return spread


def _merged(found: Iterable[Share]) -> list[Share]:
    """One share of each owner and line, those that came to nothing left out, what nobody bears last."""
    groups: dict[tuple[_Line, Owner | None], list[Share]] = {}
    for each in found:
        name = _Line(each.currency, each.service_period, each.kind, each.sku, each.meter, each.unit)
        groups.setdefault((name, each.owner), []).append(each)
    merged = [
        replace(
            group[0],
            quantity=exact_sum(each.quantity for each in group),
            amount=exact_sum(each.amount for each in group),
        )
        for group in groups.values()
    ]
    return sorted(
        (each for each in merged if each.amount or each.quantity),
        key=lambda each: (
            each.currency,
            each.owner is None,
            each.owner or (),
            each.service_period,
            each.kind,
            each.sku,
        ),
    )
