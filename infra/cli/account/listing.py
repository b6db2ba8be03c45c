"""`tokenmill account list`: who is priced by what."""

from __future__ import annotations

import click
from rich.markup import escape

from infra.cli.options import KAFKA, with_settings
from infra.cli.output import console, print_json, table, working
from infra.cli.ratecard.impact import short_instant
from infra.cli.reach import require_topics
from infra.config import Settings
from schemas.control import AccountAssigned
from schemas.instants import format_instant


@click.command(
    "list",
    epilog="""\b
Examples:
  tokenmill account list
  tokenmill account list --tenant acme --json""",
)
@click.option("--tenant", default=None, help="one tenant; default: all")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*KAFKA)
def list_accounts(settings: Settings, tenant: str | None, as_json: bool) -> None:
    """List the assignments: tenant, card, from, to, and prices of the tenant's own. '*' is the default card."""
    from producers.control import read_catalog

    require_topics(settings, settings.topics.rating_catalog)
    with working("reading the catalogue"):
        published = read_catalog(settings)
    found = sorted(
        (each for each in published.assignments.values() if tenant in (None, each.tenant_id)),
        key=lambda each: (each.tenant_id, each.effective_from),
    )
    if as_json:
        print_json({"assignments": [_json(each) for each in found]})
        return
    if not found:
        who = f"{tenant} has no assignment of its own" if tenant else "nobody is assigned"
        click.echo(f"{who}: tokenmill account assign {tenant or 'TENANT'} CARD --from ...")
        return
    made = table("Accounts", "tenant", "card", "from", "to", "own prices", text=["card", "from", "to", "own prices"])
    for each in found:
        prices = list(each.overrides or {})
        cells = (
            each.tenant_id,
            each.card_id + (f" ({each.plan})" if each.plan else ""),
            short_instant(each.effective_from),
            short_instant(each.effective_to),
            prices[0] + (f" + {len(prices) - 1}" if len(prices) > 1 else "") if prices else "",
        )
        made.add_row(*(escape(cell) for cell in cells))
    console.print(made)


def _json(assigned: AccountAssigned) -> dict[str, object]:
    return {
        "tenant": assigned.tenant_id,
        "card": assigned.card_id,
        "from": format_instant(assigned.effective_from),
        "to": format_instant(assigned.effective_to) if assigned.effective_to else None,
        "plan": assigned.plan,
        "overrides": assigned.overrides or {},
        "assigned_by": assigned.assigned_by,
    }
