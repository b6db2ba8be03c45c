"""`tokenmill invoice list|show|verify`: what was issued, and whether it is as it was issued."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from infra.cli.invoice.view import document_json, show_document
from infra.cli.invoice_view import print_whole
from infra.cli.local_store import store_of
from infra.cli.options import STORE, Month, with_settings
from infra.cli.output import print_json, table
from infra.clickhouse import connect
from infra.config import Settings

if TYPE_CHECKING:
    from rating.documents import Document


@click.command(
    "list",
    epilog="""\b
Examples:
  tokenmill invoice list --period 2026-01
  tokenmill invoice list --tenant tenant-0001 --json""",
)
@click.option("--tenant", default=None, help="of one tenant; default: all")
@click.option("--period", type=Month(), default=None, help="of one billing period; default: all")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*STORE)
def list_documents(settings: Settings, tenant: str | None, period: str | None, as_json: bool) -> None:
    """List the documents that were issued: invoices and credit notes."""
    from sinks.documents import read_documents

    with store_of(settings) as clickhouse:
        stored = read_documents(connect(clickhouse), tenants=None if tenant is None else [tenant], period=period)
    found = [each.document for each in stored]
    if as_json:
        print_json({"documents": [_summary(each) for each in found]})
        return
    if not found:
        click.echo("no document was issued yet: tokenmill invoice finalize")
        return
    made = table("Documents", "document", "tenant", "period", "total", "is", text=["tenant", "period", "is"])
    for each in found:
        draft = each.draft
        what = f"credit of {draft.corrects}" if draft.corrects else "invoice"
        replaces = f" for {draft.replaces}" if draft.replaces else ""
        total = f"{draft.total:,f} {draft.currency}"
        made.add_row(escape(each.document_id), escape(draft.tenant_id), draft.period, total, escape(what + replaces))
    print_whole(made)


def _summary(document: Document) -> dict[str, object]:
    content = document_json(document)
    return {name: value for name, value in content.items() if name not in ("lines", "unrated")}


@click.command(
    epilog="""\b
Examples:
  tokenmill invoice show acme-telco-000007
  tokenmill invoice show acme-telco-000007 --json"""
)
@click.argument("document_id", metavar="DOCUMENT")
@click.option("--json", "as_json", is_flag=True, help="print JSON: the content and its hash")
@with_settings(*STORE)
def show(settings: Settings, document_id: str, as_json: bool) -> None:
    """Show one DOCUMENT as it was issued."""
    from sinks.finalize import load_document

    with store_of(settings) as clickhouse:
        document = load_document(connect(clickhouse), document_id)
    if as_json:
        print_json(document_json(document))
    else:
        show_document(document)


@click.command(
    epilog="""\b
Example:
  tokenmill invoice verify"""
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*STORE)
def verify(settings: Settings, as_json: bool) -> None:
    """Check every document: numbers without gaps, contents by their hashes, each with the hash of the one before it.

    Exit code 1 if one was changed, removed or stored twice.
    """
    from sinks.documents import read_head
    from sinks.documents import verify as check

    with store_of(settings) as clickhouse:
        client = connect(clickhouse)
        problems = check(client)
        count = read_head(client).position
    if as_json:
        print_json({"documents": count, "problems": problems})
    for problem in () if as_json else problems:
        click.echo(problem)
    if not as_json and not problems:
        click.echo(f"{count} documents, all as they were issued")
    sys.exit(1 if problems else 0)
