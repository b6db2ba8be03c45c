"""What every charge has in common that chooses among charges: by dimension, by length of the request, by time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ConfigDict

from rating.errors import Path
from rating.match import ContextRange, Document
from rating.terms.fields import LineCommitment

if TYPE_CHECKING:
    from rating.selectors import AnyCharge
    from rating.selectors.time_of_day import TimeOfDay

OTHER = "other"
"""What the line of a `default` is called."""


@dataclass(frozen=True, slots=True)
class Label:
    """A part of the name of a cell's line. `dimensions` are those whose values it tells; it may be a pattern."""

    text: str
    dimensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the charges of a selector: what usage it is for, what its line is called, where it stands in the charge.

    `constraints` are values or patterns by dimension. `times` names a bucket of a time-of-day charge, by its position
    (NO_BUCKET for the time that no bucket covers). `labels` name the line, in order.
    """

    charge: AnyCharge
    place: Path
    labels: tuple[Label, ...]
    constraints: Mapping[str, str] = field(default_factory=dict)
    context: ContextRange | None = None
    times: tuple[TimeOfDay, int] | None = None
    commitment: LineCommitment | None = None


class Selector(Document, ABC):
    """A charge that only says which of several charges prices some usage. Each of those is a line of its own.

    The charges inside may be selectors again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @abstractmethod
    def choices(self) -> Iterator[Choice]:
        """The charges, each with what it is for, in the order of the card."""

    @abstractmethod
    def own_problems(self) -> Iterator[tuple[Path, str]]:
        """What is wrong with the choices themselves, beyond their types, with the place inside the charge."""

    def problems(self) -> Iterator[tuple[Path, str]]:
        """What is wrong with the choices and with the charges inside."""
        yield from self.own_problems()
        for choice in self.choices():
            for place, message in choice.charge.problems():
                yield (*choice.place, *place), message
