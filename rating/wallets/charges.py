"""What there is to pay: rated records with an amount above 0, in the order in which credits pay them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rating.money import AMOUNT_DECIMALS, to_scaled
from rating.rated import RatedLine
from rating.wallets.grants import CREDIT_DECIMALS, Grant
from rating.windows import WindowSize

RecordKey = tuple[str, str, str, str, datetime, str]
"""The key of a rated record, as `RatedLine.key`."""
WALLET = "wallet"
"""The first part of the SKU of every debit, and its meter."""
_BY_QUANTITY = ("usage", "adjustment")
"""The kinds whose quantity is usage, which compute credits can pay."""


@dataclass(frozen=True, slots=True)
class Charge:
    """A record to pay: `amount` in 10^-12 of its currency, `quantity` in 10^-9 of its unit.

    `slot` is its place in time: twice the window for an hour's record; what belongs to a whole billing period is paid at
    its end, after its last window. `order` sorts the charges of a tenant.
    """

    line: RatedLine
    amount: int
    quantity: int
    slot: int

    @property
    def order(self) -> tuple[int, str, str, str]:
        """When it is paid: by time, then kind, SKU and service period."""
        return self.slot, self.line.kind, self.line.sku, self.line.service_period

    def credits_for(self, grant: Grant, amount: int) -> int:
        """How many credits of a grant (in its smallest unit) pay `amount` of this charge; 0 when it does not pay it."""
        line = self.line
        rate = grant.rate(line.sku, line.meter, line.unit)
        if rate is None:
            return 0
        if grant.is_money:
            return amount if grant.unit == line.currency else 0
        if line.kind not in _BY_QUANTITY:
            return 0
        # A started billionth of a credit counts whole: nothing is paid with nothing.
        return max(0, -(-self.quantity * rate.numerator * amount // (rate.denominator * self.amount)))


def charge_of(line: RatedLine, window: WindowSize) -> Charge | None:
    """A record as a charge; None for one without an amount, and for debits themselves. Its amount may be 0 or negative."""
    if line.amount is None or line.currency is None or line.meter == WALLET:
        return None
    slot = 2 * window.index_of(line.window_start)
    if line.window_kind == "period":
        slot = 2 * window.last(line.billing_period) + 1
    amount = to_scaled(line.amount, AMOUNT_DECIMALS)
    return Charge(line, amount, to_scaled(line.quantity, CREDIT_DECIMALS), slot)
