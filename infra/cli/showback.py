"""`tokenmill showback`: what a tenant is charged, by project and API key."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import click
from rich.markup import escape

from infra.cli.invoice_view import print_whole, quantity_text
from infra.cli.local_store import store_of
from infra.cli.options import STORE, Month, with_settings
from infra.cli.output import print_json, table, working
from infra.clickhouse import connect
from infra.config import Settings

if TYPE_CHECKING:
    from rating.showback import Share
    from sinks.showback import Showback

By = Literal["project", "api-key", "both"]
NOBODY = "(not shared)"
_UNNAMED = "(none)"


@click.command(
    epilog="""\b
Examples:
  tokenmill showback --tenant acme --period 2026-01
  tokenmill showback --tenant acme --period 2026-01 --by api-key --lines
  tokenmill showback --tenant acme --period 2026-01 --spread --json

How it is shared: docs/invoices.md"""
)
@click.option("--tenant", required=True, help="whose invoice is shared")
@click.option("--period", type=Month(), required=True, help="billing period YYYY-MM")
@click.option(
    "--by", type=click.Choice(["project", "api-key", "both"]), default="project", show_default=True, help="over whom"
)
@click.option("--lines", is_flag=True, help="show each line of the invoice")
@click.option("--spread", is_flag=True, help="share fees and the like too, in proportion to the usage amounts")
@click.option("--json", "as_json", is_flag=True, help="print JSON: always every line, project and API key")
@with_settings(*STORE)
def showback(settings: Settings, tenant: str, period: str, by: By, lines: bool, spread: bool, as_json: bool) -> None:
    """Share what a tenant is charged over its projects and API keys, by the quantities that they used hour by hour.

    Exact: the shares have 12 decimals and sum to the amounts of the records. What belongs to no hour (fees, minimums,
    adjustments, credits) and usage without a project or key is nobody's, unless --spread shares it too.
    """
    from sinks.invoices import load_cards
    from sinks.showback import load_showback

    with store_of(settings) as clickhouse, working("asking ClickHouse"):
        client = connect(clickhouse)
        found = load_showback(client, settings, tenant, period, load_cards(client, settings), spread=spread)
    if as_json:
        print_json({"showback": [_json(each) for each in found]})
        return
    for each in found:
        _show(each, by, lines)
    if not found:
        click.echo(f"nothing is charged to {tenant} in {period}")


def _json(found: Showback) -> dict[str, object]:
    from schemas.decimals import format_decimal

    return {
        "tenant": found.tenant_id,
        "period": found.period,
        "currency": found.currency,
        "provisional": found.provisional,
        "exact_total": format_decimal(found.exact_total),
        "rounding": format_decimal(found.rounding),
        "invoice_total": f"{found.invoice_total:f}",
        "shares": [
            {
                "project": each.owner.project_id if each.owner else None,
                "api_key": each.owner.api_key_id if each.owner else None,
                "sku": each.sku,
                "meter": each.meter,
                "kind": each.kind,
                "service_period": each.service_period,
                "quantity": format_decimal(each.quantity),
                "unit": each.unit,
                "amount": format_decimal(each.amount),
            }
            for each in found.shares
        ],
    }


def _show(found: Showback, by: By, lines: bool) -> None:
    from rating.money import exact_sum

    state = "provisional" if found.provisional else "final amounts"
    title = f"Showback of {escape(found.tenant_id)} for {found.period} in {found.currency} ({state})"
    heading = {"project": "project", "api-key": "API key", "both": "project, API key"}[by]
    made = table(title, heading, *(["quantity", "unit"] if lines else ["share"]), "amount", text=["unit"])
    groups: dict[str, list[Share]] = {}
    for each in found.shares:
        groups.setdefault(_name(each, by), []).append(each)
    # Nobody's last, as the shares come.
    for name in sorted(groups, key=lambda name: (name == NOBODY, name)):
        amount = exact_sum(each.amount for each in groups[name])
        cells = ["", ""] if lines else [_percent(amount, found.exact_total)]
        made.add_row(escape(name), *cells, _exact(amount))
        for sku, quantity, unit, part in _by_line(groups[name]) if lines else ():
            made.add_row(f"  {escape(sku)}", quantity_text(quantity), escape(unit), _exact(part), style="dim")
    made.add_section()
    rest = ["", ""] if lines else [""]
    if found.rounding:
        made.add_row("rounding of the invoice's lines", *rest, _exact(found.rounding))
    made.add_row("[bold]invoice[/]", *rest, f"[bold]{_exact(found.invoice_total)}[/]")
    print_whole(made)


def _name(share: Share, by: By) -> str:
    if share.owner is None:
        return NOBODY
    project, api_key = (name or _UNNAMED for name in share.owner)
    return {"project": project, "api-key": api_key, "both": f"{project}, {api_key}"}[by]


def _by_line(shares: Iterable[Share]) -> list[tuple[str, Decimal, str, Decimal]]:
    from rating.money import exact_sum

    groups: dict[tuple[str, str, str], list[Share]] = {}
    for each in shares:
        groups.setdefault((each.sku, each.kind, each.service_period), []).append(each)
    return [
        (
            sku if kind == "usage" else f"{sku} ({kind})",
            exact_sum(each.quantity for each in group),
            group[0].unit,
            exact_sum(each.amount for each in group),
        )
        for (sku, kind, _), group in sorted(groups.items())
    ]


def _exact(amount: Decimal) -> str:
    from schemas.decimals import format_decimal

    return format_decimal(amount)


def _percent(amount: Decimal, total: Decimal) -> str:
    return f"{float(amount / total):.1%}" if total else ""
