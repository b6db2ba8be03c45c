"""`tokenmill wallet grant`: a tenant gets prepaid credits."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import click

from infra.cli.options import KAFKA, Instant, with_settings
from infra.cli.output import print_json, remark
from infra.cli.wallet.ordering import Amount, made, new_id, now, send, who_and_why
from infra.config import Settings
from rating.money import exact_decimal, plain, to_scaled
from rating.wallets import Coverage, Grant, decimals_of
from rating.windows import WindowSize
from schemas.instants import format_instant
from schemas.wallets import Covered, WalletGranted


class Covers(click.ParamType):
    """What credits pay: SKU[=CREDITS[/UNITS]]."""

    name = "sku[=credits/units]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Coverage:
        """The pattern, and how many credits so many units cost: 1 of 1 if left out."""
        sku, sign, rate = str(value).rpartition("=")
        credits, _, units = rate.partition("/") if sign else ("1", "", "1")
        try:
            return Coverage(sku if sign else str(value), exact_decimal(credits), exact_decimal(units or "1"))
        except ValueError as error:
            self.fail(f"{error}; write SKU=CREDITS/UNITS, such as '*/output=3/1000'", param, ctx)


@click.command(
    short_help="Give a tenant prepaid credits.",
    epilog="""\b
Credits pay by priority, then expiry, then creation. Repeating a command with
the same --id changes nothing.

\b
Examples:
  tokenmill wallet grant acme 500 --unit USD --id po-4711 --low-balance 50
  tokenmill wallet grant acme 10000000 --unit tokens --expires 2027-01-01
  tokenmill wallet grant acme 100 --unit USD --every month --rollover 20
  tokenmill wallet grant acme 1000 --unit points --covers '*/output=3/1000' \\
      --covers '*/input=1/1000'""",
)
@click.argument("tenant")
@click.argument("amount", type=Amount())
@click.option("--unit", required=True, help="a currency, tokens, gpu_hours, or a name of your own with --covers")
@click.option("--id", "grant_id", default=None, help="names the grant, e.g. the purchase order; default: from the time")
@click.option("--from", "start", type=Instant(), default=None, help="pays usage from then on; default: now")
@click.option("--expires", "end", type=Instant(), default=None, help="pays usage before; default: never expires")
@click.option("--priority", type=click.IntRange(0, 1_000_000), default=100, show_default=True, help="lower pays first")
@click.option("--every", type=click.Choice(["day", "month"]), default=None, help="filled up anew each day or month")
@click.option("--rollover", type=Amount(), default=None, help="with --every: how much unused is carried over")
@click.option("--covers", type=Covers(), multiple=True, help="SKU or pattern it pays, with its price in credits")
@click.option("--no-overage", is_flag=True, help="without credits gateways are told to stop")
@click.option("--low-balance", type=Amount(), default=None, help="signal low_balance at this balance or below")
@who_and_why
@with_settings(*KAFKA)
def grant(
    settings: Settings,
    tenant: str,
    amount: Decimal,
    unit: str,
    grant_id: str | None,
    start: datetime | None,
    end: datetime | None,
    priority: int,
    every: str | None,
    rollover: Decimal | None,
    covers: tuple[Coverage, ...],
    no_overage: bool,
    low_balance: Decimal | None,
    reason: str | None,
    author: str | None,
    as_json: bool,
) -> None:
    """Give TENANT prepaid credits: AMOUNT of a currency, or of compute credits such as tokens."""
    record = made(
        WalletGranted,
        author,
        tenant_id=tenant,
        grant_id=grant_id or new_id("grant"),
        unit=unit,
        amount=amount,
        effective_from=start or now(),
        expires_at=end,
        priority=priority,
        every=every,
        rollover=rollover,
        covers=tuple(Covered(skus=each.skus, credits=each.credits, per=each.per) for each in covers),
        overage=not no_overage,
        low_balance=low_balance,
        reason=reason,
    )
    _check(settings, record, covers)
    new = send(settings, record)
    if as_json:
        print_json({**record.model_dump(mode="json", exclude_none=True), "ordered": new})
        return
    verb = "gets" if new else "got already"
    click.echo(f"{tenant} {verb} {plain(amount)} {unit} as {record.grant_id}, {_when(record)}")
    if new and grant_id is None:
        remark("Give --id to make repeating this command safe.")


def _check(settings: Settings, record: WalletGranted, covers: tuple[Coverage, ...]) -> None:
    """That the worker will take it. Raises WalletError, MoneyError."""
    window, decimals = WindowSize(settings.window_minutes), decimals_of(record.unit)
    first = window.index_of(record.effective_from)
    if record.expires_at is not None and record.expires_at <= record.effective_from:
        raise click.BadParameter("must be after the beginning", param_hint="--expires")
    Grant(
        tenant_id=record.tenant_id,
        id=record.grant_id,
        unit=record.unit,
        amount=to_scaled(record.amount, decimals),
        first=first,
        created_us=0,
        priority=record.priority,
        every=record.every,
        rollover=to_scaled(record.rollover or Decimal(0), decimals),
        covers=covers,
        low_balance=None if record.low_balance is None else to_scaled(record.low_balance, decimals),
    )


def _when(record: WalletGranted) -> str:
    start = f"from {format_instant(record.effective_from)}"
    end = f" to {format_instant(record.expires_at)}" if record.expires_at else ""
    return f"{start}{end}{f', anew every {record.every}' if record.every else ''}"
