"""Reading rate card files for commands: every problem with its file, line and column."""

from pathlib import Path

from infra.card_files import CardFile, read_card_file
from infra.config import Settings
from infra.errors import ConfigurationError
from rating.cards import RateCard, parse_card
from rating.errors import CardError
from rating.windows import WindowSize


def load_card(path: Path, settings: Settings) -> tuple[CardFile, RateCard]:
    """A card file and the card in it. Raises ConfigurationError that lists all problems."""
    file = read_card_file(path)
    try:
        card = parse_card(
            file.document, window=WindowSize(settings.window_minutes), context_edges=settings.context_edges
        )
    except CardError as error:
        problems = tuple(f"{file.place(problem.path)}: {problem}" for problem in error.problems)
        raise ConfigurationError("; ".join(problems), code="invalid_card", problems=problems) from None
    return file, card
