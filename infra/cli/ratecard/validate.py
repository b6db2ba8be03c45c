"""`tokenmill ratecard validate`: check cards without Kafka."""

from pathlib import Path

import click

from infra.cli.cards import check_card_file
from infra.cli.options import with_settings
from infra.cli.output import print_json
from infra.config import Settings
from infra.errors import ConfigurationError
from rating.card_fields import instant_text
from rating.cards import RateCard


@click.command(
    short_help="Check card files without Kafka.",
    epilog="""\b
Examples:
  tokenmill ratecard validate standard.yaml
  tokenmill ratecard validate --json cards/*.yaml""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings()
def validate(settings: Settings, files: tuple[Path, ...], as_json: bool) -> None:
    """Check the cards in FILES without Kafka: every problem with file, line and column. Exit code 2 when there is one."""
    results: list[dict[str, object]] = []
    problems: list[str] = []
    for path in files:
        found = check_card_file(path, settings)
        if isinstance(found, list):
            problems += found
            results.append({"file": str(path), "valid": False, "problems": found})
            continue
        _, card = found
        results.append({"file": str(path), "valid": True, "problems": [], **_summary(card)})
        if not as_json:
            click.echo(f"{path}: {card.id} version {card.version} is right: {_in_words(card)}")
    if as_json:
        print_json({"cards": results})
        if problems:
            click.get_current_context().exit(2)
    elif problems:
        raise ConfigurationError("; ".join(problems), code="invalid_card", problems=tuple(problems))


def _summary(card: RateCard) -> dict[str, object]:
    return {
        "id": card.id,
        "version": card.version,
        "currency": card.currency,
        "effective_from": instant_text(card.effective_from),
        "effective_to": instant_text(card.effective_to) if card.effective_to else None,
        "skus": len(card.skus),
    }


def _in_words(card: RateCard) -> str:
    end = f" to {instant_text(card.effective_to)}" if card.effective_to else ""
    count = f"{len(card.skus)} SKU" + ("" if len(card.skus) == 1 else "s")
    return f"{count}, {card.currency}, from {instant_text(card.effective_from)}{end}"
