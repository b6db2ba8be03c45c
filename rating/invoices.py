"""Invoices from rated records: lines, their tiers, and the only place where money is rounded to its currency."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

from rating.breakdown import SliceKind, TierSlice, breakdown
from rating.cards import RateCard
from rating.catalog import Catalog
from rating.errors import CurrencyError, InvoiceError
from rating.models import PriceModel
from rating.modifiers import Price
from rating.money import currency_exponent, exact_sum, from_scaled, round_to_currency
from rating.overrides import OVERRIDE
from rating.rated import RatedLine
from rating.skus import Kind

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
    in_packages: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One SKU of one service period. `amount` is `exact_amount` rounded once, half away from zero, to the currency."""

    sku: str
    meter: str
    kind: Kind
    service_period: str
    quantity: Decimal
    unit: str
    exact_amount: Decimal
    amount: Decimal
    dimensions: Mapping[str, str]
    seller_id: str | None
    tiers: tuple[InvoiceTier, ...]


@dataclass(frozen=True, slots=True)
class UnratedQuantity:
    """Usage of the period that has no price yet: it is on no line and in no total."""

    meter: str
    service_period: str
    quantity: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class Invoice:
    """A tenant's billing period in one currency. `total` is the sum of the rounded lines.

    `provisional` says that the period of at least one record that is not nothing is still open.
    """

    tenant_id: str
    period: str
    currency: str
    lines: tuple[InvoiceLine, ...]
    unrated: tuple[UnratedQuantity, ...]
    total: Decimal
    provisional: bool


class _LineId(NamedTuple):
    service_period: str
    kind: Kind
    sku: str
    meter: str


def build_invoice(tenant_id: str, period: str, currency: str, records: Iterable[RatedLine], cards: Cards) -> Invoice:
    """The invoice of a tenant for a billing period, from the last record of each key that is billed in it.

    Raises InvoiceError for a record of another tenant or billing period and for a key that comes twice, CurrencyError
    for an amount in another currency: a period with two currencies needs two invoices (see `by_currency`).
    """
    currency_exponent(currency)
    groups: dict[_LineId, list[RatedLine]] = {}
    keys: set[object] = set()
    provisional = False
    for record in records:
        _check(record, tenant_id, period, currency, keys)
        # A record that fell to nothing is not published again when its period closes.
        provisional = provisional or (record.provisional and bool(record.quantity or record.amount))
        name = _LineId(record.service_period, record.kind, record.sku, record.meter)
        groups.setdefault(name, []).append(record)
    prices = _Prices(cards)
    lines = []
    unrated = []
    for name in sorted(groups):
        group = sorted(groups[name], key=lambda record: record.window_start)
        if name.kind == "unrated":
            unrated.append(_unrated(name, group))
        else:
            lines.append(_line(name, group, currency, prices))
    # A record that fell to nothing says so in the stream; an invoice has no use for it.
    kept = tuple(line for line in lines if line.quantity or line.exact_amount)
    return Invoice(
        tenant_id=tenant_id,
        period=period,
        currency=currency,
        lines=kept,
        unrated=tuple(each for each in unrated if each.quantity),
        total=exact_sum([from_scaled(0, currency_exponent(currency)), *(line.amount for line in kept)]),
        provisional=provisional,
    )


def by_currency(records: Iterable[RatedLine]) -> dict[str, list[RatedLine]]:
    """Records by the currency of their invoice.

    Usage without a currency (unrated, capacity) goes with the first currency in alphabetical order; if there is none,
    the result is empty, since there is nothing to invoice.
    """
    found: dict[str, list[RatedLine]] = {}
    without: list[RatedLine] = []
    for record in records:
        (found.setdefault(record.currency, []) if record.currency else without).append(record)
    result = {currency: found[currency] for currency in sorted(found)}
    if result:
        next(iter(result.values())).extend(without)
    return result


def _check(record: RatedLine, tenant_id: str, period: str, currency: str, keys: set[object]) -> None:
    if (record.tenant_id, record.billing_period) != (tenant_id, period):
        raise InvoiceError(
            f"a record of {record.tenant_id} in {record.billing_period} cannot be invoiced to {tenant_id} in {period}",
            tenant_id=record.tenant_id,
            period=record.billing_period,
        )
    if record.currency not in (None, currency):
        raise CurrencyError(
            f"{record.sku} is charged in {record.currency}, the invoice is in {currency}: make one invoice per currency",
            sku=record.sku,
            currency=record.currency,
        )
    if record.key in keys:
        raise InvoiceError(f"two records of {record.sku} have one key: give only the last revision", sku=record.sku)
    keys.add(record.key)


