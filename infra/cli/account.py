"""`tokenmill account`: which card prices which tenant."""

import getpass
from datetime import datetime

import click

from infra.cli.options import KAFKA, Instant, with_settings
from infra.cli.output import print_json
from infra.cli.reach import require_topics
from infra.config import Settings


@click.group(
    epilog="""\b
Example:
  tokenmill account assign tenant-0001 standard --from 2026-01-01"""
)
def account() -> None:
    """Accounts: which rate card prices which tenant."""


@account.command(
    epilog="""\b
Examples:
  tokenmill account assign tenant-0001 standard --from 2026-01-01
  tokenmill account assign '*' standard --from 2026-01-01   the default card"""
)
@click.argument("tenant")
@click.argument("card")
@click.option("--from", "start", type=Instant(), required=True, help="first instant, RFC 3339 or a date (UTC)")
@click.option("--to", "end", type=Instant(), default=None, help="first instant that is no longer in it")
@click.option("--author", default=None, help="who assigns; default: the user of this shell")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*KAFKA)
def assign(
    settings: Settings,
    tenant: str,
    card: str,
    start: datetime,
    end: datetime | None,
    author: str | None,
    as_json: bool,
) -> None:
    """Price TENANT by CARD from an instant on. '*' is every tenant without an assignment of its own."""
    from producers.control import ControlWriter

    if end is not None and end <= start:
        raise click.BadParameter("must be after --from", param_hint="--to")
    require_topics(settings, settings.topics.rating_catalog, settings.topics.usage_events)
    with ControlWriter(settings, author or getpass.getuser()) as writer:
        new = writer.assign(tenant, card, start, end)
    if as_json:
        print_json({"tenant": tenant, "card": card, "assigned": new})
        return
    click.echo(f"{tenant} {'is priced' if new else 'was priced already'} by {card} from {start.isoformat()}")
