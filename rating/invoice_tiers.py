"""How the amount of an invoice line came about: the tiers of the card versions that priced its hours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from rating.breakdown import SliceKind, TierSlice, breakdown
from rating.cards import RateCard, Sku
from rating.catalog import Catalog
from rating.errors import InvoiceError
from rating.models import Basis, Percentage, PriceModel
from rating.modifiers import Price
from rating.money import exact_sum
from rating.overrides import OVERRIDE
from rating.rated import RatedLine
from rating.terms.fields import Tax
from rating.terms.opening import CARRIED_IN

Cards = Catalog | Iterable[RateCard]
"""Where the card versions that priced the records are found; a tenant's own prices are those of `with_overrides`."""


@dataclass(frozen=True, slots=True)
class InvoiceTier:
    """What one tier of one card version charged on a line. Tiers are (lower, upper]; `upper` None is open.

    Not only tiers: `kind` says what it is (see `rating.breakdown.TierSlice`), such as what was included, or what a
    discount took off. `quantity`, the edges and `per` are in `unit`: the meter's, or the one that the card converts it
    into. `override` names the price of the tenant's own that replaced the card's, if one did. `amount` has 12 decimals.
    The tiers of a line sum to its `exact_amount`.
    """

    card_id: str
    card_version: int
    lower: Decimal
    upper: Decimal | None
    quantity: Decimal
    unit_price: Decimal
    per: Decimal
    amount: Decimal
    override: str | None = None
    kind: SliceKind = "tier"
    basis: Basis = "units"
    unit: str = ""


class Prices:
    """Finds the prices behind records."""

    def __init__(self, cards: Cards) -> None:
        versions = list(cards.cards()) if isinstance(cards, Catalog) else list(cards)
        self._cards = {(card.id, card.version): card for card in versions if card.overrides is None}
        self._overrides: dict[str, PriceModel] = {}
        for card in versions:
            self._overrides.update(card.overrides.by_digest() if card.overrides else {})
        self._last: tuple[RatedLine, tuple[Sku, PriceModel]] | None = None

    def of(self, record: RatedLine) -> tuple[Sku, PriceModel] | None:
        """The SKU (or its cell) that a record was priced by, and the charge; None for usage that is not charged.

        Raises InvoiceError when the card, or the tenant's own price that the record names, is not among the cards.
        """
        if record.card_id is None or record.card_version is None or record.sku.startswith("uncharged/"):
            return None
        # The hours of a line have one mapping of dimensions, made with the line.
        if self._last is not None and _is_like(self._last[0], record):
            return self._last[1]
        sku = self._sku(record)
        found = sku, self._charge(record, sku)
        self._last = record, found
        return found

    def taxes(self, record: RatedLine) -> tuple[Tax, ...]:
        """The taxes that the card of a record states; none for a record that no card made."""
        if record.card_id is None or record.card_version is None:
            return ()
        card = self._cards.get((record.card_id, record.card_version))
        if card is None:
            raise InvoiceError(
                f"card {record.card_id} version {record.card_version}, which says the taxes on {record.sku}, is not among "
                "the cards",
                card_id=record.card_id,
                card_version=record.card_version,
            )
        return card.tax

    def _sku(self, record: RatedLine) -> Sku:
        card = self._cards.get((record.card_id or "", record.card_version or 0))
        sku = card.router.sku_of(record.sku, record.meter, record.dimensions) if card else None
        if sku is None:
            raise InvoiceError(
                f"card {record.card_id} version {record.card_version}, which priced {record.sku}, is not among the cards",
                card_id=record.card_id,
                card_version=record.card_version,
            )
        return sku

    def _charge(self, record: RatedLine, sku: Sku) -> PriceModel:
        """The tenant's own charge, where the record says that there was one."""
        digest = record.dimensions.get(OVERRIDE)
        if digest is None:
            return sku.price_model
        found = self._overrides.get(digest)
        if found is None:
            raise InvoiceError(
                f"the price of its own that {record.tenant_id} has for {record.sku} ({digest}) is not among the cards",
                card_id=record.card_id,
                card_version=record.card_version,
            )
        return found


