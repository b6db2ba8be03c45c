"""Invoices from rated records: lines, their tiers, and the only place where money is rounded to its currency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from rating.errors import CurrencyError, InvoiceError
from rating.invoice_tiers import Cards, InvoiceTier, Prices, tiers_of
from rating.money import currency_exponent, exact_sum, from_scaled, round_to_currency
from rating.rated import RatedLine
from rating.skus import Kind
from rating.terms.taxes import LineTax, summed, taxes_on


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One SKU of one service period. `amount` is `exact_amount` rounded once, half away from zero, to the currency.

    `taxes` are on top of it; those of the card that made the last record of the line.
    """

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
    taxes: tuple[LineTax, ...] = ()


@dataclass(frozen=True, slots=True)
class UnratedQuantity:
    """Usage of the period that has no price yet: it is on no line and in no total."""

    meter: str
    service_period: str
    quantity: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class Invoice:
    """A tenant's billing period in one currency. `total` is the sum of the rounded lines, without taxes.

    `provisional` says that the period of at least one record that is not nothing is still open.
    """

    tenant_id: str
    period: str
    currency: str
    lines: tuple[InvoiceLine, ...]
    unrated: tuple[UnratedQuantity, ...]
    total: Decimal
    provisional: bool

    @property
    def taxes(self) -> tuple[LineTax, ...]:
        """The taxes of all lines, by name and rate."""
        return summed(tax for line in self.lines for tax in line.taxes)

    @property
    def total_with_taxes(self) -> Decimal:
        """What is to be paid: the total and the taxes of all lines."""
        return exact_sum((self.total, *(tax.amount for tax in self.taxes)))


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
    prices = Prices(cards)
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


def _line(name: _LineId, group: list[RatedLine], currency: str, prices: Prices) -> InvoiceLine:
    exact = exact_sum(record.amount for record in group if record.amount is not None)
    amount = round_to_currency(exact, currency)
    last = group[-1]
    return InvoiceLine(
        sku=name.sku,
        meter=name.meter,
        kind=name.kind,
        service_period=name.service_period,
        quantity=exact_sum(record.quantity for record in group),
        unit=last.unit,
        exact_amount=exact,
        amount=amount,
        dimensions=last.dimensions,
        seller_id=last.seller_id,
        tiers=tuple(tiers_of(group, prices)) if name.kind == "usage" else (),
        taxes=taxes_on(amount, prices.taxes(last), currency) if amount else (),
    )
