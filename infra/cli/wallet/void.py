"""`tokenmill wallet void`: what is unused of a grant is taken back."""

from __future__ import annotations

from datetime import datetime

import click

from infra.cli.options import KAFKA, Instant, with_settings
from infra.cli.output import print_json
from infra.cli.wallet.ordering import made, now, send, who_and_why
from infra.config import Settings
from schemas.instants import format_instant
from schemas.wallets import WalletVoided


@click.command(
    short_help="Take back what is unused of a grant.",
    epilog="""\b
Usage before --from stays paid. A closed month's debits always stay.

\b
Examples:
  tokenmill wallet void acme po-4711 --reason 'paid back'
  tokenmill wallet void acme po-4711 --from 2026-03-01""",
)
@click.argument("tenant")
@click.argument("grant")
@click.option("--from", "start", type=Instant(), default=None, help="pays no usage from then on; default: now")
@who_and_why
@with_settings(*KAFKA)
def void(
    settings: Settings,
    tenant: str,
    grant: str,
    start: datetime | None,
    reason: str | None,
    author: str | None,
    as_json: bool,
) -> None:
    """Take back what is unused of the GRANT of a TENANT: it pays no more from an instant on."""
    fields = {"tenant_id": tenant, "grant_id": grant, "effective_from": start or now(), "reason": reason}
    record = made(WalletVoided, author, **fields)
    new = send(settings, record)
    if as_json:
        print_json({**record.model_dump(mode="json", exclude_none=True), "ordered": new})
        return
    verb = "ends" if new else "was ended already"
    click.echo(f"{grant} of {tenant} {verb}: it pays no usage from {format_instant(record.effective_from)}")
