"""The balance of DESIGN D8: where every row that was read ended, from the worker's signals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

from infra.clickhouse import store_errors
from infra.errors import StoreError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

OUTCOMES: Final = ("rated", "unrated", "duplicate", "dead_letter", "quarantined", "rerouted")


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows by where they ended; `by_code` splits dead letters and quarantined rows.

    A rerouted row is counted where it was read first, and again where it arrives.
    """

    read: int = 0
    rated: int = 0
    unrated: int = 0
    duplicate: int = 0
    dead_letter: int = 0
    quarantined: int = 0
    rerouted: int = 0
    by_code: Mapping[str, int] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """Sum of all outcomes: equals `read` when everything is accounted for."""
        return sum(getattr(self, name) for name in OUTCOMES)

    @property
    def accepted(self) -> int:
        """Rows offered by producers: each counts once, wherever it was written first."""
        return self.ended - self.rerouted


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """The counts of one source in one partition."""

    partition: int
    source: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class Balance:
    """The balance of all partitions and sources."""

    sources: tuple[SourceCounts, ...]

    @property
    def total(self) -> Counts:
        """All sources and partitions together."""
        return total(each.counts for each in self.sources)

    def by_source(self) -> dict[str, Counts]:
        """The counts of each source over all partitions, by name."""
        names = sorted({each.source for each in self.sources})
        return {name: total(each.counts for each in self.sources if each.source == name) for name in names}

    def partitions(self) -> tuple[int, ...]:
        """The partitions that were read from."""
        return tuple(sorted({each.partition for each in self.sources}))

    def read_of(self, partition: int) -> int:
        """Rows read from one partition."""
        return sum(each.counts.read for each in self.sources if each.partition == partition)


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of counts."""
    numbers: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for each in counts:
        numbers.update({name: getattr(each, name) for name in ("read", *OUTCOMES)})
        codes.update(each.by_code)
    return Counts(**{name: numbers[name] for name in ("read", *OUTCOMES)}, by_code=dict(sorted(codes.items())))


def load_balance(client: Client) -> Balance:
    """The latest balance of every partition and source of the usage topic."""
    with store_errors("reading the balance"):
        rows = client.query(
            "SELECT policy, data FROM signals_latest WHERE kind = 'balance' AND startsWith(policy, 'balance/') ORDER BY policy"
        ).result_rows
    return Balance(tuple(_source_counts(policy, orjson.loads(data)) for policy, data in rows))


def _source_counts(policy: str, data: Mapping[str, object]) -> SourceCounts:
    try:
        codes = data.get("by_code") or {}
        if not isinstance(codes, dict):
            raise TypeError("by_code is no object")
        numbers = {name: _number(data.get(name, 0)) for name in ("read", *OUTCOMES)}
        return SourceCounts(
            partition=_number(data.get("partition", policy.split("/")[1])),
            source=str(data.get("source", policy.partition("/")[2].partition("/")[2])),
            counts=Counts(**numbers, by_code={str(code): _number(number) for code, number in codes.items()}),
        )
    except (TypeError, ValueError, IndexError) as error:
        raise StoreError(
            f"signal {policy} is not a balance: {error}", code="balance_unreadable", policy=policy
        ) from None


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{value!r} is no whole number")
    return int(value)
