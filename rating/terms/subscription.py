"""Which cards hold for a tenant in a billing period, and on how many of its days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from rating.cards import RateCard
from rating.catalog import Catalog, Span
from rating.windows import WindowSize, next_period

_MINUTES_OF_A_DAY = 1440


class Following(NamedTuple):
    """What is known at the end of a period about the next one: the card that goes on, and for how many of its days."""

    card: RateCard
    days: int


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """A tenant's billing period, cut where its card version changes.

    `following` is None where no assignment of the tenant's own goes on into the next period. `is_own` says whether an
    assignment of its own holds in some window of this one.
    """

    tenant_id: str
    period: str
    window: WindowSize
    spans: tuple[Span, ...]
    following: Following | None
    is_own: bool = True

    @property
    def terms_card(self) -> RateCard | None:
        """The card version whose terms hold for the period: the one in force at its last window that has one.

        Reserved tenants, whose ids start with "_", have no terms.
        """
        if self.tenant_id.startswith("_"):
            return None
        return next((span.card for span in reversed(self.spans) if span.card is not None), None)

    def cards(self) -> Iterator[tuple[Span, RateCard]]:
        """The spans that have a card, in order; none for reserved tenants."""
        if not self.tenant_id.startswith("_"):
            for span in self.spans:
                if span.card is not None:
                    yield span, span.card

    @property
    def days(self) -> int:
        """The days of the period."""
        return days_within(self.window, self.period, self.window.first(self.period), self.window.last(self.period))

    def days_of(self, span: Span) -> int:
        """The days of a span: a day belongs to what holds in its last window."""
        return days_within(self.window, self.period, span.first, span.last)

    def same_as(self, other: Subscription | None) -> bool:
        """Whether two of one period price it alike; card versions are compared by identity, which catalogs keep."""
        if other is None or len(self.spans) != len(other.spans) or self.is_own != other.is_own:
            return False
        if any(
            new.first != old.first or new.card is not old.card for new, old in zip(self.spans, other.spans, strict=True)
        ):
            return False
        ours, theirs = self.following, other.following
        if ours is None or theirs is None:
            return ours is theirs
        return ours.card is theirs.card and ours.days == theirs.days


def subscription_of(catalog: Catalog, tenant_id: str, period: str, window: WindowSize) -> Subscription:
    """What a catalog says about a tenant's period."""
    spans = catalog.spans(tenant_id, window.first(period), window.last(period))
    is_own = any(
        each.effective_from_hour <= spans[-1].last
        and (each.effective_to_hour is None or spans[0].first < each.effective_to_hour)
        for each in catalog.assignments_of(tenant_id)
    )
    return Subscription(tenant_id, period, window, spans, _following(catalog, tenant_id, period, window), is_own)


def days_within(window: WindowSize, period: str, first: int, last: int) -> int:
    """How many days of a period have their last window in first..last."""
    begin = window.first(period)
    of_a_day = _MINUTES_OF_A_DAY // window.minutes
    return (last + 1 - begin) // of_a_day - (first - begin) // of_a_day


def _following(catalog: Catalog, tenant_id: str, period: str, window: WindowSize) -> Following | None:
    last = window.last(period)
    assignment, card = catalog.assignment_at(tenant_id, last), catalog.card_at(tenant_id, last)
    if assignment is None or card is None or assignment.tenant_id != tenant_id:
        return None
    after = next_period(period)
    ends = assignment.effective_to_hour
    end_of_next = window.last(after) if ends is None else min(window.last(after), ends - 1)
    if end_of_next <= last:
        return None
    return Following(card, days_within(window, after, last + 1, end_of_next))
