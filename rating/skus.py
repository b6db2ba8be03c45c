"""From usage to the line it is charged on: every leaf quantity above zero ends on exactly one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from rating.aggregations.names import Reading, Scope
from rating.card_fields import DIMENSIONS
from rating.cards import RateCard, Sku
from rating.matching import matches, rank
from rating.meters import LEAF_NAMES, leaves_of, meter
from rating.models import PriceModel, Pricer
from rating.modifiers import Price
from rating.overrides import OVERRIDE, charge_digest
from rating.patterns import is_pattern
from rating.patterns import matches as pattern_matches
from rating.usage import UsageKey

if TYPE_CHECKING:
    from rating.catalog import Catalog

Kind = Literal["usage", "unrated", "minimum", "commitment", "flat_fee", "credit", "sla_credit", "adjustment"]
"""The kinds of rated records."""
REMEMBERED = 100_000
"""How many routes a card remembers before it forgets them all, so that odd keys cannot fill the memory."""
Outcome = Literal["priced", "uncharged", "unrated"]


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Where a leaf quantity is charged: the SKU id with everything that a rated record says about it.

    `outcome` priced: `price` prices it, `pricer` is its compiled form and `model` the charge in it; uncharged: its
    amount is 0, for the reason that the id states; unrated: there is no price yet, so it has no amount, currency or
    card. `reading` says how events become the quantity and `scope` where its position begins anew. Lines are compared
    by identity: the same card and key give the same object.
    """

    sku: str
    meter: str
    unit: str
    decimals: int
    kind: Literal["usage", "unrated"]
    outcome: Outcome
    currency: str | None = None
    card_id: str | None = None
    card_version: int | None = None
    model: PriceModel | None = None
    price: Price | None = None
    pricer: Pricer | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)
    seller_id: str | None = None
    reading: Reading = "sum"
    scope: Scope = "period"


def unrated(leaf: str) -> Line:
    """The line of usage that has no price."""
    return _without_price(f"unrated/{leaf}", leaf, "unrated")


def capacity(leaf: str) -> Line:
    """The line of a reserved tenant: serving capacity that several tenants share, or that nobody uses."""
    return _without_price(f"uncharged/capacity/{leaf}", leaf, "uncharged")


@lru_cache(maxsize=4096)
def _without_price(sku: str, leaf: str, outcome: Literal["uncharged", "unrated"]) -> Line:
    measure = meter(leaf)
    kind: Literal["usage", "unrated"] = "unrated" if outcome == "unrated" else "usage"
    return Line(sku, leaf, measure.unit, measure.decimals, kind, outcome)


class Router:
    """Finds the lines of one card and remembers them."""

    def __init__(self, card: RateCard) -> None:
        self._card = card
        self._candidates: dict[str, list[Sku]] = {}
        for sku in sorted(card.skus, key=rank, reverse=True):
            for leaf in sku.leaves:
                self._candidates.setdefault(leaf, []).append(sku)
        # Usage that is no request has no status and is always charged.
        self._charged = frozenset((*card.charge_status, ""))
        self._not_charged = frozenset(leaf for name in card.not_charged for leaf in leaves_of(name))
        self._found: dict[tuple[UsageKey, str], Line] = {}
        self._lines: dict[tuple[str, str], Line] = {}

    def line(self, key: UsageKey, leaf: str) -> Line:
        """The line of a leaf (or custom) meter of usage with this key."""
        # The tenant does not matter to a card, so all tenants share what was found.
        key = key._replace(tenant_id="")
        found = self._found.get((key, leaf))
        if found is None:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            found = self._found[key, leaf] = self._find(key, leaf)
        return found

    def sku_of(self, sku_id: str, meter_name: str, dimensions: Mapping[str, str]) -> Sku | None:
        """The SKU that made a line with this id, meter and dimensions; None if the card has none."""
        for sku in self._candidates.get(leaves_of(meter_name)[0], ()):
            known = all(name in dimensions for name in sku.placeholders)
            if sku.meter == meter_name and known and sku.id_for(dimensions) == sku_id and _fits(sku, dimensions):
                return sku
        return None

    def _find(self, key: UsageKey, leaf: str) -> Line:
        if key.status not in self._charged:
            return self._uncharged(f"uncharged/status_{key.status}/{leaf}", leaf)
        for sku in self._candidates.get(leaf, ()):
            if matches(sku, key):
                return self._priced(sku, key)
        if leaf in self._not_charged:
            return self._uncharged(f"uncharged/not_charged/{leaf}", leaf)
        return unrated(leaf)

    def _uncharged(self, sku_id: str, leaf: str) -> Line:
        line = self._lines.get((sku_id, leaf))
        if line is None:
            card = self._card
            line = replace(
                _without_price(sku_id, leaf, "uncharged"),
                currency=card.currency,
                card_id=card.id,
                card_version=card.version,
            )
            self._lines[sku_id, leaf] = line
        return line

    def _priced(self, sku: Sku, key: UsageKey) -> Line:
        values = {name: getattr(key, name) for name in sku.placeholders}
        sku_id = sku.id_for(values)
        line = self._lines.get((sku_id, sku.meter))
        if line is None:
            line = self._lines[sku_id, sku.meter] = priced_line(self._card, sku, values)
        return line


