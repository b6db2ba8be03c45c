"""`tokenmill kpi`: the figures of the factory, from what counts."""

from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

import click

from infra.cli.local_store import store_of
from infra.cli.options import STORE, Instant, with_settings
from infra.cli.output import print_json, working
from infra.clickhouse import connect
from infra.config import Settings

GROUPS = ("tokens", "performance", "reliability", "governance", "economics")


class Money(click.ParamType):
    """An amount as an exact decimal, at least 0."""

    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """The decimal of a text."""
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"{value!r} is not an amount such as 3.00", param, ctx)
        if not amount.is_finite() or amount < 0:
            self.fail(f"{value!r} is not an amount of at least 0", param, ctx)
        return amount


class WholeHour(Instant):
    """An instant at the beginning of an hour: money is known per hour."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The aware datetime of a text."""
        instant = super().convert(value, param, ctx)
        if instant - instant.replace(minute=0, second=0, microsecond=0) != timedelta(0):
            self.fail(f"{value!r} is not a full hour: KPIs are known per hour, such as 2026-01-01T07:00Z", param, ctx)
        return instant


@click.command(
    epilog="""\b
Examples:
  tokenmill kpi                             every group, by model
  tokenmill kpi tokens --by day --per tenant --from 2026-01-01 --to 2026-02-01
  tokenmill kpi performance --model llama-70b --by hour
  tokenmill kpi economics --gpu-hour-cost 2.10 --json

What each figure means: docs/kpis.md"""
)
@click.argument("group", type=click.Choice(GROUPS), required=False)
@click.option("--tenant", default=None, help="of one tenant only")
@click.option("--model", default=None, help="of one model only")
@click.option("--from", "start", type=WholeHour(), default=None, help="first hour, UTC; default: all")
@click.option("--to", "end", type=WholeHour(), default=None, help="up to this hour, which is not part; default: all")
@click.option("--by", type=click.Choice(["hour", "day", "month"]), default=None, help="one row for each of these")
@click.option(
    "--per",
    type=click.Choice(["tenant", "model", "endpoint", "all"]),
    multiple=True,
    help="split by this; may be given several times; default: model, and all with --by",
)
@click.option(
    "--ttft-s",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    help="goodput: the first token within this many seconds ...",
)
@click.option(
    "--inter-token-s",
    type=click.FloatRange(0, min_open=True),
    default=0.2,
    show_default=True,
    help="... and this long from token to token, on average",
)
@click.option(
    "--gpu-hour-cost", type=Money(), default="3.00", show_default=True, help="what a GPU-hour costs or rents for"
)
@click.option("--currency", default="USD", show_default=True, help="the currency of that cost")
@click.option("--json", "as_json", is_flag=True, help="print JSON; amounts are texts")
@with_settings(*STORE)
def kpi(
    settings: Settings,
    group: str | None,
    tenant: str | None,
    model: str | None,
    start: datetime | None,
    end: datetime | None,
    by: str | None,
    per: tuple[str, ...],
    ttft_s: float,
    inter_token_s: float,
    gpu_hour_cost: Decimal,
    currency: str,
    as_json: bool,
) -> None:
    """Show token usage, performance, reliability, governance and economics.

    Everything is computed from what counts: raw usage less what was not counted, and the rated records. So the tokens are
    those of the invoices.
    """
    from infra.cli.kpi.report import collect
    from infra.cli.kpi.screen import show
    from sinks.kpi_scope import Scope
    from sinks.kpi_usage import Objective

    if start is not None and end is not None and end <= start:
        raise click.BadParameter("must be after --from", param_hint="--to")
    chosen = tuple(name for name in ("tenant", "model", "endpoint") if name in per)
    if not per and by is None:
        chosen = ("model",)
    scope = Scope(tenant, model, start, end, by, chosen)  # type: ignore[arg-type]  # click has checked the words
    groups = GROUPS if group is None else (group,)
    with store_of(settings) as clickhouse, working("asking ClickHouse"):
        client = connect(clickhouse)
        report = collect(client, scope, groups, Objective(ttft_s, inter_token_s), gpu_hour_cost, currency.upper())
    if as_json:
        print_json(report.as_json())
    else:
        show(report)
