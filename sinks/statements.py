"""Sellers' statements from the rated records and the issued documents in ClickHouse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from infra.clickhouse import store_errors
from rating.cards import RateCard
from rating.rated import RatedLine
from rating.statements import Statement, StatementLine, credit_lines, invoice_lines, parts_of
from rating.windows import period_end, period_start
from sinks.documents import TABLE, read_documents
from sinks.finalize import load_document
from sinks.invoices import load_rated

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


Sold = tuple[str, StatementLine]
"""A seller and a line of it."""


def load_statements(
    client: Client, period: str, cards: Sequence[RateCard], *, seller_id: str | None = None
) -> list[Statement]:
    """The statements of a billing period, by seller and currency; of one seller if it is given.

    On it are the seller's lines of the period's invoices, and those of what was issued within the period to correct
    invoices: credit notes, and invoices in the place of others. Raises InvoiceError when a card that priced a record is not
    among the cards, StoreError.
    """
    lines: dict[tuple[str, str], list[StatementLine]] = {}
    for seller, line in (*_invoiced(client, period, cards), *_corrected(client, period, cards)):
        if seller_id in (None, seller):
            lines.setdefault((seller, line.currency), []).append(line)
    return [
        Statement(seller, period, currency, tuple(sorted(found, key=_order)))
        for (seller, currency), found in sorted(lines.items())
    ]


def _order(line: StatementLine) -> tuple[str, str, str, str]:
    return line.tenant_id, line.document_id or "", line.service_period, line.sku


def _invoiced(client: Client, period: str, cards: Sequence[RateCard]) -> Iterator[Sold]:
    with store_errors("looking for resold services"):
        rows = client.query(
            "SELECT DISTINCT tenant_id FROM rated WHERE billing_period = {period:String} AND seller_id != '' "
            "ORDER BY tenant_id",
            parameters={"period": period},
        ).result_rows
    tenants = [str(row[0]) for row in rows]
    first: dict[tuple[str, str], str] = {}
    for each in read_documents(client, tenants=tenants, period=period):
        draft = each.document.draft
        if draft.kind == "invoice" and draft.replaces is None:
            first[draft.tenant_id, draft.currency] = each.document.document_id
    for tenant_id in tenants:
        records = load_rated(client, tenant_id, period)
        parts = parts_of(records, cards)
        for seller, currency in sorted(_sold(records)):
            name = first.get((tenant_id, currency))
            for line in invoice_lines(tenant_id, seller, currency, records, parts, name):
                yield seller, line


def _sold(records: Sequence[RatedLine]) -> set[tuple[str, str]]:
    return {(each.seller_id, each.currency) for each in records if each.seller_id and each.currency}


def _corrected(client: Client, period: str, cards: Sequence[RateCard]) -> Iterator[Sold]:
    """The lines of what was issued in the period to correct an invoice, whatever the period of that invoice."""
    for invoice_id, wanted in _corrections(client, period_start(period), period_end(period)).items():
        invoice = load_document(client, invoice_id)
        draft = invoice.draft
        records = load_rated(client, draft.tenant_id, draft.period)
        parts = parts_of(records, cards)
        notes = [(each.document.document_id, each.document.draft) for each in read_documents(client, about=invoice_id)]
        for seller in sorted({line.seller_id for line in draft.lines if line.seller_id}):
            for line in credit_lines(draft, notes, seller, parts, wanted):
                yield seller, line
            if invoice_id in wanted:  # it replaces another one
                for line in invoice_lines(draft.tenant_id, seller, draft.currency, records, parts, invoice_id):
                    yield seller, line


def _corrections(client: Client, start: datetime, end: datetime) -> dict[str, set[str]]:
    """The credit notes that were issued in a stretch of time, by their invoice, and the invoices in place of others, by
    their own id."""
    with store_errors("looking for credit notes"):
        rows = client.query(
            f"SELECT if(kind = 'credit_note', corrects, document_id), document_id FROM {TABLE} "
            "WHERE (kind = 'credit_note' OR replaces != '') "
            "AND issued_at >= parseDateTimeBestEffort({start:String}, 'UTC') "
            "AND issued_at < parseDateTimeBestEffort({end:String}, 'UTC') ORDER BY position",
            parameters={"start": f"{start:%Y-%m-%dT%H:%M:%SZ}", "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"},
        ).result_rows
    found: dict[str, set[str]] = {}
    for invoice_id, document_id in rows:
        found.setdefault(str(invoice_id), set()).add(str(document_id))
    return found
