"""`tokenmill invoice credit-note`: give back what a final invoice charged."""

from __future__ import annotations

import getpass
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from infra.cli.invoice.view import document_json, show_document
from infra.cli.local_store import store_of
from infra.cli.options import STORE, with_settings
from infra.cli.output import print_json
from infra.clickhouse import connect
from infra.config import Settings

if TYPE_CHECKING:
    from rating.documents import Document


class LineAmount(click.ParamType):
    """LINE=AMOUNT: the number or the SKU of a line, and an exact amount."""

    name = "line=amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Decimal]:
        """The line as it was named, and the amount."""
        from schemas.decimals import parse_decimal

        if isinstance(value, tuple):
            return value
        line, sign, text = str(value).rpartition("=")
        if not sign or not line:
            self.fail(f"{value!r} is not LINE=AMOUNT, such as 3=12.50 or model-00/output=12.50", param, ctx)
        try:
            return line, parse_decimal(text)
        except ValueError as error:
            self.fail(f"{text!r} {error}", param, ctx)


@click.command(
    "credit-note",
    epilog="""\b
Examples:
  tokenmill invoice credit-note acme-telco-000007 --all --reason "wrong name"
  tokenmill invoice credit-note acme-telco-000007 --reason "outage" \\
      --line model-00/output=12.50 --line 3=0.40""",
)
@click.argument("document_id", metavar="INVOICE")
@click.option("--line", "lines", type=LineAmount(), multiple=True, help="what of which line, by number or SKU")
@click.option("--all", "everything", is_flag=True, help="all that is left of the invoice")
@click.option("--reason", required=True, help="why; it stands on the credit note")
@click.option("--issuer", default=None, help="whose series of numbers; default: that of the invoice")
@click.option("--author", default=None, help="who issues; default: the user of this shell")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*STORE)
def credit_note(
    settings: Settings,
    document_id: str,
    lines: tuple[tuple[str, Decimal], ...],
    everything: bool,
    reason: str,
    issuer: str | None,
    author: str | None,
    as_json: bool,
) -> None:
    """Issue a credit note that names the final INVOICE and the lines that it corrects.

    Never more than what is left of a line. The same again (invoice, lines, reason) is a no-op; what is to be credited
    twice needs another reason.
    """
    from rating.credit_notes import CreditRequest
    from sinks.finalize import credit, load_document

    if everything == bool(lines):
        raise click.UsageError("say what is credited: --line LINE=AMOUNT, as often as needed, or --all")
    with store_of(settings) as clickhouse:
        client = connect(clickhouse)
        amounts = None if everything else _numbered(load_document(client, document_id), lines)
        made = credit(client, issuer, CreditRequest(document_id, reason, amounts), by=author or getpass.getuser())
    if as_json:
        print_json({**document_json(made.document), "issued": made.new})
        return
    show_document(made.document)
    if not made.new:
        click.echo(f"{made.document.document_id} was issued already: nothing changed")


def _numbered(invoice: Document, lines: tuple[tuple[str, Decimal], ...]) -> dict[int, Decimal]:
    """The amounts by number of the line. UsageError for a line that is not there, not unique or named twice."""
    found: dict[int, Decimal] = {}
    for name, amount in lines:
        numbers = [number for number, line in enumerate(invoice.draft.lines, 1) if line.sku == name]
        if not numbers and name.isdecimal():
            numbers = [int(name)]
        if len(numbers) != 1:
            there = f"lines {', '.join(map(str, numbers))} are" if numbers else "no line is"
            raise click.BadParameter(f"{there} {name!r} on {invoice.document_id}: give its number", param_hint="--line")
        if numbers[0] in found:
            raise click.BadParameter(f"line {name!r} is named twice", param_hint="--line")
        found[numbers[0]] = amount
    return found
