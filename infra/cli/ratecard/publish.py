"""`tokenmill ratecard publish`: make cards known to every partition."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from infra.card_files import CardFile
from infra.cli.cards import load_cards, published_catalog
from infra.cli.options import KAFKA, with_settings
from infra.cli.output import print_json, remark, working
from infra.cli.ratecard.impact import (
    Affected,
    Change,
    affected_by,
    changes,
    no_version_from,
    period_text,
    version_before,
)
from infra.cli.reach import require_topics
from infra.config import Settings
from rating.card_fields import instant_text
from rating.cards import RateCard
from rating.catalog import EVERYONE, Catalog

_SHOWN = 8
"""Tenants and changes that are named before they are only counted."""


class _Preview(NamedTuple):
    """What publishing a card means."""

    file: Path
    card: RateCard
    is_new: bool
    affected: list[Affected]
    before: RateCard | None
    changes: list[Change]
    gap_from: datetime | None


@click.command(
    short_help="Publish cards, all of them or none.",
    epilog="""\b
Examples:
  tokenmill ratecard publish --dry-run standard.yaml    who is affected, when
  tokenmill ratecard publish standard.yaml
  tokenmill ratecard publish infra/examples/ratecards/*.yaml""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="only show who is affected and from when")
@click.option("--author", default=None, help="who publishes; default: the user of this shell")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*KAFKA)
def publish(settings: Settings, files: tuple[Path, ...], dry_run: bool, author: str | None, as_json: bool) -> None:
    """Check the cards in FILES, show whom they affect, and make them known to every partition: all of them or none.

    Safe to repeat. A card with a problem publishes nothing: every problem is shown with file, line and column, and the
    exit code is 2. A published version never changes: a new price is a new version.
    """
    from producers.control import ControlWriter, new_cards, read_catalog

    cards = load_cards(files, settings)
    require_topics(settings, settings.topics.rating_catalog, settings.topics.usage_events)
    with working("reading the catalogue"):
        published = read_catalog(settings)
    documents = [card.document() for _, card in cards]
    catalog, unusable = published_catalog(published, settings)
    previews = _previews(cards, new_cards(published, documents), catalog)
    if not as_json:
        for line in unusable:
            remark(f"Warning: {line}")
        for preview in previews:
            _show(preview)
    if not dry_run:
        with working("publishing"), ControlWriter(settings, author or getpass.getuser()) as writer:
            states = writer.publish_cards(documents)
        previews = [preview._replace(is_new=new) for preview, new in zip(previews, states, strict=True)]
    if as_json:
        print_json({"dry_run": dry_run, "cards": [_json(preview, dry_run) for preview in previews]})
        return
    for preview in previews:
        state = "is published already" if not preview.is_new else "would be published" if dry_run else "published"
        click.echo(f"{preview.card.id} version {preview.card.version} {state}")


def _previews(cards: Sequence[tuple[CardFile, RateCard]], new: Sequence[bool], catalog: Catalog) -> list[_Preview]:
    for _, card in cards:
        catalog = catalog.with_card(card)
    found: list[_Preview] = []
    for (file, card), is_new in zip(cards, new, strict=True):
        before = version_before(catalog, card)
        found.append(
            _Preview(
                file=file.path,
                card=card,
                is_new=is_new,
                affected=affected_by(catalog, card),
                before=before,
                changes=changes(before, card) if before else [],
                gap_from=no_version_from(catalog, card),
            )
        )
    return found


def _show(preview: _Preview) -> None:
    if not preview.is_new:
        return
    card = preview.card
    click.echo(
        f"{card.id} version {card.version}: {card.currency}, {period_text(card.effective_from, card.effective_to)}"
    )
    if preview.before is not None:
        click.echo(f"  prices that change from version {preview.before.version}: {len(preview.changes)}")
        for change in preview.changes[:_SHOWN]:
            click.echo(f"    {change.sku}: {change.before or 'not sold'} -> {change.after or 'not sold'}")
        _more(len(preview.changes))
    own = [each for each in preview.affected if each.tenant_id != EVERYONE]
    if not preview.affected:
        click.echo(f"  affects nobody yet: tokenmill account assign TENANT {card.id} --from ...")
    for each in (each for each in preview.affected if each.tenant_id == EVERYONE):
        click.echo(f"  affects every tenant without an assignment of its own, {period_text(each.start, each.end)}")
    if own:
        count = len({each.tenant_id for each in own})
        click.echo(f"  affects {count} assigned tenant{'' if count == 1 else 's'}:")
        for each in own[:_SHOWN]:
            prices = ", with prices of its own" if each.has_overrides else ""
            click.echo(f"    {each.tenant_id} {period_text(each.start, each.end)}{prices}")
        _more(len(own))
    if preview.affected and min(each.start for each in preview.affected) < datetime.now(UTC):
        click.echo("  reaches into the past: open months are rated again from then on, closed months stay as they are")

    if preview.gap_from is not None:
        remark(
            f"Warning: from {instant_text(preview.gap_from)} on no version of {card.id} holds: usage then has no price and "
            "waits, unrated, until you publish one"
        )


def _more(count: int) -> None:
    if count > _SHOWN:
        click.echo(f"    ... and {count - _SHOWN} more (--json lists all)")


def _json(preview: _Preview, dry_run: bool) -> dict[str, object]:
    return {
        "file": str(preview.file),
        "id": preview.card.id,
        "version": preview.card.version,
        "published": preview.is_new and not dry_run,
        "new": preview.is_new,
        "effective_from": instant_text(preview.card.effective_from),
        "effective_to": instant_text(preview.card.effective_to) if preview.card.effective_to else None,
        "affects": [
            {
                "tenant": each.tenant_id,
                "from": instant_text(each.start),
                "to": instant_text(each.end) if each.end else None,
                "overrides": each.has_overrides,
            }
            for each in preview.affected
        ],
        "no_version_from": instant_text(preview.gap_from) if preview.gap_from else None,
        "compared_with_version": preview.before.version if preview.before else None,
        "changes": [{"sku": each.sku, "before": each.before, "after": each.after} for each in preview.changes],
    }
