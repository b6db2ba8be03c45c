"""`tokenmill ratecard`: publish rate cards."""

import getpass
from pathlib import Path

import click

from infra.cli.cards import load_cards
from infra.cli.options import KAFKA, with_settings
from infra.cli.output import print_json
from infra.cli.reach import require_topics
from infra.config import Settings


@click.group(
    epilog="""\b
Example:
  tokenmill ratecard publish standard.yaml"""
)
def ratecard() -> None:
    """Rate cards: what a unit of usage costs."""


@ratecard.command(
    epilog="""\b
Examples:
  tokenmill ratecard publish standard.yaml
  tokenmill ratecard publish infra/examples/ratecards/*.yaml"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--author", default=None, help="who publishes; default: the user of this shell")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*KAFKA)
def publish(settings: Settings, files: tuple[Path, ...], author: str | None, as_json: bool) -> None:
    """Check the cards in FILES and make them known to every partition, each atomically. Safe to repeat.

    A card with a problem publishes nothing: every problem is shown with file, line and column, and the exit code is 2.
    """
    from producers.control import ControlWriter

    cards = load_cards(files, settings)
    require_topics(settings, settings.topics.rating_catalog, settings.topics.usage_events)
    results: list[dict[str, object]] = []
    with ControlWriter(settings, author or getpass.getuser()) as writer:
        for file, card in cards:
            new = writer.publish_card(card.document())
            results.append({"file": str(file.path), "id": card.id, "version": card.version, "published": new})
    if as_json:
        print_json({"cards": results})
        return
    for result in results:
        state = "published" if result["published"] else "is published already"
        click.echo(f"{result['id']} version {result['version']} {state}")
