"""`tokenmill seller statement`: a seller's part of what tenants were charged."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from infra.cli.invoice_view import print_whole
from infra.cli.local_store import store_of
from infra.cli.options import STORE, Month, with_settings
from infra.cli.output import print_json, remark, table, working
from infra.clickhouse import connect
from infra.config import Settings

if TYPE_CHECKING:
    from rating.statements import Statement, StatementLine


@click.command(
    epilog="""\b
Examples:
  tokenmill seller statement --period 2026-01
  tokenmill seller statement --period 2026-01 --seller mistral-labs --json

How it is shared: docs/marketplace.md"""
)
@click.option("--period", type=Month(), required=True, help="billing period YYYY-MM")
@click.option("--seller", "seller_id", default=None, help="one seller; default: all")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*STORE)
def statement(settings: Settings, period: str, seller_id: str | None, as_json: bool) -> None:
    """Show what tenants were charged for a seller's SKUs, and the parts of seller and operator by the cards' rules.

    The amounts are those of the invoices, less the credit notes that were issued in the period. Exit code 1 if a line has
    no rule: it is in no sum.
    """
    from sinks.invoices import load_cards
    from sinks.statements import load_statements

    with store_of(settings) as clickhouse, working("asking ClickHouse"):
        client = connect(clickhouse)
        found = load_statements(client, period, load_cards(client, settings), seller_id=seller_id)
    if as_json:
        print_json({"statements": [_json(each) for each in found]})
    elif not found:
        click.echo(f"no statement: nothing of {seller_id or 'any seller'} is charged in {period}")
    else:
        for each in found:
            _show(each)
    sys.exit(1 if any(each.without_rule for each in found) else 0)


def _show(found: Statement) -> None:
    state = "final" if found.final else "not final"
    title = f"Statement of {escape(found.seller_id)} for {found.period} in {found.currency} ({state})"
    made = table(title, "line", "share", "gross", "seller", "operator")
    tenant = None
    for line in found.lines:
        if line.tenant_id != tenant:
            tenant = line.tenant_id
            made.add_row(f"[bold]{escape(tenant)}[/]")
        share = " ".join(f"{percent.normalize():f}%" for percent in line.share_percents)
        parts = [_amount(line.seller_amount), _amount(line.operator_amount)]
        made.add_row(escape(f"  {line.sku}{_remark(line, found.period)}"), share, f"{line.gross:,f}", *parts)
    made.add_section()
    sums = (f"{found.gross:,f}", f"{found.seller_amount:,f}", f"{found.operator_amount:,f}")
    made.add_row("[bold]total[/]", "", *(f"[bold]{amount}[/]" for amount in sums))
    print_whole(made)
    for sku in sorted({line.sku for line in found.without_rule}):
        remark(f"{sku}: no revenue share of {found.seller_id} on the card that priced it, the line is in no sum")


def _remark(line: StatementLine, period: str) -> str:
    if line.kind in ("credit", "sla_credit"):
        return f" ({line.document_id}, for {line.service_period})"
    return "" if line.service_period == period else f" ({line.kind} for {line.service_period})"


def _amount(amount: object) -> str:
    return "no rule" if amount is None else f"{amount:,f}"


def _json(found: Statement) -> dict[str, object]:
    return {
        "seller": found.seller_id,
        "period": found.period,
        "currency": found.currency,
        "final": found.final,
        "gross": f"{found.gross:f}",
        "seller_amount": f"{found.seller_amount:f}",
        "operator_amount": f"{found.operator_amount:f}",
        "lines": [_line_json(line) for line in found.lines],
    }


def _line_json(line: StatementLine) -> dict[str, object]:
    from schemas.decimals import format_decimal

    return {
        "tenant": line.tenant_id,
        "sku": line.sku,
        "kind": line.kind,
        "service_period": line.service_period,
        "quantity": format_decimal(line.quantity),
        "unit": line.unit,
        "gross": f"{line.gross:f}",
        "share_percent": [format_decimal(percent) for percent in line.share_percents],
        "seller_amount": None if line.seller_amount is None else f"{line.seller_amount:f}",
        "operator_amount": None if line.operator_amount is None else f"{line.operator_amount:f}",
        "document_id": line.document_id,
    }
