"""Invoices from the rated rows in ClickHouse, and the cards that their tiers are explained with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from infra.clickhouse import store_errors
from infra.config import Settings
from infra.logs import get_logger
from rating.cards import RateCard, parse_card
from rating.errors import InvoiceError, RatingError
from rating.invoices import Invoice, build_invoice, by_currency
from rating.overrides import parse_overrides
from rating.rated import RatedLine
from rating.windows import WindowSize
from schemas.kinds import Kind
from sinks.published import control_records

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = get_logger(__name__)

_CHUNK_RECORDS: Final = 100_000
_CHUNK_TENANTS: Final = 200
"""How much `load_in_chunks` holds at a time."""

RATED_COLUMNS: Final = (
    "tenant_id, sku, meter, kind, window_kind, window_start, window_end, billing_period, service_period, quantity, unit, "
    "amount, currency, card_id, card_version, provisional, dimensions, seller_id"
)
"""The columns of the view `rated` that make a record."""


@dataclass(frozen=True, slots=True)
class InvoiceSummary:
    """What there is to invoice: a tenant's billing period in one currency, with the exact sum of its amounts."""

    tenant_id: str
    period: str
    currency: str
    amount: Decimal
    provisional: bool


def list_invoices(client: Client, period: str | None = None) -> list[InvoiceSummary]:
    """Every tenant, billing period and currency with rated amounts, in that order; of one period if it is given."""
    with store_errors("listing invoices"):
        rows = client.query(
            "SELECT tenant_id, billing_period, currency, sum(ifNull(amount, 0)), "
            "max(provisional AND (quantity != 0 OR ifNull(amount, 0) != 0)) FROM rated "
            "WHERE currency != '' AND ({period:String} = '' OR billing_period = {period:String}) "
            "GROUP BY tenant_id, billing_period, currency HAVING max(quantity != 0 OR ifNull(amount, 0) != 0) "
            "ORDER BY tenant_id, billing_period, currency",
            parameters={"period": period or ""},
        ).result_rows
    return [InvoiceSummary(str(row[0]), str(row[1]), str(row[2]), row[3], bool(row[4])) for row in rows]


def load_invoices(client: Client, tenant_id: str, period: str, cards: Iterable[RateCard]) -> list[Invoice]:
    """The invoices of a tenant's billing period, one per currency; none where nothing is charged.

    Raises InvoiceError when a card that priced a record is not among the cards.
    """
    found = by_currency(load_rated(client, tenant_id, period))
    known = tuple(cards)
    return [build_invoice(tenant_id, period, currency, records, known) for currency, records in found.items()]


def load_invoice(
    client: Client, tenant_id: str, period: str, cards: Iterable[RateCard], currency: str | None = None
) -> Invoice:
    """The one invoice of a tenant's billing period ("YYYY-MM"), in `currency` if there are several.

    Raises InvoiceError when there is none, or several and no currency is given.
    """
    invoices = load_invoices(client, tenant_id, period, cards)
    chosen = [invoice for invoice in invoices if currency in (None, invoice.currency)]
    if len(chosen) == 1:
        return chosen[0]
    there_are = ", ".join(invoice.currency for invoice in invoices) or "none"
    raise InvoiceError(
        f"{tenant_id} has {'several invoices' if chosen else 'no invoice'} for {period}"
        f"{f' in {currency}' if currency else ''}: currencies with amounts: {there_are}",
        tenant_id=tenant_id,
        period=period,
    )


def load_in_chunks(
    client: Client, summaries: Iterable[InvoiceSummary], cards: Iterable[RateCard]
) -> Iterator[list[Invoice]]:
    """The invoices of these summaries, by billing period, then tenant: some at a time, so that neither the number of
    questions nor the memory grows with the number of tenants. Raises InvoiceError (see `load_invoices`), StoreError."""
    known = tuple(cards)
    wanted: dict[str, set[tuple[str, str]]] = {}
    for each in summaries:
        wanted.setdefault(each.period, set()).add((each.tenant_id, each.currency))
    for period, accounts in sorted(wanted.items()):
        for tenants in _tenant_chunks(client, sorted({tenant_id for tenant_id, _ in accounts}), period):
            yield [
                build_invoice(tenant_id, period, currency, records, known)
                for tenant_id, found in _rated_of(client, tenants, period).items()
                for currency, records in by_currency(found).items()
                if (tenant_id, currency) in accounts
            ]


def _tenant_chunks(client: Client, tenants: Sequence[str], period: str) -> Iterator[list[str]]:
    """Neighbouring tenants whose records together are few enough to be held; at least one."""
    with store_errors("counting rated records"):
        rows = client.query(
            "SELECT tenant_id, count() FROM rated WHERE billing_period = {period:String} GROUP BY tenant_id",
            parameters={"period": period},
        ).result_rows
    counts = {str(tenant_id): int(count) for tenant_id, count in rows}
    chunk: list[str] = []
    held = 0
    for tenant_id in tenants:
        more = counts.get(tenant_id, 0)
        if chunk and (held + more > _CHUNK_RECORDS or len(chunk) == _CHUNK_TENANTS):
            yield chunk
            chunk, held = [], 0
        chunk.append(tenant_id)
        held += more
    if chunk:
        yield chunk


def load_rated(client: Client, tenant_id: str, period: str) -> list[RatedLine]:
    """The last record of each key that is billed to a tenant in a billing period."""
    return _rated_of(client, [tenant_id], period)[tenant_id]


def _rated_of(client: Client, tenants: Sequence[str], period: str) -> dict[str, list[RatedLine]]:
    """The records that are billed to some tenants in a billing period."""
    found: dict[str, list[RatedLine]] = {tenant_id: [] for tenant_id in tenants}
    with store_errors("reading rated records"):
        rows = client.query(
            f"SELECT {RATED_COLUMNS} FROM rated "
            "WHERE tenant_id IN {tenants:Array(String)} AND billing_period = {period:String} "
            "ORDER BY tenant_id, service_period, sku, kind, window_kind, window_start",
            parameters={"tenants": list(tenants), "period": period},
            tz_mode="aware",
        ).named_results()
        for row in rows:
            found[row["tenant_id"]].append(rated_line(row))
    return found


def rated_line(row: dict[str, Any]) -> RatedLine:
    """The record in a row of RATED_COLUMNS."""
    # ClickHouse has '' where the record has no value.
    absent = {name: row[name] or None for name in ("currency", "card_id", "seller_id")}
    return RatedLine(**{**row, **absent, "dimensions": dict(row["dimensions"])})


def load_cards(client: Client, settings: Settings) -> Sequence[RateCard]:
    """Every version of every card that was published, the first publication of each, oldest first, then the same
    with each tenant's own prices.

    A card that this deployment's workers had to refuse (it breaks the rules of cards) priced nothing and is left out.
    """
    found: dict[tuple[str, int], RateCard] = {}
    for data in control_records(client, Kind.RATE_CARD):
        try:
            card = parse_card(
                data.get("card"), window=WindowSize(settings.window_minutes), context_edges=settings.context_edges
            )
        except RatingError as error:
            log.warning("invoice.card_left_out", reason=str(error))
            continue
        found.setdefault((card.id, card.version), card)
    special: list[RateCard] = []
    for data in control_records(client, Kind.ASSIGNMENT):
        try:
            overrides = parse_overrides(data["overrides"]) if data.get("overrides") else None
        except RatingError as error:
            log.warning("invoice.overrides_left_out", reason=str(error))
            continue
        special += [
            card.with_overrides(overrides) for card in found.values() if overrides and card.id == data["card_id"]
        ]
    return (*found.values(), *special)
