"""A month priced by other prices beside what it was charged: per SKU the old and the new amount, and the tier reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from rating.cards import RateCard
from rating.errors import RatingError
from rating.invoice_tiers import Cards
from rating.invoices import build_invoice, by_currency
from rating.money import difference, exact_sum, round_to_currency
from rating.rated import RatedLine
from rating.rerating import RERATED

_NOTHING = Decimal(0)
_PREPAID = "wallet/"
"""How the SKUs of what credits paid begin: who pays is no price."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The tier (lower, upper] that the last unit of a month fell into; `upper` None is open."""

    lower: Decimal
    upper: Decimal | None


class LineId(NamedTuple):
    """What is compared: a SKU, its meter and its currency."""

    sku: str
    meter: str
    currency: str


@dataclass(frozen=True, slots=True)
class TrialLine:
    """A SKU under the old and the new prices. Amounts are rounded to the currency, as invoice lines are.

    `quantity` is under the new prices where they have the line, else under the old ones. A reach is None where the line
    is not there.
    """

    id: LineId
    quantity: Decimal
    unit: str
    old: Decimal
    new: Decimal
    old_reach: Reach | None
    new_reach: Reach | None

    @property
    def change(self) -> Decimal:
        """What the new prices charge more."""
        return difference(self.new, self.old)

    @property
    def crosses(self) -> bool:
        """Whether the month ends in a tier that begins elsewhere than the one it ended in, or is new and ends above one."""
        return self.new_reach is not None and _lower(self.old_reach) != _lower(self.new_reach)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Usage of a meter that has no price."""

    meter: str
    quantity: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class TenantTrial:
    """A tenant's month under the old and the new prices; lines by currency and SKU."""

    tenant_id: str
    lines: tuple[TrialLine, ...]
    old_waiting: tuple[Waiting, ...]
    new_waiting: tuple[Waiting, ...]

    @property
    def currencies(self) -> tuple[str, ...]:
        """The currencies of its amounts."""
        return tuple(sorted({line.id.currency for line in self.lines}))

    def old(self, currency: str) -> Decimal:
        """What was charged in a currency: the sum of the rounded lines."""
        return exact_sum(line.old for line in self.lines if line.id.currency == currency)

    def new(self, currency: str) -> Decimal:
        """What would be charged in a currency."""
        return exact_sum(line.new for line in self.lines if line.id.currency == currency)

    @property
    def crossing(self) -> tuple[TrialLine, ...]:
        """The lines that end in another tier."""
        return tuple(line for line in self.lines if line.crosses)


def compare(
    tenant_id: str,
    period: str,
    old: Iterable[RatedLine],
    new: Iterable[RatedLine],
    old_cards: Cards,
    new_cards: Iterable[RateCard],
) -> TenantTrial:
    """Lays the records of one tenant's service period under two prices side by side.

    `old` are all that is on record about the service period: also adjustments, which are added to their lines. What wallets
    paid and SLA credits are left out of both. The cards explain the tiers; a record whose card is not among them has none.
    """
    before, after = _sides(old), _sides(new)
    reaches = _reaches(tenant_id, period, before, old_cards), _reaches(tenant_id, period, after, tuple(new_cards))
    lines = []
    for place in sorted(before.keys() | after.keys(), key=lambda each: (each.currency, each.sku, each.meter)):
        if not place.currency or place.sku.startswith("uncharged/"):
            continue
        ours, theirs = after.get(place, []), before.get(place, [])
        last = (ours or theirs)[-1]
        lines.append(
            TrialLine(
                place,
                exact_sum(line.quantity for line in ours or theirs),
                last.unit,
                _amount(theirs, place.currency),
                _amount(ours, place.currency),
                reaches[0].get(place),
                reaches[1].get(place),
            )
        )
    kept = tuple(line for line in lines if line.quantity or line.old or line.new)
    return TenantTrial(tenant_id, kept, tuple(_waiting(before)), tuple(_waiting(after)))


Side = Mapping[LineId, list[RatedLine]]


def _sides(records: Iterable[RatedLine]) -> Side:
    found: dict[LineId, list[RatedLine]] = {}
    for record in sorted(records, key=lambda each: each.window_start):
        if record.kind == "sla_credit" or record.sku.startswith(_PREPAID):
            continue
        sku = record.sku.removesuffix(f"/{RERATED}") if record.kind == "adjustment" else record.sku
        found.setdefault(LineId(sku, record.meter, record.currency or ""), []).append(record)
    return found


def _amount(records: Iterable[RatedLine], currency: str) -> Decimal:
    exact = exact_sum(record.amount for record in records if record.amount is not None)
    return round_to_currency(exact, currency)


def _waiting(side: Side) -> Iterator[Waiting]:
    for _, records in sorted(side.items()):
        quantity = exact_sum(record.quantity for record in records if record.kind == "unrated")
        if quantity:
            yield Waiting(records[-1].meter, quantity, records[-1].unit)


def _reaches(tenant_id: str, period: str, side: Side, cards: Cards) -> Mapping[LineId, Reach]:
    """The last tier of each line's usage, as the invoice of the month has it."""
    usage = [
        record
        for records in side.values()
        for record in records
        if record.kind == "usage" and record.billing_period == period and record.service_period == period
    ]
    found: dict[LineId, Reach] = {}
    for currency, records in by_currency(usage).items():
        for name in {record.sku for record in records}:
            try:
                made = build_invoice(tenant_id, period, currency, [each for each in records if each.sku == name], cards)
            except RatingError:
                continue  # a card that is not known any more: the amount stands, its tiers cannot be told
            for line in made.lines:
                if line.tiers:
                    last = max(line.tiers, key=lambda tier: tier.lower)
                    found[LineId(line.sku, line.meter, currency)] = Reach(last.lower, last.upper)
    return found


def _lower(reach: Reach | None) -> Decimal:
    return reach.lower if reach is not None else _NOTHING
