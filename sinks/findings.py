"""What reconciliation found: numbers for a machine, lines for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from rating.money import exact_sum

SHOWN: Final = 50
"""So many problems of one sort are listed; the numbers count all of them."""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a reconciliation.

    `missing` and `duplicated` count rows and rated keys that ClickHouse lacks or has too often; `amount_difference` is
    the sum of all differences of money, without sign. `compared` says how much was compared, by name. `problems` has
    one readable line for each finding, with coordinates or key.
    """

    missing: int
    duplicated: int
    amount_difference: Decimal
    compared: Mapping[str, int]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Nothing is missing, doubled or off."""
        return not self.problems

    def as_json(self) -> dict[str, object]:
        """Plain data for JSON; money is text."""
        return {
            "ok": self.ok,
            "missing": self.missing,
            "duplicated": self.duplicated,
            "amount_difference": _plain(self.amount_difference),
            "compared": dict(self.compared),
            "problems": list(self.problems),
        }


def _plain(amount: Decimal) -> str:
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(slots=True)
class Findings:
    """Collects what the comparisons find."""

    missing: int = 0
    duplicated: int = 0
    amount_difference: Decimal = Decimal(0)
    compared: dict[str, int] = field(default_factory=dict)
    _problems: dict[str, list[str]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def problem(self, sort: str, line: str) -> None:
        """One problem; of each sort (a plural, for "and 7 more ...") only the first are listed."""
        self._counts[sort] = self._counts.get(sort, 0) + 1
        listed = self._problems.setdefault(sort, [])
        if len(listed) < SHOWN:
            listed.append(line)

    def money(self, *differences: Decimal) -> None:
        """Add differences of money, without sign."""
        self.amount_difference = exact_sum((self.amount_difference, *(abs(each) for each in differences)))

    def count(self, name: str, number: int) -> None:
        """Say how much was compared."""
        self.compared[name] = self.compared.get(name, 0) + number

    def report(self) -> Report:
        """Everything found so far."""
        return Report(self.missing, self.duplicated, self.amount_difference, dict(self.compared), tuple(self._lines()))

    def _lines(self) -> Iterable[str]:
        for sort, lines in self._problems.items():
            yield from lines
            more = self._counts[sort] - len(lines)
            if more:
                yield f"and {more} more {sort}"
