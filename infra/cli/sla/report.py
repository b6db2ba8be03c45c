"""`tokenmill sla report`: promised, measured, credited."""

from __future__ import annotations

import sys

import click

from infra.cli.local_store import store_of
from infra.cli.options import STORE, Month, with_settings
from infra.cli.output import print_json, working
from infra.cli.sla.view import judged_json, show
from infra.clickhouse import connect
from infra.config import Settings


@click.command(
    epilog="""\b
Examples:
  tokenmill sla report --period 2026-01
  tokenmill sla report --period 2026-01 --tenant tenant-0001 --json

How it is measured: docs/invoices.md"""
)
@click.option("--period", type=Month(), required=True, help="billing period YYYY-MM")
@click.option("--tenant", default=None, help="one tenant; default: all")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*STORE)
def report(settings: Settings, period: str, tenant: str | None, as_json: bool) -> None:
    """Show each service level of the tenants' cards beside what was measured, and what it gives. Issues nothing.

    Exit code 1 if one was missed.
    """
    from sinks.invoices import load_cards
    from sinks.sla import judge_period

    with store_of(settings) as clickhouse, working("asking ClickHouse"):
        client = connect(clickhouse)
        found = judge_period(client, load_cards(client, settings), period, tenant=tenant)
    if as_json:
        print_json({"service_levels": [judged_json(each) for each in found]})
    elif not found:
        click.echo(f"no service level: no card that charges {tenant or 'anybody'} in {period} has any")
    else:
        show(found, period)
    sys.exit(1 if any(each.verdict.credit is not None for each in found) else 0)
