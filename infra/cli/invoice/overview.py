"""`tokenmill invoice` alone: where each invoice stands, with its lines."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import click

from infra.cli.invoice.view import document_json, show_document, stage_text
from infra.cli.invoice_view import invoice_json, show_invoice
from infra.cli.local_store import store_of
from infra.cli.output import console, print_json, working
from infra.clickhouse import connect
from infra.config import Settings

if TYPE_CHECKING:
    from rating.documents import Document, Draft, Stage
    from rating.invoices import Invoice


def show_invoices(settings: Settings, tenant: str | None, period: str | None, *, as_json: bool) -> None:
    """Print the invoices of a tenant and a period, final ones as they were issued."""
    from rating.documents import stage_of
    from rating.windows import period_end
    from sinks.finalize import Account, event_times, read_issued
    from sinks.invoices import list_invoices, load_cards, load_in_chunks

    found: list[tuple[Invoice, Stage, Document | None, list[Draft]]] = []
    with store_of(settings) as clickhouse, working("asking ClickHouse"):
        client = connect(clickhouse)
        cards = load_cards(client, settings)
        summaries = [each for each in list_invoices(client, period) if tenant in (None, each.tenant_id)]
        issued = read_issued(client, (each.tenant_id for each in summaries))
        reached = event_times(client)
        for made in chain.from_iterable(load_in_chunks(client, summaries, cards)):
            document = issued.invoice(Account(made.tenant_id, made.currency), made.period)
            over = made.tenant_id in reached and reached[made.tenant_id] >= period_end(made.period)
            stage = stage_of(made, period_over=over, issued=document is not None)
            found.append((made, stage, document, issued.notes(document.document_id) if document else []))
    if as_json:
        print_json({"invoices": [_json(*each) for each in found]})
        return
    for made, stage, document, notes in found:
        if document is None:
            show_invoice(made, stage_text(stage))
            continue
        show_document(document)
        for note in notes:
            console.print(f"  credited: {note.total:,f} {note.currency} ({note.reason})", markup=False, soft_wrap=True)
    if not found:
        click.echo("no invoice: nothing is charged to " + (tenant or "anybody") + (f" in {period}" if period else ""))


def _json(made: Invoice, stage: Stage, document: Document | None, notes: list[Draft]) -> dict[str, object]:
    """As rated, with the document that was issued, if there is one."""
    issued: dict[str, object] = {}
    if document is not None:
        issued["document"] = document_json(document)
        issued["credited"] = [{"total": f"{note.total:f}", "reason": note.reason} for note in notes]
    return {**invoice_json(made), "stage": stage, **issued}
