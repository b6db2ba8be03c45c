"""From usage to the line it is charged on: every leaf quantity above zero ends on exactly one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from rating.aggregations.names import Aggregation, Reading, Scope
from rating.card_fields import DIMENSIONS
from rating.cards import RateCard, Sku
from rating.matching import matches, rank
from rating.meters import LEAF_NAMES, is_custom, leaves_of, meter
from rating.models import Percentage, PriceModel, Pricer
from rating.modifiers import Price
from rating.overrides import OVERRIDE, charge_digest
from rating.patterns import is_pattern
from rating.patterns import matches as pattern_matches
from rating.selectors.choosing import UNTIMED, Cells, Slot
from rating.usage import UsageKey
from rating.windows import WindowSize

if TYPE_CHECKING:
    from rating.catalog import Catalog

Kind = Literal["usage", "unrated", "minimum", "commitment", "flat_fee", "credit", "sla_credit", "adjustment"]
"""The kinds of rated records."""
REMEMBERED = 100_000
"""How many routes a card remembers before it forgets them all, so that odd keys cannot fill the memory."""
TIME_OF_DAY = "time_of_day"
"""The dimension of a rated record that names the hours of the day that its price is for."""
AGGREGATION = "aggregation"
"""The dimension of a rated record that says what its quantity counts, where that is not the sum of its meter."""
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
        self._counted: dict[str, dict[Aggregation, list[Sku]]] = {}
        """The SKUs that count something else than the sum, by leaf."""
        for sku in sorted(card.skus, key=rank, reverse=True):
            for leaf in sku.leaves:
                if sku.aggregation == "sum":
                    self._candidates.setdefault(leaf, []).append(sku)
                else:
                    self._counted.setdefault(leaf, {}).setdefault(sku.aggregation, []).append(sku)
        # Usage that is no request has no status and is always charged.
        self._charged = frozenset((*card.charge_status, ""))
        self._not_charged = frozenset(leaf for name in card.not_charged for leaf in leaves_of(name))
        self._cells = Cells(card)
        self._found: dict[tuple[UsageKey, str, Slot], Line] = {}
        self._found_counts: dict[tuple[UsageKey, str, Slot], tuple[Line, ...]] = {}
        self._lines: dict[tuple[str, str], Line] = {}

    @property
    def is_timed(self) -> bool:
        """Whether the line of some usage depends on its time of day, so that `line` needs a slot."""
        return self._cells.is_timed

    def slot(self, hour: int, window: WindowSize) -> Slot:
        """What the lines of this card depend on in the time of a window; windows with one slot have the same lines."""
        return self._cells.slot(hour, window)

    def line(self, key: UsageKey, leaf: str, slot: Slot = UNTIMED) -> Line:
        """The line of a leaf (or custom) meter of usage with this key, in windows with this slot."""
        # The tenant does not matter to a card, so all tenants share what was found.
        key = key._replace(tenant_id="")
        found = self._found.get((key, leaf, slot))
        if found is None:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            found = self._found[key, leaf, slot] = self._find(key, leaf, slot)
        return found

    def counts(self, key: UsageKey, leaf: str, slot: Slot = UNTIMED) -> tuple[Line, ...]:
        """The lines that count something else of this meter than its sum: at most one for each aggregation.

        A meter may be on several lines so: its sum at a price per unit, its unique API keys at a price per key.
        """
        if leaf not in self._counted:
            return ()
        key = key._replace(tenant_id="")
        found = self._found_counts.get((key, leaf, slot))
        if found is None:
            if len(self._found_counts) >= REMEMBERED:
                self._found_counts.clear()
            found = self._found_counts[key, leaf, slot] = tuple(self._find_counts(key, leaf, slot))
        return found

    def sku_of(self, sku_id: str, meter_name: str, dimensions: Mapping[str, str]) -> Sku | None:
        """The SKU, or its cell, that made a line with this id, meter and dimensions; None if the card has none."""
        leaf = leaves_of(meter_name)[0]
        counted = [sku for skus in self._counted.get(leaf, {}).values() for sku in skus]
        for sku in [*self._candidates.get(leaf, []), *counted]:
            if sku.meter != meter_name or not all(name in dimensions for name in sku.placeholders):
                continue
            for cell in self._cells.ordered(sku):
                if cell.id_for(dimensions) == sku_id and _fits(cell, dimensions):
                    return cell
        return None

    def _find(self, key: UsageKey, leaf: str, slot: Slot) -> Line:
        if key.status not in self._charged:
            return self._uncharged(f"uncharged/status_{key.status}/{leaf}", leaf)
        cell = self._first_match(self._candidates.get(leaf, ()), key, slot)
        if cell is not None:
            return self._priced(cell, key)
        if leaf in self._not_charged:
            return self._uncharged(f"uncharged/not_charged/{leaf}", leaf)
        if self.counts(key, leaf, slot):
            return self._uncharged(f"uncharged/counted_otherwise/{leaf}", leaf)
        return unrated(leaf)

    def _find_counts(self, key: UsageKey, leaf: str, slot: Slot) -> Iterator[Line]:
        if key.status not in self._charged:
            return
        for candidates in self._counted[leaf].values():
            cell = self._first_match(candidates, key, slot)
            if cell is not None:
                yield self._priced(cell, key)

    def _first_match(self, candidates: Iterable[Sku], key: UsageKey, slot: Slot) -> Sku | None:
        """The cell of the most specific SKU; None if there is no SKU, or no cell of it, for this usage."""
        sku = next((sku for sku in candidates if matches(sku, key)), None)
        return None if sku is None else self._cells.cell(sku, key, slot)

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
    charge = sku.price_model
    special = card.overrides.charge_for(*_names(sku, sku_id, values)) if card.overrides else None
    if special is not None:
        charge = special
        dimensions = {**dimensions, OVERRIDE: charge_digest(charge)}
    if sku.aggregation != "sum":
        dimensions = {**dimensions, AGGREGATION: sku.aggregation}
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
        # Only events of custom meters have amounts of their own: the percentage of another meter is one of its sum.
        reading="per_event" if isinstance(charge, Percentage) and is_custom(sku.meter) else sku.aggregation,
        scope=sku.tier_scope,
    )


def _names(sku: Sku, sku_id: str, values: Mapping[str, str]) -> tuple[str, ...]:
    """What an override may call a line: its id, its template, and for a cell those of the whole SKU."""
    if sku.cell is None:
        return sku_id, sku.sku
    whole = sku.cell.sku
    return sku_id, sku.sku, whole.id_for(values), whole.sku


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
    if sku.cell is not None and sku.cell.times:
        found[TIME_OF_DAY] = sku.cell.time_text
    return found


def route(card: RateCard | None, key: UsageKey, leaf: str, slot: Slot = UNTIMED) -> Line:
    """The line on which a leaf (or custom) meter of usage is charged under a card; None is "no card".

    `slot` is what the card's router says of the window of the usage; only cards with prices by time of day need one.

    Reserved tenants, whose ids start with "_", are capacity and never charged.
    """
    if key.tenant_id.startswith("_"):
        return capacity(leaf)
    if card is None:
        return unrated(leaf)
    return card.router.line(key, leaf, slot)


def counts(card: RateCard | None, key: UsageKey, leaf: str, slot: Slot = UNTIMED) -> tuple[Line, ...]:
    """The lines on which something else of a meter is charged than its sum; `route` gives that of the sum."""
    if card is None or key.tenant_id.startswith("_"):
        return ()
    return card.router.counts(key, leaf, slot)


def slot_at(card: RateCard | None, hour: int, window: WindowSize) -> Slot:
    """The slot of a window under a card: windows of one card with one slot are priced alike."""
    return UNTIMED if card is None else card.router.slot(hour, window)


def unpriced_leaves(catalog: Catalog, key: UsageKey, hour: int) -> int:
    """The leaf meters that would end unrated for this usage: bit i means LEAF_METERS[i]."""
    card = catalog.card_at(key.tenant_id, hour)
    slot = slot_at(card, hour, catalog.window)
    mask = 0
    for index, leaf in enumerate(LEAF_NAMES):
        if route(card, key, leaf, slot).outcome == "unrated":
            mask |= 1 << index
    return mask


def is_unpriced(catalog: Catalog, key: UsageKey, hour: int, meter_name: str) -> bool:
    """Whether one meter of this usage would end unrated; for custom meters, which have no bit in a mask."""
    card = catalog.card_at(key.tenant_id, hour)
    return route(card, key, meter_name, slot_at(card, hour, catalog.window)).outcome == "unrated"
