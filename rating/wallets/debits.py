"""What credits paid of a record, as rated records of kind `credit`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from rating.cards import fitting_id
from rating.money import amount_of, from_scaled, plain
from rating.rated import RatedLine
from rating.wallets.charges import WALLET, Charge
from rating.wallets.grants import Grant, decimals_of
from rating.wallets.sweep import Draw

GRANT = "grant/"
"""How the dimensions of a debit begin that say how much came from which grant: `grant/<id>`, in the grant's unit."""


def debit_sku(unit: str, line: RatedLine) -> str:
    """The SKU of what credits in a unit pay of a record: with the other parts of the record's key it is unique."""
    return fitting_id(f"{WALLET}/{unit}/{line.kind}/{line.sku}")


def debits_of(charge: Charge, draws: Iterable[Draw], grants: Mapping[str, Grant]) -> dict[str, RatedLine]:
    """One debit per unit, for `settled` to say whether it is provisional. A charge without draws has none.

    The amount is below 0; the quantity is in compute credits, and 0 for money, whose amount says it all. The card is that
    of the record it pays: credits come before tax, so what they pay takes its tax with it.
    """
    paid: dict[str, int] = {}
    credits: dict[str, dict[str, int]] = {}
    for draw in draws:
        unit = grants[draw.grant_id].unit
        paid[unit] = paid.get(unit, 0) + draw.paid
        by_grant = credits.setdefault(unit, {})
        by_grant[draw.grant_id] = by_grant.get(draw.grant_id, 0) + draw.credits
    return {unit: _debit(charge.line, unit, amount, credits[unit]) for unit, amount in paid.items()}


def _debit(line: RatedLine, unit: str, paid: int, credits: Mapping[str, int]) -> RatedLine:
    decimals = decimals_of(unit)
    named = {f"{GRANT}{grant_id}": plain(from_scaled(each, decimals)) for grant_id, each in credits.items()}
    return replace(
        line,
        sku=debit_sku(unit, line),
        meter=WALLET,
        kind="credit",
        quantity=Decimal(0) if unit == line.currency else from_scaled(sum(credits.values()), decimals),
        unit=unit,
        amount=amount_of(-paid),
        dimensions={"pays": line.sku, **named},
        seller_id=None,
    )


def settled(line: RatedLine, open_from: str) -> RatedLine:
    """The debit, provisional while its billing period is open."""
    return replace(line, provisional=line.billing_period >= open_from)


def nothing_left(line: RatedLine) -> RatedLine:
    """The debit when nothing is paid any more."""
    return replace(line, quantity=Decimal(0), amount=amount_of(0), card_id=None, card_version=None, dimensions={})
