"""percentage: every event costs a percentage of its amount and perhaps a fixed fee, e.g. 1.3 % + 0.20 per payment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import Literal, NamedTuple, Protocol

from pydantic import Field

from rating.card_fields import Integer
from rating.errors import Path
from rating.models.base import Fee, Money, PriceModel, Quantity, Segment, too_dear
from rating.models.words import PriceRow
from rating.money import plain

_PERCENT = Decimal(100)


class EventAmount(Protocol):
    """An event with an amount, as an integer of 10^-decimals."""

    @property
    def quantity(self) -> int:
        """The amount."""
        ...


class Priced(NamedTuple):
    """What was priced so far: how many events, their amount, and their price as an integer (see `EventPricer.exact`)."""

    events: int = 0
    amount: int = 0
    price: int = 0


class Percentage(PriceModel):
    """`rate` percent of the amount of each event, and `fixed_fee` for each, between the two bounds per event.

    The first `free_events` events, or the first `free_amount` of their amounts, are free: until either is used up, in
    the order of the events (time, then identity). An event that goes beyond the free amount is charged for what is
    beyond. An event that is wholly free pays no fee and no minimum. An amount below zero gives back its percentage.
    """

    model: Literal["percentage"]
    """A percentage of the amount of each event, with a fee, free events and bounds per event."""
    rate: Money
    """Percent of the amount of an event, as text: "1.3"."""
    fixed_fee: Fee = Decimal(0)
    """What each event that is not free costs besides, as text: "0.20"."""
    free_events: Integer | None = Field(default=None, ge=0)
    """So many events of a period are free."""
    free_amount: Quantity | None = None
    """So much of the amount of a period is free; with free_events, whichever is used up first ends it."""
    minimum_per_event: Fee | None = None
    """The least that an event costs that is not free."""
    maximum_per_event: Fee | None = None
    """The most that an event costs."""

    def segments(self) -> Sequence[Segment]:
        """What the amount costs that is not free, without fees and bounds: one open segment."""
        return (Segment(Decimal(0), None, self.rate, _PERCENT, Decimal(0), "percent"),)

    def charges_nothing_used(self) -> bool:
        """Never: fees are of events."""
        return False

    def problems(self) -> Iterator[tuple[Path, str]]:
        """Bounds that contradict each other, and a rate that makes amounts that no record can hold."""
        yield from too_dear(self.rate, _PERCENT, ("rate",))
        least, most = self.minimum_per_event, self.maximum_per_event
        if least is not None and most is not None and least > most:
            yield (
                ("minimum_per_event",),
                f"{plain(least)} is more than maximum_per_event {plain(most)}: no event could cost both",
            )

    def text(self, unit: str) -> str:
        """The price in one line, for people."""
        fee = f" + {plain(self.fixed_fee)}" if self.fixed_fee else ""
        free = [f"{self.free_events} events"] if self.free_events else []
        free += [plain(self.free_amount)] if self.free_amount is not None else []
        words = [f"{plain(self.rate)} %{fee} of each event"]
        words += [f"the first {' or '.join(free)} free"] if free else []
        words += [f"at least {plain(self.minimum_per_event)}"] if self.minimum_per_event is not None else []
        words += [f"at most {plain(self.maximum_per_event)}"] if self.maximum_per_event is not None else []
        return ", ".join(words)

    def rows(self, unit: str) -> list[PriceRow]:
        """The rate and the fee, what is free, and the bounds."""
        rows = [PriceRow(f"{plain(self.rate)} %", "amount", "")]
        rows += [PriceRow(plain(self.fixed_fee), "event", "")] if self.fixed_fee else []
        rows += [PriceRow("free", "event", f"the first {self.free_events}")] if self.free_events else []
        rows += [PriceRow("free", "amount", f"the first {plain(self.free_amount)}")] if self.free_amount else []
        bounds = ("at least", self.minimum_per_event), ("at most", self.maximum_per_event)
        return rows + [PriceRow(plain(bound), "event", words) for words, bound in bounds if bound is not None]

    def event_pricer(self, decimals: int) -> EventPricer:
        """Prices events whose amounts are integers of 10^-decimals."""
        return _compiled(self, decimals)


class EventPricer:
    """Prices events one after the other, in integers of one denominator, so that nothing is rounded."""

    def __init__(self, model: Percentage, decimals: int) -> None:
        unit = Fraction(1, 10**decimals)
        slope = Fraction(model.rate) / 100 * unit
        fee, least = Fraction(model.fixed_fee), Fraction(model.minimum_per_event or 0)
        most = None if model.maximum_per_event is None else Fraction(model.maximum_per_event)
        self._denominator = lcm(*(each.denominator for each in (slope, fee, least, most or fee)))
        self._slope, self._fee, self._least = (int(each * self._denominator) for each in (slope, fee, least))
        self._most = None if most is None else int(most * self._denominator)
        self._free_events = model.free_events
        self._free_amount = None if model.free_amount is None else Fraction(model.free_amount) / unit
        # A free amount may be finer than what events can have: what is left of it then is no whole number.
        self._finer = 1 if self._free_amount is None else self._free_amount.denominator

    def price(self, events: Iterable[EventAmount], before: Priced) -> Priced:
        """What was priced before and these events, which follow it in order."""
        count, amount, price = before
        for event in events:
            price += self._one(event.quantity, count, amount)
            count += 1
            amount += max(event.quantity, 0)
        return Priced(count, amount, price)

    def exact(self, priced: Priced) -> Fraction:
        """The exact price of everything that was priced."""
        return Fraction(priced.price, self._denominator * self._finer)

    def _one(self, amount: int, count: int, used: int) -> int:
        """The price of one event after `count` others with amounts of `used`, times the denominators."""
        finer = self._finer
        if amount < 0:
            return self._slope * amount * finer
        charged = amount * finer
        left = self._left(count, used)
        if left is None or left > 0:
            if left is None or left >= charged:
                return 0
            charged -= left
        price = self._slope * charged + self._fee * finer
        price = max(price, self._least * finer)
        return price if self._most is None else min(price, self._most * finer)

    def _left(self, count: int, used: int) -> int | None:
        """What is left of the free amount, finer than amounts; None: the whole event is free, 0: nothing is."""
        if self._free_events is None and self._free_amount is None:
            return 0
        if self._free_events is not None and count >= self._free_events:
            return 0
        if self._free_amount is None:
            return None
        return max(int(self._free_amount * self._finer) - used * self._finer, 0)


@lru_cache(maxsize=4096)
def _compiled(model: Percentage, decimals: int) -> EventPricer:
    return EventPricer(model, decimals)
