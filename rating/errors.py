"""The errors of the rating engine.

Every error carries a `code` (stable, for programs and tests) and `data` (the facts, for logs), and its message is one
line that says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Where in a document something stands: keys and list positions from the root, e.g. ("skus", 0, "charge", "price")."""


class RatingError(Exception):
    """Base of all errors of this package. `code` names the kind, `data` holds the facts as plain values."""

    code = "rating"

    def __init__(self, message: str, **data: object) -> None:
        super().__init__(message)
        self.data: Mapping[str, object] = data


class MoneyError(RatingError, ValueError):
    """A value that cannot be money or an exact quantity: a float, not a number, more decimals than its unit has."""

    code = "inexact_number"


class CurrencyError(RatingError, ValueError):
    """A currency that is not in ISO 4217, or two currencies where one is needed."""

    code = "currency"


class PeriodError(RatingError, ValueError):
    """A window or billing period that does not exist, or usage that does not belong to the period it was given to."""

    code = "period"


class MeterError(RatingError, ValueError):
    """A meter name that does not exist."""

    code = "unknown_meter"


class InvoiceError(RatingError, ValueError):
    """Records that cannot stand on one invoice."""

    code = "invoice"


class DocumentError(RatingError, ValueError):
    """An invoice document that cannot be: not closed yet, more credited than charged, or a text that is none."""

    code = "document"


class WalletError(RatingError, ValueError):
    """A grant of prepaid credits that cannot be, or an order that its wallet cannot follow."""

    code = "wallet"


class CardConflict(RatingError):
    """A card version that is already known was published again with other content: a new version number is needed."""

    code = "card_conflict"


@dataclass(frozen=True, slots=True)
class CardProblem:
    """One thing that is wrong with a card document: where (path from the root) and what."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{format_path(self.path)}: {self.message}"


class CardError(RatingError, ValueError):
    """A card document that cannot be used. `problems` lists everything that is wrong with it, in document order."""

    code = "invalid_card"

    def __init__(self, problems: Sequence[CardProblem]) -> None:
        self.problems: tuple[CardProblem, ...] = tuple(problems)
        super().__init__(
            "rate card: " + "; ".join(str(problem) for problem in self.problems),
            problems=[{"path": list(problem.path), "message": problem.message} for problem in self.problems],
        )


def format_path(path: Path) -> str:
    """A path as people write it: ("skus", 0, "charge") is `skus[0].charge`, the root is `card`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text or "card"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The end of a message that names the known word nearest to a wrong one, or nothing if none is near."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f", did you mean {close[0]}?" if close else ""
