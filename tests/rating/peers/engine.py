"""Rating an example with the real engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from rating.cards import parse_card
from rating.catalog import EVERYONE, Assignment, Catalog
from rating.invoices import build_invoice
from rating.money import AMOUNT_DECIMALS, difference, exact_sum, to_scaled
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.wallets.grants import Grant
from rating.wallets.wallet import Wallet
from rating.windows import HOUR, WindowSize
from tests.rating import builders
from tests.rating.peers.charges import Document

METER = "units.x"


@dataclass(frozen=True, slots=True)
class Use:
    """A quantity of a custom meter in a window of the period, counted from its first one."""

    quantity: Decimal
    window: int = 0
    meter: str = METER
    model: str = "m"


@dataclass(frozen=True, slots=True)
class Trial:
    """An example as our engine takes it: SKUs, and the usage of the steps in which a peer wrote its bills.

    The result is what the last step adds to the period's charge; minimums count at the end alone. `invoiced`: amounts are
    those of an invoice in `currency`, rounded line by line. `billed` is what the peer had billed before, if the
    example says so instead of stating the usage.
    """

    skus: Sequence[Document]
    steps: Sequence[Sequence[Use]]
    currency: str = "USD"
    invoiced: bool = False
    window: WindowSize = HOUR
    card: Document = field(default_factory=dict)
    billed: Decimal | None = None
    credits: Sequence[Decimal] = ()
    """Prepaid money, which pays what it can."""
    windows: int | None = None
    """How many windows the subscription lasts; None: beyond the period."""


def sku(charge: Document, *, name: str = "x", meter: str = METER, **fields: object) -> Document:
    """A SKU of an example."""
    return {"sku": name, "meter": meter, "charge": charge, **fields}


def one(charge: Document, modifiers: Document, *quantities: Decimal, **fields: object) -> Trial:
    """A trial of one SKU, each quantity in a step and a window of its own."""
    steps = [[Use(quantity, window)] for window, quantity in enumerate(quantities)]
    return Trial([sku(charge, **modifiers)], steps, **fields)  # type: ignore[arg-type]


def amount(trial: Trial) -> Decimal:
    """What the last step adds, by the engine."""
    document = builders.document(*trial.skus, currency=trial.currency, **trial.card)
    card = parse_card(document, window=trial.window)
    first = trial.window.first(builders.PERIOD)
    ends = None if trial.windows is None else first + trial.windows
    catalog = Catalog(trial.window).with_card(card).with_assignment(Assignment(EVERYONE, card.id, 0, ends))
    period = TenantPeriod("acme", builders.PERIOD, trial.window)
    records: dict[object, RatedLine] = {}
    before = Decimal(0)
    for number, step in enumerate(trial.steps):
        for use in step:
            key = builders.key(model=use.model)
            period.add(key, first + use.window, None, {use.meter: use.quantity})
        last = number == len(trial.steps) - 1
        records.update((line.key, line) for line in period.lines(catalog, closed=last))
        if not last:
            before = _sum(
                trial, [line for line in records.values() if line.kind not in ("minimum", "commitment")], catalog
            )
    paid = debits(
        [grant_of(number, each, trial.currency) for number, each in enumerate(trial.credits)], records.values()
    )
    total = _sum(trial, [*records.values(), *paid], catalog)
    return difference(total, before if trial.billed is None else trial.billed)


def grant_of(number: int, money: Decimal, currency: str = "USD", **terms: Any) -> Grant:
    """A grant of prepaid money from the first window of the period on."""
    first = HOUR.first(builders.PERIOD)
    scaled = to_scaled(money, AMOUNT_DECIMALS)
    return Grant("acme", f"grant-{number}", currency, scaled, first, created_us=number, **terms)


def debits(grants: Iterable[Grant], records: Iterable[RatedLine]) -> list[RatedLine]:
    """What prepaid money pays of records, as negative ones."""
    wallet = Wallet("acme")
    for grant in grants:
        wallet.grant(grant)
    for record in records:
        wallet.note(record)
    return wallet.lines()


def _sum(trial: Trial, records: Iterable[RatedLine], catalog: Catalog) -> Decimal:
    if trial.invoiced:
        return build_invoice("acme", builders.PERIOD, trial.currency, records, catalog).total
    return exact_sum(line.amount for line in records if line.amount is not None)
