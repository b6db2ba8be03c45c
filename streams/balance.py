"""Counting where every row ended, per source (DESIGN D8)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from schemas.fields import TextRule
from streams.kernels import I32, I64, U8

OUTCOMES = ("rated", "unrated", "duplicate", "dead_letter", "quarantined", "rerouted")
RATED, UNRATED, DUPLICATE, DEAD_LETTER, QUARANTINED, REROUTED = range(len(OUTCOMES))

UNKNOWN = "unknown"
"""Where rows are counted whose source is not known, or no source at all by the rules of events."""
OTHERS = "others"
"""Where the rows of further sources are counted when a partition has seen MAX_SOURCES."""
MAX_SOURCES = 10_000
_SOURCE = TextRule(max_length=512)


@dataclass(slots=True)
class SourceBalance:
    """The rows of one source by outcome, and the unrated, refused and quarantined ones by code; since the beginning."""

    outcomes: list[int] = field(default_factory=lambda: [0] * len(OUTCOMES))
    codes: dict[str, int] = field(default_factory=dict)

    def as_data(self) -> dict[str, object]:
        """The signal's data: `read` is the sum of the outcomes, rerouted rows are counted again where they arrive."""
        counts = dict(zip(OUTCOMES, self.outcomes, strict=True))
        return {"read": sum(self.outcomes), **counts, "by_code": dict(sorted(self.codes.items()))}


class Balance:
    """The balance of one partition, and which sources changed since the last flush."""

    def __init__(self) -> None:
        self._sources: dict[str, SourceBalance] = {}
        self._changed: set[str] = set()
        self._tally = SourceBalance()

    def count(self, source: str, outcome: int, rows: int = 1, codes: Mapping[str, int] | None = None) -> None:
        """Add rows of one source that ended in one outcome."""
        for balance in (self._of(_known(source)), self._tally):
            balance.outcomes[outcome] += rows
            for code, number in (codes or {}).items():
                balance.codes[code] = balance.codes.get(code, 0) + number

    def count_rows(
        self, sources: list[str | None], source_codes: I32, outcomes: U8, reasons: Iterable[tuple[int, str]]
    ) -> None:
        """Add a batch: each row's source by dictionary code (-1 for none) and outcome; `reasons` are (row, code)."""
        width = len(OUTCOMES)
        flat = np.bincount((source_codes.astype(np.int64) + 1) * width + outcomes, minlength=(len(sources) + 1) * width)
        for index, counts in enumerate(flat.reshape(-1, width).tolist()):
            if any(counts):
                for balance in (self._of(self._name(sources, index - 1)), self._tally):
                    balance.outcomes = [old + new for old, new in zip(balance.outcomes, counts, strict=True)]
        for row, code in reasons:
            for balance in (self._of(self._name(sources, int(source_codes[row]))), self._tally):
                balance.codes[code] = balance.codes.get(code, 0) + 1

    def count_code(self, sources: list[str | None], source_codes: I32, rows: I64, code: str) -> None:
        """Add the code of many rows at once: `rows` are their positions in `source_codes`."""
        counts = np.bincount(source_codes[rows] + 1, minlength=len(sources) + 1)
        for index in np.flatnonzero(counts).tolist():
            for balance in (self._of(self._name(sources, index - 1)), self._tally):
                balance.codes[code] = balance.codes.get(code, 0) + int(counts[index])

    def take_changed(self) -> dict[str, SourceBalance]:
        """A copy of the sources that changed since the last call."""
        changed = {
            source: SourceBalance(list(balance.outcomes), dict(balance.codes))
            for source in sorted(self._changed)
            if (balance := self._sources[source])
        }
        self._changed = set()
        return changed

    def take_tally(self) -> SourceBalance:
        """What was counted since the last call, of all sources together."""
        tally, self._tally = self._tally, SourceBalance()
        return tally

    def restore(self, source: str, balance: SourceBalance) -> None:
        """Put back what an earlier owner counted."""
        self._sources[source] = balance

    def _of(self, source: str) -> SourceBalance:
        if source not in self._sources and len(self._sources) >= MAX_SOURCES:
            source = OTHERS
        self._changed.add(source)
        return self._sources.setdefault(source, SourceBalance())

    @staticmethod
    def _name(sources: list[str | None], code: int) -> str:
        return _known(sources[code] if code >= 0 else None)


def _known(source: str | None) -> str:
    return source if source is not None and len(source) <= _SOURCE.max_length and _accepted(source) else UNKNOWN


_accepted = lru_cache(maxsize=4096)(_SOURCE.accepts)
