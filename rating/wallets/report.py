"""What a wallet comes to at a time: money in = money out + balance + expired, and whether it is low."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rating.wallets.grants import Grant
from rating.wallets.wallet import GrantSums, Wallet

Level = Literal["sufficient", "low", "exhausted"]


@dataclass(frozen=True, slots=True)
class WalletReport:
    """A tenant's credits in one unit after a window; amounts are whole numbers of the unit's smallest part.

    granted = balance + drawn + lapsed + voided + moved. `in_force`: what is left of each grant, in burn order. The newest
    grant that has begun says whether usage may go on without credits (`overage`), and the newest one with a threshold when
    the balance is low.
    """

    unit: str
    balance: int
    granted: int
    drawn: int
    lapsed: int
    voided: int
    moved: int
    overage: bool
    threshold: int | None
    in_force: tuple[tuple[Grant, int], ...]

    @property
    def level(self) -> Level:
        """exhausted: nothing is left; low: the threshold or less is left."""
        if self.balance == 0:
            return "exhausted"
        return "low" if self.threshold is not None and self.balance <= self.threshold else "sufficient"


def reports(wallet: Wallet, hour: int) -> list[WalletReport]:
    """One report per unit of which a grant has begun, by unit."""
    standing = wallet.standing(hour)
    sums = wallet.sums(standing)
    grants = wallet.grants
    found = []
    for unit in sorted({grants[grant_id].unit for grant_id in sums}):
        own = sorted((grants[each] for each in sums if grants[each].unit == unit), key=_age)
        left = tuple((grant, standing.remaining[grant.id]) for grant in standing.burn if grant.unit == unit)
        thresholds = [grant.low_balance for grant in own if grant.low_balance is not None]
        total = GrantSums(*(sum(column) for column in zip(*(sums[grant.id] for grant in own), strict=True)))
        found.append(
            WalletReport(
                unit=unit,
                balance=sum(each for _, each in left),
                granted=total.granted,
                drawn=total.drawn,
                lapsed=total.lapsed,
                voided=total.voided,
                moved=sum(wallet.moved.get(grant.id, 0) for grant in own),
                overage=own[-1].overage,
                threshold=thresholds[-1] if thresholds else None,
                in_force=left,
            )
        )
    return found


def _age(grant: Grant) -> tuple[int, str]:
    return grant.created_us, grant.id
