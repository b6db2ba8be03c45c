"""`tokenmill price`: the engine as a function: a card and usage in, invoices out."""

from __future__ import annotations

from pathlib import Path

import click

from infra.cli.cards import load_card, load_overrides, load_plan
from infra.cli.invoice_view import invoice_json, show_invoice
from infra.cli.options import with_settings
from infra.cli.output import print_json, working
from infra.cli.usage_files import read_usage
from infra.config import Settings
from rating.batch import rate
from rating.cards import RateCard
from rating.invoices import Invoice, build_invoice
from rating.overrides import Overrides
from rating.rated import RatedLine
from rating.windows import WindowSize


@click.command(
    epilog="""\b
Usage is one JSON document a line, or one JSON array of them:
  {"time": "2026-01-05T10:00:00Z", "gpu_type": "H100",
   "meters": {"gpu_seconds": 7200}}
Besides time and meters: tenant_id, model, endpoint, region, service_tier,
gpu_type, operation, status (success), api_key_id, workflow_id,
context_tokens (total input of a request, for prices by context bracket).
Quantities are whole numbers or text. A document counts as one event at its
time where the card counts events, ids or levels.

\b
Examples:
  tokenmill price --card standard.yaml --usage usage.jsonl
  tokenmill price --card standard.yaml --usage usage.jsonl --json
  tokenmill price --card standard.yaml --usage usage.jsonl \\
      --override 'model-00/output=0.55'
  echo '{"time": "2026-01-05T10:00:00Z", "model": "model-00",
         "meters": {"output_text": 9000}}' |
      tokenmill price --card standard.yaml --usage -"""
)
@click.option("--card", type=click.Path(path_type=Path, dir_okay=False), required=True, help="rate card file")
@click.option(
    "--usage",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    help="usage file, - for standard input",
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="plan file with prices of a tenant's own",
)
@click.option(
    "--override", "given", multiple=True, metavar="SKU=PRICE", help="own price of a SKU; several times if need be"
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings()
def price(
    settings: Settings,
    card: Path,
    usage: Path,
    plan_file: Path | None,
    given: tuple[str, ...],
    as_json: bool,
) -> None:
    """Price usage from a file with a card from a file, exactly as the stream would: nothing is published or stored.

    One invoice per tenant and month, as if the month were over: each line rounded once to the currency, the total their
    sum, with the tiers behind it. Exit code 1 when some usage has no price.
    """
    _, made = load_card(card, settings)
    file, plan = load_plan(plan_file) if plan_file else (None, None)
    if plan is not None and plan.card != made.id:
        raise click.BadParameter(f"it is for card {plan.card}, {card} holds card {made.id}", param_hint="--plan")
    overrides = load_overrides(made, file, plan, given)
    with working("reading usage"):
        found = read_usage(usage, settings)
    with working("pricing"):
        records = rate(made, found, window=WindowSize(settings.window_minutes), overrides=overrides)
        invoices = _invoices(made, overrides, records)
    if as_json:
        print_json(
            {
                "card": {"id": made.id, "version": made.version, "currency": made.currency},
                "overrides": overrides.document(),
                "invoices": [invoice_json(each) for each in invoices],
            }
        )
    else:
        for each in invoices:
            show_invoice(each)
    if any(each.unrated for each in invoices):
        click.get_current_context().exit(1)


def _invoices(card: RateCard, overrides: Overrides, records: list[RatedLine]) -> list[Invoice]:
    """An invoice per tenant and month."""
    groups: dict[tuple[str, str], list[RatedLine]] = {}
    for record in records:
        groups.setdefault((record.tenant_id, record.billing_period), []).append(record)
    cards = [card, card.with_overrides(overrides)]
    return [
        build_invoice(tenant, period, card.currency, group, cards) for (tenant, period), group in sorted(groups.items())
    ]