def _unrated(name: _LineId, group: list[RatedLine]) -> UnratedQuantity:
    quantity = exact_sum(record.quantity for record in group)
    return UnratedQuantity(name.meter, name.service_period, quantity, group[-1].unit)


def _line(name: _LineId, group: list[RatedLine], currency: str, prices: _Prices) -> InvoiceLine:
    exact = exact_sum(record.amount for record in group if record.amount is not None)
    last = group[-1]
    return InvoiceLine(
        sku=name.sku,
        meter=name.meter,
        kind=name.kind,
        service_period=name.service_period,
        quantity=exact_sum(record.quantity for record in group),
        unit=last.unit,
        exact_amount=exact,
        amount=round_to_currency(exact, currency),
        dimensions=last.dimensions,
        seller_id=last.seller_id,
        tiers=tuple(_tiers(group, prices)) if name.kind == "usage" else (),
    )


class _Prices:
    """Finds the price behind a record."""

    def __init__(self, cards: Cards) -> None:
        versions = list(cards.cards()) if isinstance(cards, Catalog) else list(cards)
        self._cards = {(card.id, card.version): card for card in versions if card.overrides is None}
        self._overrides: dict[str, PriceModel] = {}
        for card in versions:
            self._overrides.update(card.overrides.by_digest() if card.overrides else {})

    def price(self, record: RatedLine) -> Price | None:
        """The price that a record was made with; None for usage that is not charged."""
        if record.card_id is None or record.card_version is None or record.sku.startswith("uncharged/"):
            return None
        card = self._cards.get((record.card_id, record.card_version))
        sku = card.router.sku_of(record.sku, record.meter, record.dimensions) if card else None
        if sku is None:
            raise InvoiceError(
                f"card {record.card_id} version {record.card_version}, which priced {record.sku}, is not among the cards",
                card_id=record.card_id,
                card_version=record.card_version,
            )
        digest = record.dimensions.get(OVERRIDE)
        return sku.price_of_charge(sku.price_model if digest is None else self._override(record, digest))

    def _override(self, record: RatedLine, digest: str) -> PriceModel:
        found = self._overrides.get(digest)
        if found is None:
            raise InvoiceError(
                f"the price of its own that {record.tenant_id} has for {record.sku} ({digest}) is not among the cards",
                card_id=record.card_id,
                card_version=record.card_version,
            )
        return found


class _Stretch(NamedTuple):
    """Consecutive hours of a line that one price was for: the positions of the period before and after them."""

    price: Price
    record: RatedLine
    before: Decimal | None
    after: Decimal


def _stretches(group: list[RatedLine], prices: _Prices) -> Iterator[_Stretch]:
    """The hours of a line, cut where its price changes. What lies between two cuts is one difference of positions."""
    current: _Stretch | None = None
    position: Decimal | None = None
    for record in group:
        price = prices.price(record)
        after = exact_sum((position or Decimal(0), record.quantity))
        if price is not None and not record.quantity:
            continue  # the record says that the hour fell to nothing: for the position it is as if it had never been
        if current is not None and current.price == price and _priced_by(current.record) == _priced_by(record):
            current = current._replace(after=after)
        else:
            if current is not None:
                yield current
            current = None if price is None else _Stretch(price, record, position, after)
        position = after
    if current is not None:
        yield current


def _priced_by(record: RatedLine) -> tuple[str | None, int | None, str | None]:
    return record.card_id, record.card_version, record.dimensions.get(OVERRIDE)


def _tiers(group: list[RatedLine], prices: _Prices) -> list[InvoiceTier]:
    """How the amount of a line came about, by the versions that priced it."""
    found: dict[tuple[object, ...], InvoiceTier] = {}
    for stretch in _stretches(group, prices):
        conversion = stretch.price.conversion
        unit = conversion.unit if conversion and conversion.unit else stretch.record.unit
        for part in breakdown(stretch.price, stretch.before, stretch.after):
            tier = _tier(stretch.record, unit, part)
            name = (*_priced_by(stretch.record), part.kind, part.lower)
            found[name] = tier if name not in found else _merged(found[name], tier)
    return [tier for tier in found.values() if tier.quantity or tier.amount]


def _tier(record: RatedLine, unit: str, part: TierSlice) -> InvoiceTier:
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
        in_packages=part.in_packages,
        unit=unit,
    )


def _merged(known: InvoiceTier, more: InvoiceTier) -> InvoiceTier:
    return replace(
        known,
        quantity=exact_sum((known.quantity, more.quantity)),
        amount=exact_sum((known.amount, more.amount)),
    )
