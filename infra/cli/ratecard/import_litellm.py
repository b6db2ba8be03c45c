"""`tokenmill ratecard import-litellm`: a card from the public price map of LiteLLM."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click
import orjson

from infra.cli.options import Instant, with_settings
from infra.cli.output import print_json, remark, working
from infra.cli.ratecard.litellm_card import CardFields, Document, NamedPrices, card_document, card_yaml
from infra.config import Settings
from infra.errors import ConfigurationError
from infra.litellm_prices import Findings, PriceMap, prices_of, read_price_map
from rating.card_fields import instant_text
from rating.cards import parse_card
from rating.errors import CardError, did_you_mean
from rating.patterns import is_pattern, matches
from rating.windows import WindowSize
from schemas.control import LARGEST_DOCUMENT_BYTES

_SHOWN = 3
"""Models that are named before they are only counted."""
_LARGEST_MARKUP = Decimal(1_000_000)


class Percent(click.ParamType):
    """A percentage as an exact decimal."""

    name = "percent"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """The decimal of a text such as 12.5."""
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or not -100 < number <= _LARGEST_MARKUP or len(number.as_tuple().digits) > 12:
            self.fail(f"{value!r} is not a percentage above -100, such as 20 or 12.5", param, ctx)
        return number


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A `--model` flag: a key of the map or a pattern of keys, and the name that usage has for the one key."""

    pattern: str
    name: str | None


