"""`tokenmill account`: which card prices which tenant."""

import getpass
from datetime import UTC, datetime

import click

from infra.cli.options import with_settings
from infra.cli.output import print_json
from infra.config import Settings


class Instant(click.ParamType):
    """An RFC 3339 instant; a date alone is its midnight in UTC."""

    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The aware datetime of a text."""
        if isinstance(value, datetime):
            return value
        try:
            instant = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not an instant such as 2026-01-01T00:00:00Z", param, ctx)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


@click.group()
def account() -> None:
    """Accounts: which rate card prices which tenant."""


@account.command(
    epilog="""\b
Examples:
  tokenmill account assign tenant-0001 standard --from 2026-01-01
  tokenmill account assign '*' standard --from 2026-01-01     the default card"""
)
@click.argument("tenant")
@click.argument("card")
@click.option("--from", "start", type=Instant(), required=True, help="first instant, RFC 3339 or a date (UTC)")
@click.option("--to", "end", type=Instant(), default=None, help="first instant that is no longer in it")
@click.option("--author", default=None, help="who assigns; default: the user of this shell")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(logs="warning")
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

    with ControlWriter(settings, author or getpass.getuser()) as writer:
        new = writer.assign(tenant, card, start, end)
    if as_json:
        print_json({"tenant": tenant, "card": card, "assigned": new})
        return
    click.echo(f"{tenant} {'is priced' if new else 'was priced already'} by {card} from {start.isoformat()}")
