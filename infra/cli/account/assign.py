"""`tokenmill account assign`: price a tenant by a card, with prices of its own."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

from infra.cli.cards import load_overrides, load_plan, published_catalog
from infra.cli.options import KAFKA, Instant, with_settings
from infra.cli.output import print_json, remark, working
from infra.cli.reach import require_topics
from infra.config import Settings
from infra.errors import ConfigurationError
from rating.card_fields import instant_text
from rating.cards import RateCard
from rating.catalog import Catalog
from rating.errors import did_you_mean


@click.command(
    epilog="""\b
Examples:
  tokenmill account assign tenant-0001 standard --from 2026-01-01
  tokenmill account assign '*' standard --from 2026-01-01   the default card
  tokenmill account assign acme standard --from 2026-01-01 \\
      --override 'model-00/output=0.55'                     a price of its own
  tokenmill account assign acme --plan committed.yaml --from 2026-01-01"""
)
@click.argument("tenant")
@click.argument("card", required=False)
@click.option("--from", "start", type=Instant(), required=True, help="first instant, RFC 3339 or a date (UTC)")
@click.option("--to", "end", type=Instant(), default=None, help="first instant that is no longer in it")
@click.option(
    "--plan", "plan_file", type=click.Path(path_type=Path, dir_okay=False), help="file that names a card and own prices"
)
@click.option(
    "--override", "given", multiple=True, metavar="SKU=PRICE", help="own price of a SKU; may be given several times"
)
@click.option("--author", default=None, help="who assigns; default: the user of this shell")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*KAFKA)
def assign(
    settings: Settings,
    tenant: str,
    card: str | None,
    start: datetime,
    end: datetime | None,
    plan_file: Path | None,
    given: tuple[str, ...],
    author: str | None,
    as_json: bool,
) -> None:
    """Price TENANT by CARD from an instant on. '*' is every tenant without an assignment of its own.

    An own price replaces the card's price for one line (model-00/output) or for all lines of a SKU as the card names it
    ({model}/output); the card's block of units stays. A plan is a file with a card and such prices; the assignment keeps
    a copy of them. Of several assignments that hold, the one that began last decides.
    """
    from producers.control import ControlWriter, read_catalog

    file, plan = load_plan(plan_file) if plan_file else (None, None)
    card_id = _card_id(card, plan.card if plan else None)
    if end is not None and end <= start:
        raise click.BadParameter("must be after --from", param_hint="--to")
    if tenant.startswith("_"):
        raise click.BadParameter("names that start with '_' are capacity, which is never charged", param_hint="TENANT")
    require_topics(settings, settings.topics.rating_catalog, settings.topics.usage_events)
    with working("reading the catalogue"):
        catalog, _ = published_catalog(read_catalog(settings), settings)
    known = _version(catalog, card_id, start)
    overrides = load_overrides(known, file, plan, given)
    with working("assigning"), ControlWriter(settings, author or getpass.getuser()) as writer:
        new = writer.assign(
            tenant, card_id, start, end, plan=plan.plan if plan else None, overrides=overrides.document() or None
        )
    if as_json:
        prices = overrides.document()
        print_json(
            {
                "tenant": tenant,
                "card": card_id,
                "from": instant_text(start),
                "to": instant_text(end) if end else None,
                "plan": plan.plan if plan else None,
                "overrides": prices,
                "assigned": new,
            }
        )
        return
    until = f" to {instant_text(end)}" if end else ""
    click.echo(
        f"{tenant} {'is priced' if new else 'was priced already'} by {card_id} from {instant_text(start)}{until}"
    )
    for sku, charge in overrides.charges:
        click.echo(f"  {sku}: {_price(known, sku, charge)}")
    for warning in _warnings(catalog, card_id, start):
        remark(f"Warning: {warning}")


def _card_id(card: str | None, planned: str | None) -> str:
    if card and planned and card != planned:
        raise click.UsageError(f"the plan is for card {planned}, not {card}: leave CARD out")
    found = card or planned
    if not found:
        raise click.UsageError("name the CARD, or a --plan that names it")
    return found


def _version(catalog: Catalog, card_id: str, start: datetime) -> RateCard:
    """The version of a card that holds at an instant, else its newest one. ConfigurationError when there is none."""
    versions = [version.card for version in catalog.versions() if version.card.id == card_id]
    if not versions:
        cards = sorted({version.card.id for version in catalog.versions()})
        raise ConfigurationError(
            f"no card {card_id!r} is published{did_you_mean(card_id, cards)} (there are: {', '.join(cards) or 'none'})",
            code="unknown_card",
            exit_code=1,
        )
    return max(versions, key=lambda each: (each.effective_from <= start, each.effective_from, each.version))


def _price(card: RateCard, sku_id: str, charge: object) -> str:
    from rating.models import Flat, PriceModel
    from rating.money import plain
    from rating.overrides import skus_named
    from rating.price_text import price_text

    named = skus_named(card, sku_id)
    if isinstance(charge, Flat) and not named:
        return f"{plain(charge.amount)} {card.currency} a month"
    if not isinstance(charge, PriceModel):
        return ""
    # A price of a tenant's own changes the charge alone: what the SKU does around it stays.
    return f"{price_text(named[0], charge) if named else charge.text('units')} ({card.currency})"


def _warnings(catalog: Catalog, card_id: str, start: datetime) -> Iterator[str]:
    first = min(version.card.effective_from for version in catalog.versions() if version.card.id == card_id)
    if first > start:
        yield f"{card_id} has no version before {instant_text(first)}: usage until then has no price and waits, unrated"
