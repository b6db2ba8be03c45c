"""`tokenmill wallet transfer`: unused credits go to another tenant."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import click

from infra.cli.options import KAFKA, Instant, with_settings
from infra.cli.output import print_json, remark
from infra.cli.wallet.ordering import Amount, made, new_id, now, send, who_and_why
from infra.config import Settings
from rating.money import plain, to_scaled
from rating.wallets import decimals_of
from schemas.wallets import WalletTransferred


@click.command(
    short_help="Move unused credits to another tenant.",
    epilog="""\b
The giving tenant's worker decides: all of AMOUNT, or nothing when less is left;
then the order is among the dead letters (tokenmill tail dlq).

\b
Examples:
  tokenmill wallet transfer acme globex 100 --unit USD --id move-7
  tokenmill wallet transfer acme globex 5 --unit gpu_hours --grant po-4711""",
)
@click.argument("giver", metavar="FROM")
@click.argument("receiver", metavar="TO")
@click.argument("amount", type=Amount())
@click.option("--unit", required=True, help="credits of which unit")
@click.option("--id", "transfer_id", default=None, help="names the transfer; default: from the time")
@click.option("--grant", "grant_id", default=None, help="only from this grant; default: from all, in burn order")
@click.option(
    "--from", "start", type=Instant(), default=None, help="the receiver's pay usage from then on; default: now"
)
@who_and_why
@with_settings(*KAFKA)
def transfer(
    settings: Settings,
    giver: str,
    receiver: str,
    amount: Decimal,
    unit: str,
    transfer_id: str | None,
    grant_id: str | None,
    start: datetime | None,
    reason: str | None,
    author: str | None,
    as_json: bool,
) -> None:
    """Move unused credits from one tenant to another, with their expiry, priority and what they pay."""
    record = made(
        WalletTransferred,
        author,
        tenant_id=giver,
        transfer_id=transfer_id or new_id("transfer"),
        to_tenant_id=receiver,
        unit=unit,
        amount=amount,
        grant_id=grant_id,
        effective_from=start or now(),
        reason=reason,
    )
    if to_scaled(amount, decimals_of(unit)) <= 0:
        raise click.BadParameter("must be above 0", param_hint="AMOUNT")
    new = send(settings, record)
    if as_json:
        print_json({**record.model_dump(mode="json", exclude_none=True), "ordered": new})
        return
    verb = "is ordered" if new else "was ordered already"
    click.echo(f"{record.transfer_id} {verb}: {plain(amount)} {unit} from {giver} to {receiver}")
    if new:
        remark("The worker decides by what is left: tokenmill wallet show tells.")
