"""`tokenmill invoice`: a tenant's invoices, line by line, from the first draft to the final document and its credits."""

import click

from infra.cli.invoice.credit_note import credit_note
from infra.cli.invoice.documents import list_documents, show, verify
from infra.cli.invoice.finalize import finalize
from infra.cli.invoice.overview import show_invoices
from infra.cli.options import STORE, Month, with_settings
from infra.config import Settings


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  tokenmill invoice --tenant tenant-0001 --period 2026-01
  tokenmill invoice --period 2026-01 --json         every tenant of that month
  tokenmill invoice finalize --issuer acme-telco --period 2026-01
  tokenmill invoice credit-note acme-telco-000007 --all --reason "wrong name\"""",
)
@click.option("--tenant", default=None, help="one tenant; default: all")
@click.option("--period", type=Month(), default=None, help="billing period YYYY-MM; default: all")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*STORE)
@click.pass_context
def invoice(context: click.Context, settings: Settings, tenant: str | None, period: str | None, as_json: bool) -> None:
    """Show invoices with their lines and tiers. Each line is rounded once to its currency; the total is their sum.

    An invoice is a draft while its month is open, in grace while late usage may change it, closed afterwards, and final
    once `finalize` has issued its document. A document never changes: adjustments and credit notes correct it.
    """
    if context.invoked_subcommand is None:
        show_invoices(settings, tenant, period, as_json=as_json)
    elif tenant is not None or period is not None or as_json:
        raise click.UsageError(f"put options behind the command: tokenmill invoice {context.invoked_subcommand} ...")


for _command in (finalize, credit_note, list_documents, show, verify):
    invoice.add_command(_command)
