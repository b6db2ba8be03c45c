"""Examples of prepaid credits: usage costs one unit of money a piece, and grants pay it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from rating.money import amount_of, exact_sum
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.wallets.grants import Grant
from rating.wallets.report import reports
from rating.wallets.wallet import Wallet
from rating.windows import first_hour
from tests.rating import builders
from tests.rating.peers.charges import Definition, UnknownModel, decimal
from tests.rating.peers.engine import METER, grant_of

_EVERY = {"daily": "day", "monthly": "month"}
_HOURS = {"d": 24, "y": 365 * 24}


def wallet_result(model: str, definition: Definition, usage: str, expects: str) -> Decimal:
    """The balance, or what the credits could not pay."""
    if model == "prepaid_reset_rollover":
        # The peer states what is carried over; ours stands beside what the new month brings.
        terms = {"every": "month", "rollover": definition["max_rollover"]}
        wallet, _ = _burnt([{"amount": definition["amount"], **terms}], _used(usage))
        return _balance(wallet, first_hour(_NEXT)) - decimal(definition["amount"])
    if model != "prepaid_burn_down":
        raise UnknownModel(model)
    grants = definition["grants"]
    wallet, unpaid = _burnt(grants, _used(usage))
    if expects == "overage":
        return unpaid
    return _balance(wallet, builders.START + (24 if any("recurrence" in each for each in grants) else 2))


_NEXT = "2026-02"


def _used(usage: str) -> list[Decimal]:
    """The quantities before the text speaks of days: "50 before void, 50 after", "120 on day 1, read after ..."."""
    return [Decimal(each) for each in re.findall(r"(?<!day[ -])\b\d+(?:\.\d+)?", usage.split(", read")[0])]


def _burnt(grants: Iterable[Mapping[str, Any]], used: Iterable[Decimal]) -> tuple[Wallet, Decimal]:
    wallet = Wallet("acme")
    for number, each in enumerate(grants):
        wallet.grant(_grant(number, each))
        if each.get("voided_after_first_usage"):
            wallet.void(f"grant-{number}", builders.START + 1)
    records = _charges(used)
    for record in records:
        wallet.note(record)
    return wallet, exact_sum(line.amount or Decimal(0) for line in [*records, *wallet.lines()])


def _grant(number: int, terms: Mapping[str, Any]) -> Grant:
    found: dict[str, Any] = {}
    if "priority" in terms:
        found["priority"] = int(terms["priority"])
    if "expires" in terms:
        size, unit = re.fullmatch(r"(\d+)([dy])", terms["expires"]).groups()  # type: ignore[union-attr]
        found["end"] = builders.START + int(size) * _HOURS[unit]
    every = terms.get("every") or _EVERY.get(terms.get("recurrence", ""))
    if every:
        found["every"] = every
    if "rollover" in terms:
        found["rollover"] = int(decimal(terms["rollover"])) * 10**12
    return grant_of(number, decimal(terms["amount"]), **found)


def _charges(used: Iterable[Decimal]) -> list[RatedLine]:
    """Usage of 1.00 a unit, every other window."""
    card = builders.card(builders.sku("x", METER, builders.per_unit("1")))
    period = TenantPeriod("acme", builders.PERIOD)
    for place, quantity in enumerate(used):
        period.add(builders.key(), builders.START + 2 * place, None, {METER: quantity})
    return period.lines(builders.catalog(card), closed=False)


def _balance(wallet: Wallet, hour: int) -> Decimal:
    (report,) = reports(wallet, hour)
    return amount_of(report.balance)
