"""`tokenmill invoice`: a tenant's invoice, line by line."""

import click

from infra.cli.invoice_view import invoice_json, show_invoice
from infra.cli.local_store import store_of
from infra.cli.options import STORE, Month, with_settings
from infra.cli.output import print_json
from infra.clickhouse import connect
from infra.config import Settings


@click.command(
    epilog="""\b
Examples:
  tokenmill invoice --tenant tenant-0001 --period 2026-01
  tokenmill invoice --period 2026-01 --json         every tenant of that month"""
)
@click.option("--tenant", default=None, help="one tenant; default: all")
@click.option("--period", type=Month(), default=None, help="billing period YYYY-MM; default: all")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*STORE)
def invoice(settings: Settings, tenant: str | None, period: str | None, as_json: bool) -> None:
    """Show invoices with their lines and tiers. Each line is rounded once to its currency; the total is their sum."""
    from sinks.invoices import list_invoices, load_cards, load_invoice

    with store_of(settings) as clickhouse:
        client = connect(clickhouse)
        cards = load_cards(client, settings)
        invoices = [
            load_invoice(client, each.tenant_id, each.period, cards, each.currency)
            for each in list_invoices(client, period)
            if tenant in (None, each.tenant_id)
        ]
    if as_json:
        print_json({"invoices": [invoice_json(each) for each in invoices]})
        return
    for each in invoices:
        show_invoice(each)
    if not invoices:
        click.echo("no invoice: nothing is charged to " + (tenant or "anybody") + (f" in {period}" if period else ""))
