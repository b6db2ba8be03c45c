"""What is gathered of a meter where its sum alone is not enough: one mergeable value per usage key and window.

Merging is commutative and associative, so the value does not depend on how events were cut into batches. Of a custom
meter everything that has a fixed size is always gathered; sets of ids and single events only where a card asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class MeteredEvent(NamedTuple):
    """One event's quantity of a meter. Events are ordered by time, those of one instant by identity.

    `time_us` is in microseconds since 1970; `identity` is a number that tells events of one instant apart (a 64-bit hash of
    source and id); `quantity` is in the meter's smallest unit.
    """

    time_us: int
    identity: int
    quantity: int


@dataclass(slots=True, eq=True)
class Gathered:
    """The events of a meter in one window, merged.

    `total` is the sum of the quantities; `count`, `largest` and `latest` are of the events; `weighted` is the sum of
    quantity x the microseconds from the event to the end of the window. `api_keys`, `workflows` (64-bit hashes, in the
    order in which they came) and `events` are empty unless they are asked for.
    """

    total: int = 0
    count: int = 0
    largest: int | None = None
    latest: MeteredEvent | None = None
    weighted: int = 0
    api_keys: dict[int, None] = field(default_factory=dict)
    workflows: dict[int, None] = field(default_factory=dict)
    events: list[MeteredEvent] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything: an event of quantity 0 is something."""
        return bool(self.total or self.count or self.api_keys or self.workflows or self.events)

    def take(self, time_us: int, identity: int, quantity: int, left_us: int) -> None:
        """Take one event in; `left_us` are the microseconds from it to the end of its window."""
        self.total += quantity
        self.count += 1
        if self.largest is None or quantity > self.largest:
            self.largest = quantity
        latest = self.latest
        if latest is None or time_us > latest[0] or (time_us == latest[0] and (time_us, identity, quantity) > latest):
            self.latest = MeteredEvent(time_us, identity, quantity)
        self.weighted += quantity * left_us

    def merge(self, other: Gathered) -> None:
        """Take in what was gathered elsewhere of other events of the window."""
        self.total += other.total
        self.count += other.count
        self.weighted += other.weighted
        if other.largest is not None and (self.largest is None or other.largest > self.largest):
            self.largest = other.largest
        if other.latest is not None and (self.latest is None or other.latest > self.latest):
            self.latest = other.latest
        self.api_keys.update(other.api_keys)
        self.workflows.update(other.workflows)
        self.events.extend(other.events)

    def copy(self) -> Gathered:
        """The same, cut loose from this one."""
        made = Gathered()
        made.merge(self)
        return made


Quantity = int | Gathered
"""What a window holds of a meter, in its smallest unit: the sum where that is enough, or all that was gathered."""


def gathered_of(events: Iterable[MeteredEvent], window_end_us: int, *, keep_events: bool = True) -> Gathered:
    """What is gathered of some events of one window, which ends at `window_end_us`.

    `keep_events`: whether the single events stay, as a price that is made event by event needs them.
    """
    made = Gathered()
    for event in events:
        made.take(*event, window_end_us - event.time_us)
        if keep_events:
            made.events.append(event)
    return made


def single(quantity: int, window_start_us: int, window_us: int) -> Gathered:
    """A quantity of which nothing else is known: one event at the start of its window."""
    event = MeteredEvent(window_start_us, 0, quantity)
    return gathered_of([event], window_start_us + window_us)


def merged(first: Quantity, second: Quantity) -> Quantity:
    """Both together; a value that was gathered is changed in place if it is the first, and never if it is the second."""
    if isinstance(first, int):
        if isinstance(second, int):
            return first + second
        first = Gathered(total=first)
    first.merge(second if isinstance(second, Gathered) else Gathered(total=second))
    return first


def total_of(quantity: Quantity) -> int:
    """The sum of the quantities."""
    return quantity if isinstance(quantity, int) else quantity.total


def in_order(events: Iterable[MeteredEvent]) -> Iterator[MeteredEvent]:
    """Events in the order in which a price takes them."""
    return iter(sorted(events))