@click.command(
    "import-litellm",
    short_help="Make a card from LiteLLM's public price map.",
    epilog="""\b
FILE is model_prices_and_context_window.json of LiteLLM's repository, - for
standard input; left out: the one of the installed package litellm.

\b
Examples:
  tokenmill ratecard import-litellm prices.json --from 2026-03-01 \\
      --model gpt-4o --model 'gpt-5*' > openai.yaml
  tokenmill ratecard import-litellm --from 2026-03-01 --markup 20 \\
      --model 'azure/eu/gpt-4o-2024-11-20=chat-large' -o chat.yaml
  tokenmill ratecard import-litellm prices.json --from 2026-03-01 \\
      --provider anthropic --mode chat --json > import.json""",
)
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--from", "start", type=Instant(), required=True, help="first instant that the card prices")
@click.option(
    "--model",
    "given",
    multiple=True,
    metavar="KEY[=NAME]",
    help="a model of the map, or a pattern of keys; NAME: what your usage events call it",
)
@click.option("--provider", "providers", multiple=True, help="only this litellm_provider; several times if need be")
@click.option("--mode", "modes", multiple=True, help="only this mode: chat, embedding, image_generation, ...")
@click.option("--markup", type=Percent(), default="0", metavar="PERCENT", help="add so much to every price")
@click.option("--units", is_flag=True, help="also prices that only units.<name> can count: audio tokens, pages, ...")
@click.option("--id", "card_id", default="litellm", show_default=True, help="id of the card")
@click.option("--version", type=click.IntRange(min=1), default=1, show_default=True, help="version of the card")
@click.option(
    "--output",
    "-o",
    "target",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="write the card to this file",
)
@click.option("--force", is_flag=True, help="replace the file if it is there")
@click.option("--json", "as_json", is_flag=True, help="print card and findings as JSON")
@with_settings()
def import_litellm(
    settings: Settings,
    file: Path | None,
    start: datetime,
    given: tuple[str, ...],
    providers: tuple[str, ...],
    modes: tuple[str, ...],
    markup: Decimal,
    units: bool,
    card_id: str,
    version: int,
    target: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make a rate card from the price map in FILE: what providers charge, exactly, as a beginning for what you charge.

    Prices of 0 are no prices. Tokens, cache reads and writes, service tiers (batch, priority, flex, ...), prices of long
    requests, images, audio and video are taken over; everything that is not is listed. Exit code 1 when the map has cost
    keys that this version does not know. The card passes `tokenmill ratecard validate`.
    """
    if target is not None and target.exists() and not force:
        raise click.BadParameter(f"{target} is there already: --force replaces it", param_hint="--output")
    found = read_price_map(file)
    findings = Findings()
    models = [
        NamedPrices(name, prices_of(key, found.entries[key], settings.context_edges, findings))
        for key, name in _chosen(found, [_flag(text) for text in given], providers, modes).items()
    ]
    description = f"Imported from {found.origin.rpartition('/')[2]}, SHA-256 {found.sha256[:16]}" + (
        f", {markup:+f} %" if markup else ""
    )
    fields = CardFields(card_id, version, instant_text(start), description, markup, units)
    document = card_document(models, fields, findings)
    with working(f"checking {len(document['skus']):,} SKUs"):
        _check(document, settings)
    if target is not None:
        target.write_text(card_yaml(document, models, _HEADER), encoding="utf-8")
    if as_json:
        print_json({"card": document, "models": len(models), "file": _text(target), **_json(found, findings)})
    elif target is None:
        click.echo(card_yaml(document, models, _HEADER), nl=False)
    _report(models, document, findings, target)
    if findings.unknown:
        sys.exit(1)


_HEADER = """\
What providers charge, from LiteLLM's public price map. It is their price, not yours: look at each before you publish.
Prices are per model as its name stands in the map; usage is matched by the name of the model that answered."""


def _flag(text: str) -> _Chosen:
    pattern, _, name = text.partition("=")
    if not pattern or ("=" in text and not name):
        raise click.BadParameter(f"{text!r} is not KEY or KEY=NAME", param_hint="--model")
    if name and is_pattern(pattern):
        raise click.BadParameter(f"{text!r}: a pattern cannot have one name: name a single key", param_hint="--model")
    return _Chosen(pattern, name or None)


def _chosen(
    found: PriceMap, flags: Sequence[_Chosen], providers: Sequence[str], modes: Sequence[str]
) -> Mapping[str, str]:
    """The keys to import with the names of the models, in the order of the map. Raises ConfigurationError."""
    names: dict[str, str] = {}
    for key, entry in found.entries.items():
        if (providers and entry.get("litellm_provider") not in providers) or (modes and entry.get("mode") not in modes):
            continue
        for flag in flags:
            if flag.pattern == key or (flag.name is None and matches(flag.pattern, key)):
                names[key] = flag.name or names.get(key, key)
        if not flags:
            names[key] = key
    _require_hits(found, flags, names, providers, modes)
    taken: dict[str, str] = {}
    for key, name in names.items():
        if taken.setdefault(name, key) != key:
            raise ConfigurationError(f"{taken[name]} and {key} would both be called {name}: name them apart")
    return names


def _require_hits(
    found: PriceMap, flags: Sequence[_Chosen], names: Mapping[str, str], providers: Sequence[str], modes: Sequence[str]
) -> None:
    """A filter that nothing passes is a mistake: say which."""
    for option, given, field in (("--provider", providers, "litellm_provider"), ("--mode", modes, "mode")):
        known = sorted({str(entry[field]) for entry in found.entries.values() if entry.get(field)})
        for value in given:
            if value not in known:
                raise ConfigurationError(f"{option} {value}: the price map has none{did_you_mean(value, known)}")
    for flag in flags:
        if any(flag.pattern == key or (flag.name is None and matches(flag.pattern, key)) for key in names):
            continue
        if flag.pattern in found.entries:
            raise ConfigurationError(f"--model {flag.pattern}: --provider and --mode leave it out")
        near = did_you_mean(flag.pattern, list(found.entries))
        raise ConfigurationError(f"--model {flag.pattern}: no model of the price map is called so{near}")


def _check(document: Document, settings: Settings) -> None:
    """The card must be one that can be published. Raises ConfigurationError with every problem."""
    if not document["skus"]:
        raise ConfigurationError(
            "none of these models has a price that a card can state: choose others, or try --units", code="no_prices"
        )
    try:
        parse_card(document, window=WindowSize(settings.window_minutes), context_edges=settings.context_edges)
    except CardError as error:
        problems = tuple(map(str, error.problems))
        raise ConfigurationError("; ".join(problems), code="invalid_card", problems=problems) from None


def _report(models: Sequence[NamedPrices], document: Document, findings: Findings, target: Path | None) -> None:
    """What became of the prices, on standard error: standard output is the card's."""
    priced = len(models) - len(findings.unpriced)
    remark(f"{priced} of {len(models)} models, {len(document['skus'])} SKUs" + (f" in {target}" if target else ""))
    for title, found in (
        ("cost keys that are not known, their prices are not in the card", findings.unknown),
        ("known prices that the card cannot state", findings.left_out),
        ("prices of 0, which are no prices", findings.zero),
        ("models without any price in the card", {"": findings.unpriced} if findings.unpriced else {}),
    ):
        if found:
            remark(f"{title}:")
        for name, concerned in found.items():
            more = f" and {len(concerned) - _SHOWN} more" if len(concerned) > _SHOWN else ""
            remark(f"  {name}{': ' if name else ''}{', '.join(concerned[:_SHOWN])}{more}")
    size = len(orjson.dumps(document))
    if size > LARGEST_DOCUMENT_BYTES:
        remark(
            f"Warning: the card has {size:,} bytes, more than the {LARGEST_DOCUMENT_BYTES:,} that can be published: choose "
            "models, --model, --provider or --mode"
        )


def _json(found: PriceMap, findings: Findings) -> dict[str, object]:
    return {
        "price_map": {"origin": found.origin, "sha256": found.sha256, "models": len(found.entries)},
        "unknown_keys": findings.unknown,
        "left_out": findings.left_out,
        "zero_prices": findings.zero,
        "without_price": findings.unpriced,
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
