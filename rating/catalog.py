"""Which card prices whose usage, hour by hour: card versions and assignments as one immutable value.

A catalog is changed by making the next one, so whoever holds one can keep pricing with it. `generation` counts the
changes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Self

from rating.cards import RateCard
from rating.errors import CardConflict, PeriodError
from rating.overrides import Overrides
from rating.windows import HOUR, WindowSize

if TYPE_CHECKING:
    from rating.aggregations.demands import Demand

EVERYONE = "*"
"""The tenant of the assignment that holds for every tenant without one of its own: the default card."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A tenant is rated by a card from one window on, up to another one (not included) or without end.

    `tenant_id` may be "*": the deployment's default card. `overrides` are the tenant's own prices for some SKUs.
    """

    tenant_id: str
    card_id: str
    effective_from_hour: int
    effective_to_hour: int | None = None
    overrides: Overrides | None = None

    def __post_init__(self) -> None:
        if self.effective_to_hour is not None and self.effective_to_hour <= self.effective_from_hour:
            raise PeriodError(
                f"the assignment of {self.tenant_id} to {self.card_id} ends before it begins",
                tenant_id=self.tenant_id,
                card_id=self.card_id,
            )


class Version(NamedTuple):
    """A card version and the window from which it prices: its own start, or later if that is in a closed period."""

    in_force_hour: int
    card: RateCard


class Span(NamedTuple):
    """Windows first..last (both included) that one card version prices; None is "no card"."""

    first: int
    last: int
    card: RateCard | None


@dataclass(frozen=True, slots=True)
class Catalog:
    """All card versions and assignments. Make changes with `with_card` and `with_assignment`."""

    window: WindowSize = HOUR
    generation: int = 0
    _versions: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    _assignments: Mapping[str, tuple[Assignment, ...]] = field(default_factory=dict)
    gathered_from: Mapping[Demand, int] = field(default_factory=dict)
    """The first window in which each thing that a card asked for was gathered; what is not named always was."""

    def gathering(self, from_hour: int) -> Self:
        """This catalog, with whatever its cards ask for and is not gathered yet being so from a window on."""
        asked = {demand for card in self.cards() for demand in card.demands} - self.gathered_from.keys()
        return self.with_gathered(dict.fromkeys(asked, from_hour)) if asked else self

    def with_gathered(self, gathered_from: Mapping[Demand, int]) -> Self:
        """This catalog, with these things gathered from these windows on; the earlier window of two holds."""
        merged = dict(self.gathered_from)
        for demand, hour in gathered_from.items():
            merged[demand] = min(hour, merged.get(demand, hour))
        return replace(self, generation=self.generation + 1, gathered_from=merged)

    def with_card(self, card: RateCard, not_before_hour: int | None = None) -> Catalog:
        """This catalog and one more card version.

        A version that would reach back into closed periods prices from `not_before_hour` on. The same version with
        the same content changes nothing (the same catalog is returned); with other content it raises CardConflict.
        """
        versions = self._versions.get(card.id, ())
        for version in versions:
            if version.card.version == card.version:
                if version.card != card:
                    raise CardConflict(
                        f"card {card.id} version {card.version} exists with other content: publish it as a new version",
                        card_id=card.id,
                        version=card.version,
                    )
                return self
        hour = self.window.index_of(card.effective_from)
        if not_before_hour is not None:
            hour = max(hour, not_before_hour)
        ordered = sorted((*versions, Version(hour, card)), key=self._precedence)
        return replace(self, generation=self.generation + 1, _versions={**self._versions, card.id: tuple(ordered)})

    def with_assignment(self, assignment: Assignment, not_before_hour: int | None = None) -> Catalog:
        """This catalog and one more assignment.

        One that begins at the same window as an earlier one of the tenant replaces it; otherwise, of those that hold
        at an hour, the one that began last decides. One that is known already changes nothing, and neither does one
        that ends before `not_before_hour`; one that begins before it is shortened.
        """
        if not_before_hour is not None and assignment.effective_from_hour < not_before_hour:
            if assignment.effective_to_hour is not None and assignment.effective_to_hour <= not_before_hour:
                return self
            assignment = replace(assignment, effective_from_hour=not_before_hour)
        known = self._assignments.get(assignment.tenant_id, ())
        if assignment in known:
            return self
        kept = (each for each in known if each.effective_from_hour != assignment.effective_from_hour)
        ordered = tuple(sorted((*kept, assignment), key=lambda each: each.effective_from_hour))
        return replace(
            self, generation=self.generation + 1, _assignments={**self._assignments, assignment.tenant_id: ordered}
        )

    def versions(self) -> Iterator[Version]:
        """Every card version with the window it is in force from; `with_card(card, in_force_hour)` restores each."""
        for versions in self._versions.values():
            yield from versions

    def cards(self) -> Iterator[RateCard]:
        """Every card version as published, and with the overrides of each assignment to it."""
        for version in self.versions():
            yield version.card
        for assignment in self.assignments():
            if assignment.overrides:
                for version in self._versions.get(assignment.card_id, ()):
                    yield version.card.with_overrides(assignment.overrides)

    def assignments(self) -> Iterator[Assignment]:
        """Every assignment; `with_assignment` restores each."""
        for assignments in self._assignments.values():
            yield from assignments

    def assignments_of(self, tenant_id: str) -> tuple[Assignment, ...]:
        """The assignments of one tenant's own, in the order of their beginning."""
        return self._assignments.get(tenant_id, ())

    def card(self, card_id: str, version: int) -> RateCard | None:
        """One version of a card."""
        for known in self._versions.get(card_id, ()):
            if known.card.version == version:
                return known.card
        return None

    def assignment_at(self, tenant_id: str, hour: int) -> Assignment | None:
        """The assignment that holds for a tenant at a window: its own, else the default one; None is "no account"."""
        for tenant in (tenant_id, EVERYONE):
            for assignment in reversed(self._assignments.get(tenant, ())):
                ends = assignment.effective_to_hour
                if assignment.effective_from_hour <= hour and (ends is None or hour < ends):
                    return assignment
        return None

    def card_at(self, tenant_id: str, hour: int) -> RateCard | None:
        """The card version that prices a tenant's usage at a window (the time of the usage), or None.

        Of the versions that hold at the window the one that began last, with the overrides of the tenant's assignment.
        """
        assignment = self.assignment_at(tenant_id, hour)
        if assignment is None:
            return None
        versions = self._versions.get(assignment.card_id, ())
        position = bisect_right(versions, hour, key=lambda version: version.in_force_hour)
        while position:
            position -= 1
            card = versions[position].card
            if card.effective_to is None or hour < self.window.index_of(card.effective_to):
                return self.gathered_at(card.with_overrides(assignment.overrides), hour)
        return None

    def gathered_at(self, card: RateCard, hour: int) -> RateCard:
        """The card, or in windows in which not all was gathered that it asks for, the card without what asks for it."""
        if not card.demands:
            return card
        return card.lacking(frozenset(each for each in card.demands if hour < self.gathered_from.get(each, hour)))

    def spans(self, tenant_id: str, first: int, last: int) -> tuple[Span, ...]:
        """The windows first..last (both included), cut where the tenant's card version changes."""
        cuts = {first}
        for tenant in (tenant_id, EVERYONE):
            for assignment in self._assignments.get(tenant, ()):
                cuts.update((assignment.effective_from_hour, assignment.effective_to_hour or first))
                for version in self._versions.get(assignment.card_id, ()):
                    cuts.add(version.in_force_hour)
                    if version.card.effective_to is not None:
                        cuts.add(self.window.index_of(version.card.effective_to))
        cuts.update(self.gathered_from.values())
        spans: list[Span] = []
        starts = sorted(cut for cut in cuts if first <= cut <= last)
        for start, following in zip(starts, [*starts[1:], last + 1], strict=True):
            card = self.card_at(tenant_id, start)
            if spans and spans[-1].card is card:
                spans[-1] = spans[-1]._replace(last=following - 1)
            else:
                spans.append(Span(start, following - 1, card))
        return tuple(spans)

    @staticmethod
    def _precedence(version: Version) -> tuple[int, object, int]:
        # Of versions in force from one window on, the one meant to begin later is the newer price.
        return version.in_force_hour, version.card.effective_from, version.card.version
