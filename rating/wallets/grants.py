"""Prepaid credits: how much of what was granted, for which usage, from when until when, and who goes first."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from rating.errors import WalletError
from rating.money import AMOUNT_DECIMALS, CURRENCY_EXPONENTS
from rating.patterns import matches
from rating.windows import WindowSize

CREDIT_DECIMALS = 9
"""Decimals of compute credits: as many as quantities of rated records have."""
DEFAULT_PRIORITY = 100
LARGEST_GRANT = 10**15
"""In units of the grant: far above any contract, and far below what a stored decimal holds."""

Every = Literal["day", "month"]
Burn = tuple[int, int, int, str]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a grant pays: SKU ids or patterns (`*`, `?`), and for compute credits how many credits so many units cost.

    `credits` for `per` units of the record's quantity, both above 0: 1 credit per 3600 seconds makes GPU-hours. Grants in
    money need neither.
    """

    skus: str
    credits: Decimal = Decimal(1)
    per: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        if not self.skus:
            raise WalletError("covers: name a SKU or a pattern such as '*/input'")
        if self.credits <= 0 or self.per <= 0:
            raise WalletError(f"covers {self.skus}: credits and per must be above 0")


BUILT_IN = {"tokens": ("tokens", Fraction(1)), "gpu_hours": ("seconds", Fraction(1, 3600))}
"""Compute credits that say by themselves what they pay: the unit of the records, and credits per such a unit."""
_GPU_METER = "gpu_seconds"


def decimals_of(unit: str) -> int:
    """The decimals to which amounts of a unit are kept: money as rated amounts, compute credits as quantities."""
    return AMOUNT_DECIMALS if unit in CURRENCY_EXPONENTS else CREDIT_DECIMALS


@dataclass(frozen=True, slots=True)
class Grant:
    """One grant of prepaid credits. Amounts are whole numbers of its smallest unit (`decimals`).

    `unit` is a currency (money) or the name of compute credits: `tokens`, `gpu_hours`, or any name with `covers`. It pays
    the windows `first` <= window < `end` (None: without end). Every `every` it is filled up anew with `amount`; of what
    was left at most `rollover` is carried over. `overage`: usage beyond the credits may go on and is invoiced; without it
    gateways are told to stop, and the grant first pays what its billing period owes already. `low_balance`: at this
    balance or below, the wallet is low. `created_us`: microseconds since 1970, of the order, for the burn order.
    """

    tenant_id: str
    id: str
    unit: str
    amount: int
    first: int
    created_us: int
    end: int | None = None
    priority: int = DEFAULT_PRIORITY
    every: Every | None = None
    rollover: int = 0
    covers: tuple[Coverage, ...] = ()
    overage: bool = True
    low_balance: int | None = None
    moved_from: str | None = None
    """The tenant whose transfer made this grant."""
    _pays: dict[tuple[str, str, str], Fraction | None] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.tenant_id == "*":
            raise WalletError(f"grant {self.id}: credits belong to one tenant, not to '*'")
        largest = LARGEST_GRANT * 10**self.decimals
        if not 0 < self.amount <= largest:
            raise WalletError(f"grant {self.id}: the amount must be above 0 and at most {LARGEST_GRANT}")
        if not 0 <= self.rollover <= largest or not 0 <= (self.low_balance or 0) <= largest:
            raise WalletError(f"grant {self.id}: rollover and low_balance must be from 0 to {LARGEST_GRANT}")
        if self.end is not None and self.end <= self.first:
            raise WalletError(f"grant {self.id}: it ends before it begins")
        if self.rollover and self.every is None:
            raise WalletError(f"grant {self.id}: rollover is for grants that come again: give every: month or day")
        if not self.is_money and self.unit.upper() in CURRENCY_EXPONENTS:
            raise WalletError(f"grant {self.id}: compute credits cannot be called {self.unit!r}, as a currency is")
        if not self.is_money and not self.covers and self.unit not in BUILT_IN:
            known = ", ".join(BUILT_IN)
            raise WalletError(
                f"grant {self.id}: {self.unit!r} is neither a currency nor one of {known}: say with covers what it pays"
            )

    @property
    def is_money(self) -> bool:
        """Whether it pays amounts; else it pays quantities."""
        return self.unit in CURRENCY_EXPONENTS

    @property
    def decimals(self) -> int:
        """Decimals of its amounts."""
        return decimals_of(self.unit)

    @property
    def identity(self) -> tuple[str, str]:
        """What makes it this grant: tenant and id."""
        return self.tenant_id, self.id

    def burns(self, window: WindowSize, at: int) -> Burn:
        """Its place among the grants in force at a window, lowest first: priority, expiry, creation, id."""
        ends = [end for end in (self.end, self.refills_after(window, at) if self.every else None) if end is not None]
        return self.priority, min(ends, default=1 << 62), self.created_us, self.id

    def refills_after(self, window: WindowSize, at: int) -> int:
        """The first window after `at` at which a grant that comes again is filled up."""
        if self.every == "day":
            per_day = 24 * 60 // window.minutes
            return (at // per_day + 1) * per_day
        return window.last(window.period(at)) + 1

    def rate(self, sku: str, meter: str, unit: str) -> Fraction | None:
        """Credits per unit of a record's quantity; 1 for money; None when the grant does not pay such a record."""
        place = (sku, meter, unit)
        if place not in self._pays:
            self._pays[place] = self._rate(sku, meter, unit)
        return self._pays[place]

    def _rate(self, sku: str, meter: str, unit: str) -> Fraction | None:
        for covered in self.covers:
            if matches(covered.skus, sku):
                return Fraction(1) if self.is_money else Fraction(covered.credits) / Fraction(covered.per)
        if self.covers:
            return None
        if self.is_money:
            return Fraction(1)
        built_in, rate = BUILT_IN[self.unit]
        return rate if unit == built_in and (self.unit != "gpu_hours" or meter == _GPU_METER) else None