def _fits(sku: Sku, dimensions: Mapping[str, str]) -> bool:
    """Whether a line with these dimensions can be of this SKU: several may share an id template, for different models."""
    constraints = sku.match.constraints().items()
    return all(pattern_matches(value, dimensions[name]) for name, value in constraints if name in dimensions)


def priced_line(card: RateCard, sku: Sku, values: Mapping[str, str]) -> Line:
    """The line of a SKU for these values of its placeholders, with the charge that the card's overrides give it, if any."""
    measure = sku.measure
    sku_id = sku.id_for(values)
    dimensions = _dimensions(sku, values)
    charge: PriceModel = sku.charge
    special = card.overrides.charge_for(sku_id, sku.sku) if card.overrides else None
    if special is not None:
        charge = special
        dimensions = {**dimensions, OVERRIDE: charge_digest(charge)}
    price = sku.price_of_charge(charge)
    return Line(
        sku=sku_id,
        meter=sku.meter,
        unit=measure.unit,
        decimals=measure.decimals,
        kind="usage",
        outcome="priced",
        currency=card.currency,
        card_id=card.id,
        card_version=card.version,
        model=charge,
        price=price,
        pricer=price.pricer(measure.decimals),
        dimensions=dimensions,
        seller_id=sku.seller_id,
    )


def _dimensions(sku: Sku, values: Mapping[str, str]) -> Mapping[str, str]:
    """What is the same for all usage on the line: template values, exact matches, and the context range."""
    exact = {name: value for name, value in sku.match.constraints().items() if not is_pattern(value)}
    exact.update(values)
    found = {name: exact[name] for name in DIMENSIONS if name in exact}
    context = sku.match.context_bracket
    if context is not None and context.above is not None:
        found["context_above"] = str(context.above)
    if context is not None and context.up_to is not None:
        found["context_up_to"] = str(context.up_to)
    return found


def route(card: RateCard | None, key: UsageKey, leaf: str) -> Line:
    """The line on which a leaf (or custom) meter of usage is charged under a card; None is "no card".

    Reserved tenants, whose ids start with "_", are capacity and never charged.
    """
    if key.tenant_id.startswith("_"):
        return capacity(leaf)
    if card is None:
        return unrated(leaf)
    return card.router.line(key, leaf)


def unpriced_leaves(catalog: Catalog, key: UsageKey, hour: int) -> int:
    """The leaf meters that would end unrated for this usage: bit i means LEAF_METERS[i]."""
    card = catalog.card_at(key.tenant_id, hour)
    mask = 0
    for index, leaf in enumerate(LEAF_NAMES):
        if route(card, key, leaf).outcome == "unrated":
            mask |= 1 << index
    return mask


def is_unpriced(catalog: Catalog, key: UsageKey, hour: int, meter_name: str) -> bool:
    """Whether one meter of this usage would end unrated; for custom meters, which have no bit in a mask."""
    return route(catalog.card_at(key.tenant_id, hour), key, meter_name).outcome == "unrated"
