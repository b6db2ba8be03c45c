"""`tokenmill ratecard list` and `show`: what is published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from infra.cli.cards import published_catalog
from infra.cli.options import KAFKA, with_settings
from infra.cli.output import console, print_json, remark, table, working
from infra.cli.ratecard.impact import Affected, affected_by, match_text, short_instant
from infra.cli.reach import require_topics
from infra.config import Settings
from infra.errors import ConfigurationError
from rating.card_fields import instant_text
from rating.cards import RateCard
from rating.catalog import EVERYONE
from rating.price_text import price_rows, terms_texts
from rating.terms.words import term_rows
from schemas.instants import format_instant

if TYPE_CHECKING:
    from producers.control import PublishedCatalog


@click.command(
    "list",
    epilog="""\b
Examples:
  tokenmill ratecard list
  tokenmill ratecard list --json""",
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*KAFKA)
def list_cards(settings: Settings, as_json: bool) -> None:
    """List the published cards, with whom each version prices."""
    from producers.control import read_catalog

    require_topics(settings, settings.topics.rating_catalog)
    with working("reading the catalogue"):
        published = read_catalog(settings)
    catalog, unusable = published_catalog(published, settings)
    cards = sorted((version.card for version in catalog.versions()), key=lambda card: (card.id, card.version))
    priced = [affected_by(catalog, card) for card in cards]
    for line in unusable:
        remark(f"Warning: {line}")
    if as_json:
        rows = [_row(card, affected, published) for card, affected in zip(cards, priced, strict=True)]
        print_json({"cards": rows, "unusable": unusable})
        return
    if not cards:
        click.echo("no card is published: tokenmill ratecard publish FILE")
        return
    made = table("Rate cards", "card", "version", "currency", "from", "to", "SKUs", "tenants", text=["from", "to"])
    for card, affected in zip(cards, priced, strict=True):
        own = len(_tenants(affected))
        is_default = any(each.tenant_id == EVERYONE for each in affected)
        made.add_row(
            escape(card.id),
            str(card.version),
            card.currency,
            short_instant(card.effective_from),
            short_instant(card.effective_to),
            str(len(card.skus)),
            " + ".join(["default"] * is_default + [str(own)] * (own > 0 or not is_default)),
        )
    console.print(made)


def _tenants(affected: Sequence[Affected]) -> set[str]:
    """Whom a version prices by an assignment of their own."""
    return {each.tenant_id for each in affected if each.tenant_id != EVERYONE}


def _row(card: RateCard, affected: Sequence[Affected], published: PublishedCatalog) -> dict[str, object]:
    record = published.cards[card.id, str(card.version)]
    return {
        "id": card.id,
        "version": card.version,
        "currency": card.currency,
        "effective_from": instant_text(card.effective_from),
        "effective_to": instant_text(card.effective_to) if card.effective_to else None,
        "skus": len(card.skus),
        "description": card.description,
        "default": any(each.tenant_id == EVERYONE for each in affected),
        "tenants": len(_tenants(affected)),
        "published_at": format_instant(record.published_at),
        "published_by": record.published_by,
    }


@click.command(
    epilog="""\b
Examples:
  tokenmill ratecard show standard
  tokenmill ratecard show standard --version 1 --json > standard.json"""
)
@click.argument("card_id", metavar="CARD")
@click.option("--version", type=click.IntRange(min=1), default=None, help="default: the highest")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*KAFKA)
def show(settings: Settings, card_id: str, version: int | None, as_json: bool) -> None:
    """Show a published card with its prices. --json prints the card as it was published, in the form of a card file."""
    from producers.control import read_catalog

    require_topics(settings, settings.topics.rating_catalog)
    with working("reading the catalogue"):
        published = read_catalog(settings)
    catalog, unusable = published_catalog(published, settings)
    versions = {each.card.version: each.card for each in catalog.versions() if each.card.id == card_id}
    for line in unusable:
        remark(f"Warning: {line}")
    if not versions:
        known = ", ".join(sorted(published.card_ids)) or "none"
        raise ConfigurationError(
            f"no card {card_id!r} is published (there are: {known})", code="unknown_card", exit_code=1
        )
    if version is not None and version not in versions:
        known = ", ".join(map(str, sorted(versions)))
        raise ConfigurationError(
            f"card {card_id} has no version {version} (there are: {known})", code="unknown_card", exit_code=1
        )
    card = versions[version or max(versions)]
    if as_json:
        print_json(published.cards[card.id, str(card.version)].card)
        return
    show_card(card)


def show_card(card: RateCard) -> None:
    """Print a card as a table of its SKUs, tier by tier, and what else it says."""
    end = f" to {instant_text(card.effective_to)}" if card.effective_to else ""
    title = f"{card.id} version {card.version}: {card.currency}, from {instant_text(card.effective_from)}{end}"
    made = table(escape(title), "SKU", "for", card.currency, "per", "of a month", text=["for", "per", "of a month"])
    for column in made.columns:
        # Long ids and conditions take another line: a price must never be cut off.
        column.no_wrap, column.vertical = column.header not in ("SKU", "for"), "top"
    for sku in card.cells:
        for number, row in enumerate(price_rows(sku)):
            first = number == 0
            made.add_row(escape(sku.sku) if first else "", escape(match_text(sku)) if first else "", *map(escape, row))
    for term in term_rows(card):
        made.add_row(escape(term.sku), "", term.amount, term.per, escape(term.meaning))
    if card.description:
        console.print(escape(card.description))
    console.print(made)
    for sku in card.cells:
        words = "; ".join(terms_texts(sku))
        if words:
            console.print(escape(f"{sku.sku}: {words}"), soft_wrap=True)
    console.print(f"Charged requests: {', '.join(card.charge_status) or 'none'}")
    if card.not_charged:
        console.print(f"Not charged: {', '.join(card.not_charged)}")
