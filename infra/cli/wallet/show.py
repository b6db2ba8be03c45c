"""`tokenmill wallet show`: what is left of prepaid credits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from infra.cli.options import KAFKA, with_settings
from infra.cli.output import console, print_json, table, working
from infra.cli.reach import require_topics
from infra.cli.status.signals_look import Said, topic_signals
from infra.config import Settings
from schemas.instants import format_instant

if TYPE_CHECKING:
    from producers.wallets import OrderedWallets

_POLICY = "wallet/"
_COLOURS = {"sufficient": "green", "low": "yellow", "exhausted": "red"}


@click.command(
    short_help="What is left; exit code 1 when it is low.",
    epilog="""\b
Balances are those of the latest usage that was read: `as of` is its time. What
belongs to a whole month, such as a minimum, is paid at the month's end.

\b
Examples:
  tokenmill wallet show
  tokenmill wallet show acme --json""",
)
@click.argument("tenant", required=False)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*KAFKA)
def show(settings: Settings, tenant: str | None, as_json: bool) -> None:
    """Show the balance of every wallet, or of TENANT with its grants. The exit code is 1 when one is low or exhausted."""
    from producers.wallets import read_wallets

    require_topics(settings, settings.topics.rating_catalog, settings.topics.usage_signals)
    with working("reading the wallets"):
        ordered = read_wallets(settings)
        found = sorted(
            said
            for said in topic_signals(settings)
            if said.policy.startswith(_POLICY) and tenant in (None, said.tenant)
        )
    waiting = _waiting(ordered, found, tenant)
    if as_json:
        wallets = [{"tenant": said.tenant, "as_of": format_instant(said.time), **said.data} for said in found]
        print_json({"wallets": wallets, "not_in_force": waiting})
    elif not found and not waiting:
        who = f"{tenant} has no" if tenant else "nobody has"
        click.echo(f"{who} prepaid credits: tokenmill wallet grant {tenant or 'TENANT'} AMOUNT --unit USD")
    else:
        _print(found, waiting, with_grants=tenant is not None)
    if any(said.data.get("level") != "sufficient" for said in found):
        click.get_current_context().exit(1)


def _waiting(ordered: OrderedWallets, found: Iterable[Said], tenant: str | None) -> list[dict[str, Any]]:
    """The grants that were ordered and are not in force: not read yet, not begun, used up, expired or voided."""
    in_force = {(said.tenant, str(grant["id"])) for said in found for grant in said.data.get("grants", [])}
    return [
        {
            "tenant": key[0],
            **record.model_dump(mode="json", exclude_none=True, exclude={"tenant_id"}),
            "voided": key in ordered.voids,
        }
        for key, record in sorted(ordered.grants.items())
        if tenant in (None, key[0]) and key not in in_force
    ]


def _print(found: list[Said], waiting: list[dict[str, Any]], *, with_grants: bool) -> None:
    text = ["unit", "level"]
    made = table("Wallets", "tenant", "unit", "balance", "granted", "drawn", "expired", "moved", "level", text=text)
    for said in found:
        data = said.data
        gone = Decimal(data["voided"]) + Decimal(data["transferred"])
        level = str(data["level"])
        made.add_row(
            escape(said.tenant),
            str(data["unit"]),
            f"[bold]{_text(data['balance'])}[/]",
            *(_text(data[name]) for name in ("granted", "drawn", "expired")),
            f"{gone:,f}",
            f"[{_COLOURS.get(level, 'white')}]{level}{'' if data['overage'] else ', no overage'}[/]",
        )
    if found:
        console.print(made)
        console.print(f"as of {format_instant(max(said.time for said in found))}; moved: voided and transferred")
    if with_grants and found:
        _print_grants(found)
    if waiting and (with_grants or not found):
        console.print("Granted, and not in force (not read yet, not begun, used up, expired or voided):")
        for each in waiting:
            voided = ", voided" if each["voided"] else ""
            name = escape(f"{each['tenant']} {each['grant_id']}")
            console.print(f"  {name}: {_text(each['amount'])} {each['unit']} from {each['effective_from']}{voided}")


def _print_grants(found: list[Said]) -> None:
    made = table(
        "Grants in force, in burn order", "grant", "left", "unit", "priority", "expires", text=["unit", "expires"]
    )
    for said in found:
        for grant in said.data["grants"]:
            expires = str(grant["expires_at"] or "")
            cells = (
                _text(grant["left"]),
                said.data["unit"],
                str(grant["priority"]),
                expires.removesuffix("T00:00:00Z"),
            )
            made.add_row(escape(str(grant["id"])), *cells)
    console.print(made)


def _text(amount: Mapping[str, Any] | str) -> str:
    return f"{Decimal(str(amount)):,f}"
