"""Which cell of a SKU is for which usage, at which time."""

from __future__ import annotations

from collections.abc import Sequence

from rating.cards import RateCard, Sku
from rating.errors import PeriodError
from rating.matching import matches, rank
from rating.selectors.time_of_day import TimeOfDay
from rating.usage import UsageKey
from rating.windows import WindowSize

Slot = tuple[int, ...]
"""What a card needs to know of the time of usage: the bucket of each of its time-of-day charges. Empty if it has none."""
UNTIMED: Slot = ()
_REMEMBERED = 20_000
_Condition = tuple[int, int]
"""The position of a time-of-day charge in a slot, and the bucket that it must have."""


class Cells:
    """The cells of one card's SKUs, the most specific first; remembers the slots of windows."""

    def __init__(self, card: RateCard) -> None:
        self._timed: dict[TimeOfDay, int] = {}
        self._cells: dict[int, Sequence[tuple[Sku, tuple[_Condition, ...]]]] = {}
        for sku in card.skus:
            ordered = sorted(sku.cells, key=rank, reverse=True)
            self._cells[id(sku)] = [(cell, self._conditions(cell)) for cell in ordered]
        self._slots: dict[tuple[int, int], Slot] = {}

    @property
    def is_timed(self) -> bool:
        """Whether the price of some usage depends on its time of day."""
        return bool(self._timed)

    def slot(self, hour: int, window: WindowSize) -> Slot:
        """The slot of a window: what `cell` asks for."""
        if not self._timed:
            return UNTIMED
        found = self._slots.get((window.minutes, hour))
        if found is None:
            if len(self._slots) >= _REMEMBERED:
                self._slots.clear()
            start = window.start(hour)
            found = tuple(selector.bucket_at(start) for selector in self._timed)
            self._slots[window.minutes, hour] = found
        return found

    def ordered(self, sku: Sku) -> list[Sku]:
        """The cells of a SKU of this card, the most specific first: the order in which usage is offered to them."""
        return [cell for cell, _ in self._cells[id(sku)]]

    def cell(self, sku: Sku, key: UsageKey, slot: Slot) -> Sku | None:
        """The cell of a SKU of this card for usage that matches the SKU; None if no cell is for it.

        Raises PeriodError for a card with prices by the time of day when no slot is given.
        """
        if self._timed and not slot:
            raise PeriodError("this card has prices by the time of day: say at what time the usage was")
        for cell, conditions in self._cells[id(sku)]:
            if matches(cell, key) and all(slot[position] == bucket for position, bucket in conditions):
                return cell
        return None

    def _conditions(self, cell: Sku) -> tuple[_Condition, ...]:
        if cell.cell is None:
            return ()
        return tuple((self._timed.setdefault(each, len(self._timed)), bucket) for each, bucket in cell.cell.times)