def _is_like(known: RatedLine, record: RatedLine) -> bool:
    """Whether two records were certainly priced by one SKU and charge."""
    return (
        known.sku == record.sku
        and known.meter == record.meter
        and known.card_id == record.card_id
        and known.card_version == record.card_version
        and known.dimensions == record.dimensions
    )


class _Position(NamedTuple):
    """What has a quantity position of its own in a line: what cards may differ in (see `rating.series.SeriesId`)."""

    aggregation: str
    scope: str
    of_events: bool


class _Stretch(NamedTuple):
    """Hours of a line that one price was for: the positions before and after them, and what was charged."""

    price: Price
    record: RatedLine
    position: _Position
    before: Decimal | None
    after: Decimal
    amount: Decimal


def tiers_of(group: Sequence[RatedLine], prices: Prices) -> list[InvoiceTier]:
    """How the amount of a line came about, by the versions that priced it; `group` are its records in order."""
    found: dict[tuple[object, ...], InvoiceTier] = {}
    for stretch in _stretches(group, prices):
        for part in _slices(stretch):
            tier = _tier(stretch, part)
            name = (*_priced_by(stretch.record), stretch.position, part.kind, part.lower)
            found[name] = tier if name not in found else _merged(found[name], tier)
    return [tier for tier in found.values() if tier.quantity or tier.amount]


def _stretches(group: Iterable[RatedLine], prices: Prices) -> Iterator[_Stretch]:
    """The hours of a line, cut where its price changes: what lies between two cuts is one difference of positions."""
    current: _Stretch | None = None
    positions: dict[_Position, Decimal] = {}
    for record in group:
        if not (record.quantity or record.amount):
            continue  # an hour whose usage was taken back: for the position it is as if it had never been
        found = prices.of(record)
        if found is None:
            continue
        sku, charge = found
        position = _Position(sku.aggregation, sku.tier_scope, isinstance(charge, Percentage))
        before = None if position.scope == "hour" else positions.get(position)
        after = exact_sum((before or Decimal(0), record.quantity))
        positions[position] = after
        amount = record.amount or Decimal(0)
        if current is not None and before is not None and _goes_on(current, record, position):
            current = current._replace(after=after, amount=exact_sum((current.amount, amount)))
            continue
        if current is not None:
            yield current
        current = _Stretch(_price(sku, charge, record), record, position, before, after, amount)
    if current is not None:
        yield current


def _price(sku: Sku, charge: PriceModel, record: RatedLine) -> Price:
    """The price of a record, with what its period took over of the allowance of the one before."""
    price, carried_in = sku.price_of_charge(charge), record.dimensions.get(CARRIED_IN)
    return price if carried_in is None else replace(price, included=Fraction(price.included) + Fraction(carried_in))


def _goes_on(stretch: _Stretch, record: RatedLine, position: _Position) -> bool:
    return stretch.position == position and _priced_by(stretch.record) == _priced_by(record)


def _priced_by(record: RatedLine) -> tuple[str | None, int | None, str | None]:
    return record.card_id, record.card_version, record.dimensions.get(OVERRIDE)


def _slices(stretch: _Stretch) -> Iterable[TierSlice]:
    if not stretch.position.of_events:
        return breakdown(stretch.price, stretch.before, stretch.after)
    # Fees and bounds of single events are not in the records: what they came to is.
    rate = stretch.price.charge.segments()[0]
    quantity = exact_sum((stretch.after, -(stretch.before or Decimal(0))))
    return [TierSlice("tier", rate.lower, None, quantity, rate.unit_price, rate.per, rate.basis, stretch.amount)]


def _tier(stretch: _Stretch, part: TierSlice) -> InvoiceTier:
    record, conversion = stretch.record, stretch.price.conversion
    return InvoiceTier(
        card_id=record.card_id or "",
        card_version=record.card_version or 0,
        lower=part.lower,
        upper=part.upper,
        quantity=part.quantity,
        unit_price=part.unit_price,
        per=part.per,
        amount=part.amount,
        override=record.dimensions.get(OVERRIDE),
        kind=part.kind,
        basis=part.basis,
        unit=conversion.unit if conversion and conversion.unit else record.unit,
    )


def _merged(known: InvoiceTier, more: InvoiceTier) -> InvoiceTier:
    return replace(
        known,
        quantity=exact_sum((known.quantity, more.quantity)),
        amount=exact_sum((known.amount, more.amount)),
    )
