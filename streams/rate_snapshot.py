"""What a flush of the rating stage takes along."""

from dataclasses import dataclass

from rating.catalog import Catalog
from streams.balance import SourceBalance
from streams.fold import Additions
from streams.numbering import SourceNumbers
from streams.rejects import Rejects
from streams.rerating import Orders
from streams.transactions import OutgoingRecord
from streams.wallet_orders import WalletOrder


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the log that one catalog prices, up to and including `position`."""

    position: int
    watermark_us: int
    catalog: Catalog
    additions: dict[str, Additions]
    """By the period the usage is booked in; "" for usage that came before its period closed."""
    begun: frozenset[str]
    """The periods in which time has stood."""
    orders: Orders
    """The closed months that are priced again."""
    wallets: tuple[WalletOrder, ...] = ()
    """The orders about prepaid credits that came in it; a transfer comes first."""


@dataclass(slots=True)
class RateSnapshot:
    """What was read since the last flush, cut loose from what reading goes on changing."""

    position: int
    watermark_us: int
    stretches: list[Stretch]
    """In the order of the log; the last one ends at `position`."""
    controls: list[OutgoingRecord]
    numbers: dict[tuple[str, int], SourceNumbers]
    balance: dict[str, SourceBalance]
    tally: SourceBalance
    """What was counted since the last flush, of all sources together."""
    rejects: Rejects
    window_from: int | None
    window_oldest_minute: int
    evicted_minutes: int
