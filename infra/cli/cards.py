"""Reading rate card files for commands: every problem with its file, line and column."""

from collections.abc import Sequence
from pathlib import Path

from infra.card_files import CardFile, read_card_file
from infra.config import Settings
from infra.errors import ConfigurationError
from rating.cards import RateCard, parse_card
from rating.errors import CardError
from rating.windows import WindowSize


def load_card(path: Path, settings: Settings) -> tuple[CardFile, RateCard]:
    """A card file and the card in it. Raises ConfigurationError that lists all problems."""
    return load_cards([path], settings)[0]


def load_cards(paths: Sequence[Path], settings: Settings) -> list[tuple[CardFile, RateCard]]:
    """Card files and the cards in them. Raises ConfigurationError that lists all problems of all files, from top to bottom."""
    cards: list[tuple[CardFile, RateCard]] = []
    problems: list[str] = []
    window = WindowSize(settings.window_minutes)
    for path in paths:
        try:
            file = read_card_file(path)
            cards.append((file, parse_card(file.document, window=window, context_edges=settings.context_edges)))
        except ConfigurationError as error:
            problems.append(error.message)
        except CardError as error:
            found = sorted(error.problems, key=lambda problem: file.position(problem.path))
            problems += [f"{file.place(problem.path)}: {problem}" for problem in found]
    if problems:
        raise ConfigurationError("; ".join(problems), code="invalid_card", problems=tuple(problems))
    return cards
