"""The cells of a SKU: what its charge chooses among, each as a SKU of its own.

A cell is the SKU with a narrower match, one price model for a charge, and the name of the cell after its id. So whatever
prices, checks or shows a SKU does the same with a cell; only routing (first the SKU, then its cell) knows the difference.
A SKU whose charge is a price model is its own and only cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rating import patterns
from rating.errors import Path
from rating.match import Match
from rating.selectors.base import Label, Selector
from rating.selectors.time_of_day import NO_BUCKET, TimeOfDay
from rating.terms.fields import LineCommitment

if TYPE_CHECKING:
    from rating.cards import Sku
    from rating.models import PriceModel
    from rating.selectors import AnyCharge, Choice

Times = tuple[tuple[TimeOfDay, int], ...]
"""Buckets of time-of-day charges that must all hold."""


@dataclass(frozen=True, slots=True, eq=False)
class CellOf:
    """What a cell is: the SKU that it is part of, what it is called after that one's id, and when it holds.

    `place` is where its charge stands in the charge of the SKU. `is_named` is False for a cell whose line would need a
    name, since it is for a pattern; `is_reachable` is False where no usage of the SKU can be in it.
    """

    sku: Sku
    name: str
    place: Path
    times: Times
    is_named: bool = True
    is_reachable: bool = True

    @property
    def cell_place(self) -> Path:
        """Where the cell itself stands in the charge of the SKU."""
        return self.place[:-1] if self.place[-1] == "charge" else self.place

    @property
    def time_text(self) -> str:
        """The names of its buckets; empty if it is not for a time."""
        return "/".join(_bucket_text(selector, bucket) for selector, bucket in self.times)


@dataclass(frozen=True, slots=True)
class _Branch:
    """The way from a SKU's charge down to one charge."""

    charge: AnyCharge
    match: Match
    place: Path = ()
    labels: tuple[Label, ...] = ()
    times: Times = ()
    is_reachable: bool = True
    commitment: LineCommitment | None = None

    def into(self, choice: Choice) -> _Branch:
        """One step further."""
        match, is_reachable = narrowed(self.match, choice)
        return _Branch(
            choice.charge,
            match,
            (*self.place, *choice.place),
            (*self.labels, *choice.labels),
            self.times if choice.times is None else (*self.times, choice.times),
            self.is_reachable and is_reachable,
            choice.commitment or self.commitment,
        )


def cells_of(sku: Sku) -> tuple[Sku, ...]:
    """The cells of a SKU, in the order of the card."""
    if not isinstance(sku.charge, Selector):
        return (sku,)
    return tuple(_cell(sku, branch) for branch in _leaves(_Branch(sku.charge, sku.match, commitment=sku.commitment)))


def _leaves(branch: _Branch) -> Iterator[_Branch]:
    if not isinstance(branch.charge, Selector):
        yield branch
        return
    for choice in branch.charge.choices():
        yield from _leaves(branch.into(choice))


def _cell(sku: Sku, branch: _Branch) -> Sku:
    shown = [label for label in branch.labels if not label.dimensions or set(label.dimensions) - set(sku.placeholders)]
    # A value alone stands as it is (meta-llama/Llama-3), like that of a single placeholder.
    alone = len(shown) == 1 and not sku.placeholders
    name = "/".join(_in_id(label.text, alone) for label in shown)
    info = CellOf(
        sku,
        name,
        branch.place,
        branch.times,
        is_named=not any(patterns.is_pattern(label.text) and label.text != "*" for label in shown),
        is_reachable=branch.is_reachable,
    )
    template = f"{sku.sku}/{name}" if name else sku.sku
    return sku.as_cell(info, sku=template, match=branch.match, charge=branch.charge, commitment=branch.commitment)


def _in_id(text: str, alone: bool) -> str:
    """A value as it stands in an id: what ids and templates give a meaning to is percent-encoded."""
    if text == "*":
        return "any"
    marks = "%{} " if alone else "%{} /"
    return "".join(f"%{ord(char):02X}" if char in marks else char for char in text)


def narrowed(match: Match, choice: Choice) -> tuple[Match, bool]:
    """A match with the constraints of a choice as well, and whether any usage is in both.

    Of a value or pattern and another one the narrower stays; of two patterns that only overlap, that of the choice.
    """
    fields: dict[str, object] = {}
    is_reachable = True
    known = match.constraints()
    for name, wanted in choice.constraints.items():
        before = known.get(name, "*")
        is_reachable = is_reachable and patterns.intersect(before, wanted)
        fields[name] = before if name in known and patterns.contains(wanted, before) else wanted
    if choice.context is not None:
        reach = choice.context if match.context_bracket is None else choice.context.within(match.context_bracket)
        is_reachable = is_reachable and reach is not None
        fields["context_bracket"] = reach or choice.context
    return match.model_copy(update=fields), is_reachable


def times_text(cell: CellOf) -> str:
    """When a cell holds, for people: `mon-fri 08:00-20:00 Europe/Berlin`; empty for always."""
    return ", ".join(
        f"{'other times' if bucket == NO_BUCKET else selector.buckets[bucket].hours_text} {selector.time_zone}"
        for selector, bucket in cell.times
    )


def _bucket_text(selector: TimeOfDay, bucket: int) -> str:
    if bucket == NO_BUCKET:
        return "other"
    found = selector.buckets[bucket]
    return found.name or found.text


def plain_charge(sku: Sku) -> PriceModel:
    """The price model of a cell. A SKU with several cells has none of its own: TypeError."""
    if isinstance(sku.charge, Selector):
        raise TypeError(f"{sku.sku} has several prices: ask its cells")
    return sku.charge
