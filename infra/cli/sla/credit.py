"""`tokenmill sla credit`: credit notes for missed service levels."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from infra.cli.invoice.view import document_json
from infra.cli.invoice_view import print_whole
from infra.cli.local_store import store_of
from infra.cli.options import STORE, Month, with_settings
from infra.cli.output import console, print_json, remark, table, working
from infra.clickhouse import connect
from infra.config import Settings

if TYPE_CHECKING:
    from rating.documents import Document


@click.command(
    epilog="""\b
Examples:
  tokenmill sla credit --period 2026-01
  tokenmill sla credit --period 2026-01 --tenant tenant-0001 --json"""
)
@click.option("--period", type=Month(), required=True, help="billing period YYYY-MM")
@click.option("--tenant", default=None, help="one tenant; default: all")
@click.option("--author", default=None, help="who issues; default: the user of this shell")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*STORE)
def credit(settings: Settings, period: str, tenant: str | None, author: str | None, as_json: bool) -> None:
    """Issue a credit note for each missed service level of a final invoice, with the measurement that it rests on.

    Once for each invoice and level: repeating it changes nothing, also when late usage has since changed what is measured.
    Exit code 1 if an invoice with a missed level is not final yet.
    """
    from sinks.invoices import load_cards
    from sinks.sla import book, judge_period

    waiting = []
    notes = []
    with store_of(settings) as clickhouse, working("asking ClickHouse"):
        client = connect(clickhouse)
        for each in judge_period(client, load_cards(client, settings), period, tenant=tenant):
            if each.verdict.credit is not None and each.invoice is None:
                waiting.append(each)
            made = book(client, each, by=author or getpass.getuser())
            if made is not None and made.new:
                notes.append(made.document)
    if as_json:
        print_json(
            {"issued": [document_json(each) for each in notes], "not_final": [each.tenant_id for each in waiting]}
        )
    else:
        _show(notes)
    for each in waiting:
        remark(f"{each.tenant_id}: {each.verdict.term.sku} was missed, but the invoice of {period} is not final yet")
    sys.exit(1 if waiting else 0)


def _show(notes: list[Document]) -> None:
    if not notes:
        click.echo("nothing new to credit")
        return
    made = table("Credit notes", "document", "tenant", "total", "corrects", text=["tenant", "corrects"])
    for note in notes:
        total = f"{note.draft.total:,f} {note.draft.currency}"
        made.add_row(*map(escape, (note.document_id, note.draft.tenant_id, total, note.draft.corrects or "")))
    print_whole(made)
    for note in notes:
        console.print(f"  {note.document_id}: {note.draft.reason}", markup=False, soft_wrap=True)
