"""`tokenmill ratecard diff`: what differs between two cards."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import click
from rich.markup import escape

from infra.cli.cards import load_card, published_catalog
from infra.cli.options import KAFKA, with_settings
from infra.cli.output import console, print_json, working
from infra.cli.reach import require_topics
from infra.config import Settings
from infra.errors import ConfigurationError
from rating.card_diff import CardDiff, FieldChange, PartChange, diff_cards
from rating.card_fields import instant_text
from rating.cards import RateCard
from rating.errors import did_you_mean
from rating.price_text import price_text

_PUBLISHED = re.compile(r"(?P<card>[A-Za-z0-9][A-Za-z0-9._-]{0,127})(?::(?P<version>[0-9]{1,9}))?", re.ASCII)
_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


@click.command(
    short_help="Show what differs between two cards.",
    epilog="""\b
A card is a file, or one that is published: its id, or ID:VERSION.

\b
Examples:
  tokenmill ratecard diff standard.yaml standard-2.yaml
  tokenmill ratecard diff standard standard-2.yaml     the published one
  tokenmill ratecard diff standard:1 standard:2 --json""",
)
@click.argument("old")
@click.argument("new")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*KAFKA)
def diff(settings: Settings, old: str, new: str, as_json: bool) -> None:
    """Show what differs between the cards OLD and NEW, prices with their change per unit in percent.

    Exit code 0 when they say the same, 1 when something differs. Kafka is asked only for published cards.
    """
    published: dict[tuple[str, int], RateCard] = {}
    if not (_is_file(old) and _is_file(new)):
        published = _published(settings)
    found = diff_cards(_card(old, published, settings), _card(new, published, settings))
    if as_json:
        print_json(_json(found))
    else:
        _show(found)
    if found:
        sys.exit(1)


def _is_file(name: str) -> bool:
    return Path(name).exists() or "/" in name or name.endswith((".yaml", ".yml", ".json"))


def _published(settings: Settings) -> dict[tuple[str, int], RateCard]:
    from producers.control import read_catalog

    require_topics(settings, settings.topics.rating_catalog)
    with working("reading the catalogue"):
        catalog, _ = published_catalog(read_catalog(settings), settings)
    return {(each.card.id, each.card.version): each.card for each in catalog.versions()}


def _card(name: str, published: Mapping[tuple[str, int], RateCard], settings: Settings) -> RateCard:
    """A card from a file, or of those that are published. Raises ConfigurationError."""
    if _is_file(name):
        return load_card(Path(name), settings)[1]
    found = _PUBLISHED.fullmatch(name)
    versions = {version: card for (card_id, version), card in published.items() if found and card_id == found["card"]}
    if not found or not versions:
        ids = sorted({card_id for card_id, _ in published})
        raise ConfigurationError(
            f"{name!r} is neither a file nor a published card{did_you_mean(name.partition(':')[0], ids)} (there are: "
            f"{', '.join(ids) or 'none'})",
            code="unknown_card",
        )
    version = int(found["version"]) if found["version"] else max(versions)
    if version not in versions:
        known = ", ".join(map(str, sorted(versions)))
        raise ConfigurationError(
            f"card {found['card']} has no version {version} (there are: {known})", code="unknown_card"
        )
    return versions[version]


def _show(found: CardDiff) -> None:
    console.print(f"{_title(found.old)} -> {_title(found.new)}", markup=False, soft_wrap=True)
    if not found:
        console.print("they say the same")
        return
    for part in found.parts:
        sign, colour = _SIGNS[part.status]
        what = "" if part.kind in ("SKU", "card") else f"{part.kind} "
        name = "the card" if part.kind == "card" else part.name
        console.print(f"[{colour}]{sign}[/] {escape(what + name)}", soft_wrap=True)
        if part.status == "changed":
            for line in _changes(part, found):
                console.print(f"    {line}", soft_wrap=True)
        else:
            for text in _whole(part, found.new if part.status == "added" else found.old):
                console.print(f"    {escape(text)}", soft_wrap=True)
        if part.unpriced:
            text = f"no SKU prices {', '.join(part.unpriced)} any more: such usage would wait, unrated"
            console.print(f"    [bold]![/] {escape(text)}", soft_wrap=True)
    counts = [sum(part.status == status for part in found.parts) for status in ("changed", "added", "removed")]
    console.print(f"{counts[0]} changed, {counts[1]} added, {counts[2]} removed")


def _title(card: RateCard) -> str:
    return f"{card.id} version {card.version} ({card.currency}, from {instant_text(card.effective_from)})"


def _changes(part: PartChange, found: CardDiff) -> Iterator[str]:
    """A line for each field; a charge of another model is told as a whole."""
    fields = part.fields
    if any(change.path == ("charge", "model") for change in fields) and part.before and part.after:
        old, new = (
            "; ".join(_prices(document, card)) for document, card in ((part.before, found.old), (part.after, found.new))
        )
        whole = FieldChange(("charge",), old, new)
        fields = (whole, *(change for change in fields if change.path[0] != "charge"))
    width = max(len(change.name) for change in fields)
    for change in fields:
        percent = "" if change.percent is None else f"  [{_colour(change)}]{change.percent:+f} %[/]"
        yield f"{escape(change.name.ljust(width))}  {escape(_value(change.before))} -> {escape(_value(change.after))}{percent}"


def _prices(document: Mapping[str, object], card: RateCard) -> list[str]:
    """The prices of a SKU, cell by cell."""
    sku = card.skus[list(card.document()["skus"]).index(document)]
    return [f"{cell.sku}: {price_text(cell)}" if len(sku.cells) > 1 else price_text(cell) for cell in sku.cells]


def _whole(part: PartChange, card: RateCard) -> list[str]:
    """A part that came or went: the prices of a SKU, cell by cell, or what a fee or discount says."""
    document = part.after or part.before or {}
    if part.kind != "SKU":
        return [_value({name: value for name, value in document.items() if name != "sku"})]
    return _prices(document, card)


def _colour(change: FieldChange) -> str:
    return "red" if change.percent is not None and change.percent < 0 else "green"


def _value(value: object) -> str:
    """A value of a card for people."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(part)}" for name, part in value.items() if part not in (None, [], {}, "0"))
    if isinstance(value, list | tuple):
        return "; ".join(map(_value, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _json(found: CardDiff) -> dict[str, object]:
    return {
        "old": {"id": found.old.id, "version": found.old.version, "currency": found.old.currency},
        "new": {"id": found.new.id, "version": found.new.version, "currency": found.new.currency},
        "same": not found,
        "changes": [_part_json(part) for part in found.parts],
    }


def _part_json(part: PartChange) -> dict[str, object]:
    whole = replace(part, before=None, after=None) if part.status == "changed" else part
    return {
        "kind": part.kind,
        "name": part.name,
        "status": part.status,
        "before": whole.before,
        "after": whole.after,
        "fields": [
            {
                "field": change.name,
                "before": change.before,
                "after": change.after,
                "percent": None if change.percent is None else f"{change.percent:f}",
            }
            for change in part.fields
        ],
        "unpriced": list(part.unpriced),
    }
