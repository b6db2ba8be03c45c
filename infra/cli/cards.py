"""Rate cards and plans for commands: read from files, every problem with its place, and from the catalogue topic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from infra.card_files import CardFile, read_card_file
from infra.config import Settings
from infra.errors import ConfigurationError
from rating.cards import RateCard, parse_card
from rating.catalog import Assignment, Catalog
from rating.errors import CardError, RatingError, format_path
from rating.overrides import Overrides, overrides_for, parse_overrides
from rating.plans import Plan, parse_plan
from rating.windows import WindowSize

if TYPE_CHECKING:
    from producers.control import PublishedCatalog

T = TypeVar("T")


def load_card(path: Path, settings: Settings) -> tuple[CardFile, RateCard]:
    """A card file and the card in it. Raises ConfigurationError that lists all problems."""
    return load_cards([path], settings)[0]


def load_cards(paths: Sequence[Path], settings: Settings) -> list[tuple[CardFile, RateCard]]:
    """Card files and the cards in them. Raises ConfigurationError that lists all problems of all files, from top to bottom."""
    cards: list[tuple[CardFile, RateCard]] = []
    problems: list[str] = []
    for path in paths:
        found = check_card_file(path, settings)
        problems += found if isinstance(found, list) else []
        cards += [] if isinstance(found, list) else [found]
    if problems:
        raise _invalid(problems)
    return cards


def check_card_file(path: Path, settings: Settings) -> tuple[CardFile, RateCard] | list[str]:
    """A card file and the card in it, or its problems as `file:line:column: path: what and how to mend it`."""
    window = WindowSize(settings.window_minutes)
    try:
        file = read_card_file(path)
    except ConfigurationError as error:
        return [error.message]
    card, problems = _parsed(
        file, lambda: parse_card(file.document, window=window, context_edges=settings.context_edges)
    )
    return problems if card is None else (file, card)


def load_plan(path: Path) -> tuple[CardFile, Plan]:
    """A plan file and the plan in it. Raises ConfigurationError that lists all problems."""
    file = read_card_file(path, "plan", "plan, card and overrides")
    plan, problems = _parsed(file, lambda: parse_plan(file.document))
    if plan is None:
        raise _invalid(problems)
    return file, plan


def load_overrides(card: RateCard, file: CardFile | None, plan: Plan | None, given: Sequence[str]) -> Overrides:
    """The prices of a plan (if any) and of `--override SKU=PRICE` flags for a card; a flag goes before the plan.

    Raises ConfigurationError that lists all problems, with the place in the plan's file or with the flag.
    """
    own: dict[str, object] = {}
    problems: list[str] = []
    for text in given:
        sku, sign, price = text.rpartition("=")
        if not (sku and sign and price):
            problems.append(f"--override {text}: write SKU=PRICE, e.g. --override 'llama-70b/output=0.55'")
        own[sku] = price
    if problems:
        raise _invalid(problems)
    document = {**(plan.overrides if plan else {}), **own}
    try:
        return overrides_for(card, document)
    except CardError as error:
        for problem in error.problems:
            sku = str(problem.path[1]) if len(problem.path) > 1 else ""
            place = f"--override {sku}={own[sku]}" if sku in own else file.place(problem.path) if file else "overrides"
            problems.append(f"{place}: {problem.message if sku in own else problem}")
        raise _invalid(problems) from None


def published_catalog(published: PublishedCatalog, settings: Settings) -> tuple[Catalog, list[str]]:
    """What is published as the engine sees it, and which entries it cannot use, in words.

    Workers let a version that reaches back into closed months begin later, partition by partition; here it begins as
    it says.
    """
    window = WindowSize(settings.window_minutes)
    catalog = Catalog(window)
    unusable: list[str] = []
    for (card_id, version), record in published.cards.items():
        try:
            card = parse_card(record.card, window=window, context_edges=settings.context_edges)
            catalog = catalog.with_card(card)
        except RatingError as error:
            unusable.append(f"card {card_id} version {version} cannot be used: {error}")
    for assigned in published.assignments.values():
        try:
            catalog = catalog.with_assignment(
                Assignment(
                    assigned.tenant_id,
                    assigned.card_id,
                    window.index_of(assigned.effective_from),
                    None if assigned.effective_to is None else window.index_of(assigned.effective_to),
                    parse_overrides(assigned.overrides) if assigned.overrides else None,
                )
            )
        except RatingError as error:
            unusable.append(f"the assignment of {assigned.tenant_id} cannot be used: {error}")
    return catalog, unusable


def _parsed(file: CardFile, parse: Callable[[], T]) -> tuple[T | None, list[str]]:
    """What is in a file, or None and all that is wrong with it, from top to bottom."""
    problems = [(place, f"{format_path(path)}: stands here a second time: keep one") for path, place in file.repeated]
    made: T | None = None
    try:
        made = parse()
    except CardError as error:
        problems += [(file.position(problem.path), str(problem)) for problem in error.problems]
    if not problems:
        return made, []
    ordered = sorted(problems, key=lambda problem: problem[0])
    return None, [f"{file.path}:{line}:{column}: {text}" for (line, column), text in ordered]


def _invalid(problems: Sequence[str]) -> ConfigurationError:
    return ConfigurationError("; ".join(problems), code="invalid_card", problems=tuple(problems))
