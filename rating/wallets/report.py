"""What a wallet comes to at a time: money in = money out + balance + expired, and whether it is low."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rating.wallets.grants import Grant
from rating.wallets.sweep import Standing
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
    """One report per unit of which a grant was to begin by then, by unit."""
    standing = wallet.standing(hour)
    sums = wallet.sums(standing)
    due = sorted((grant for grant in wallet.grants.values() if grant.first <= hour), key=_age)
    return [
        _report(unit, [grant for grant in due if grant.unit == unit], wallet.moved, sums, standing)
        for unit in sorted({grant.unit for grant in due})
    ]


def _report(
    unit: str, due: Sequence[Grant], moved: Mapping[str, int], sums: Mapping[str, GrantSums], standing: Standing
) -> WalletReport:
    begun = [grant for grant in due if grant.id in sums]
    thresholds = [grant.low_balance for grant in begun if grant.low_balance is not None]
    left = tuple((grant, standing.remaining[grant.id]) for grant in standing.burn if grant.unit == unit)
    # A grant that was voided from its beginning on gave nothing, but for what had been transferred by then.
    all_sums = [sums.get(grant.id, GrantSums(moved.get(grant.id, 0), 0, 0, 0)) for grant in due]
    return WalletReport(
        unit=unit,
        balance=sum(each for _, each in left),
        granted=sum(each.granted for each in all_sums),
        drawn=sum(each.drawn for each in all_sums),
        lapsed=sum(each.lapsed for each in all_sums),
        voided=sum(each.voided for each in all_sums),
        moved=sum(moved.get(grant.id, 0) for grant in due),
        overage=begun[-1].overage if begun else True,
        threshold=thresholds[-1] if thresholds else None,
        in_force=left,
    )


def _age(grant: Grant) -> tuple[int, str]:
    return grant.created_us, grant.id
