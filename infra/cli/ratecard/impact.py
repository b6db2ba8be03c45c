"""Whom a card version prices, from when, and which prices change: what a pricing manager sees before publishing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rating.card_fields import instant_text
from rating.cards import RateCard, Sku
from rating.catalog import EVERYONE, Catalog
from rating.money import plain
from rating.price_text import price_text
from rating.selectors.cells import times_text
from rating.windows import WindowSize

_END = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Affected:
    """A tenant ("*": every one without an assignment of its own) and the time that the version prices its usage."""

    tenant_id: str
    start: datetime
    end: datetime | None
    has_overrides: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A SKU whose price differs from the version that holds just before: `before` or `after` None is "not in the card"."""

    sku: str
    before: str | None
    after: str | None


def affected_by(catalog: Catalog, card: RateCard) -> list[Affected]:
    """Whom a version of the catalogue prices and when, tenants in the order of their ids, the default card first."""
    tenants = {EVERYONE} | {assignment.tenant_id for assignment in catalog.assignments()}
    found: list[Affected] = []
    window = catalog.window
    first, last = window.index_of(card.effective_from), _last(window)
    for tenant in sorted(tenants):
        for span in catalog.spans(tenant, first, last):
            # A tenant between two assignments of its own has the default card: that line says so already.
            assignment = catalog.assignment_at(tenant, span.first)
            if span.card is None or assignment is None or assignment.tenant_id != tenant:
                continue
            if (span.card.id, span.card.version) == (card.id, card.version):
                end = None if span.last == last else window.end(span.last)
                found.append(Affected(tenant, window.start(span.first), end, span.card.overrides is not None))
    return found


def changes(old: RateCard | None, new: RateCard) -> list[Change]:
    """The prices that differ between two cards, by what they are for, in the order of the new card."""
    before = _prices(old) if old else {}
    after = _prices(new)
    names = [*after, *(name for name in before if name not in after)]
    return [Change(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def version_before(catalog: Catalog, card: RateCard) -> RateCard | None:
    """The version of the same card that holds at this one's beginning, were this one not there; None is "the first"."""
    others = [
        version.card
        for version in catalog.versions()
        if version.card.id == card.id
        and version.card.version != card.version
        and version.card.effective_from <= card.effective_from
        and (version.card.effective_to is None or version.card.effective_to > card.effective_from)
    ]
    return max(others, key=lambda each: (each.effective_from, each.version), default=None)


def no_version_from(catalog: Catalog, card: RateCard) -> datetime | None:
    """The end of a version if no other version of the card holds then; None if one does, or it does not end."""
    end = card.effective_to
    versions = [version.card for version in catalog.versions() if version.card.id == card.id]
    holds = any(
        end is not None and each.effective_from <= end and (each.effective_to is None or each.effective_to > end)
        for each in versions
    )
    return None if holds else end


def match_text(sku: Sku) -> str:
    """What usage a SKU, or a cell of it, is for, in one line; empty for all."""
    words = [f"{name} {value}" for name, value in sku.match.constraints().items()]
    context = sku.match.context_bracket
    if context is not None:
        edges = (
            (word, edge) for word, edge in (("above", context.above), ("up to", context.up_to)) if edge is not None
        )
        words.append("input " + " ".join(f"{word} {edge:,}" for word, edge in edges))
    if sku.cell is not None and sku.cell.times:
        words.append(times_text(sku.cell))
    return ", ".join(words)


def short_instant(instant: datetime | None) -> str:
    """An instant for a column of a table: the date, and the time (UTC) when it is not midnight; empty for None."""
    if instant is None:
        return ""
    at = instant.astimezone(UTC)
    return f"{at:%Y-%m-%d}" if not (at.hour or at.minute) else f"{at:%Y-%m-%d %H:%M}Z"


def period_text(start: datetime, end: datetime | None) -> str:
    """A time in words: from an instant on, or from one to another."""
    return f"from {instant_text(start)}" + (f" to {instant_text(end)}" if end else "")


def _prices(card: RateCard) -> dict[str, str]:
    """Price by what it is for."""
    found: dict[str, str] = {}
    for sku in card.cells:
        what = match_text(sku)
        name = f"{sku.sku} ({what})" if what else sku.sku
        found[name] = price_text(sku)
    found |= {fee.sku: f"{plain(fee.amount)} a month" for fee in card.flat_fees}
    if card.minimum is not None:
        found[card.minimum.sku] = f"{plain(card.minimum.amount)} a month at least"
    return found


def _last(window: WindowSize) -> int:
    return window.index_of(_END) - 1
