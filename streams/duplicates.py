"""The event-id window: which single events of a partition were seen before (DESIGN D7, guard 2)."""

import numpy as np

from streams.kernels import I32, U8, U64, rehash, remember

_BYTES_PER_PLACE = 20
_LOAD = 0.6
_SMALLEST = 1 << 12


class EventWindow:
    """Remembers 64 bits of identity and 64 of content per event, by hour of event time, within a bound of bytes.

    Past the bound the oldest hours are forgotten; events of a forgotten hour can't be told from new ones, so the window
    answers UNCHECKED for them and counts the hours it gave up. What it answers depends on the rows and their order alone,
    never on the process that holds it.
    """

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: the bound for this one partition's table."""
        self._places_limit = _SMALLEST
        while self._places_limit * 2 * _BYTES_PER_PLACE <= max_bytes:
            self._places_limit *= 2
        self._allocate(_SMALLEST)
        self._used = 0
        self._first_offset_of_hour: dict[int, int] = {}
        self.oldest_hour = -(1 << 31)
        self.evicted_hours = 0

    def __len__(self) -> int:
        return self._used

    @property
    def bytes(self) -> int:
        """The size of the table in memory."""
        return int(self._identity.shape[0]) * _BYTES_PER_PLACE

    @property
    def first_offset(self) -> int | None:
        """The lowest log offset from which the window can be rebuilt; None when it is empty."""
        return min(self._first_offset_of_hour.values(), default=None)

    def check(self, identities: U64, contents: U64, hours: I32, wanted: U8, offset: int) -> U8:
        """Look up the wanted rows of a record at `offset` and remember the new ones.

        Returns a `kernels` answer per row (NEW for rows that aren't wanted).
        """
        rows = identities.shape[0]
        out = np.zeros(rows, dtype=np.uint8)
        if rows == 0:
            return out
        self._make_room(rows)
        self._used += remember(
            identities, contents, hours, wanted, self.oldest_hour, self._identity, self._content, self._hour, out
        )
        for hour in np.unique(hours[wanted != 0]).tolist():
            if hour >= self.oldest_hour and offset < self._first_offset_of_hour.get(hour, offset + 1):
                self._first_offset_of_hour[hour] = offset
        return out

    def forget_before(self, hour: int) -> None:
        """Stop remembering events of hours before `hour` (their state is gone, so they are refused anyway)."""
        if hour > self.oldest_hour:
            self.oldest_hour = hour
            self._first_offset_of_hour = {h: o for h, o in self._first_offset_of_hour.items() if h >= hour}

    def _allocate(self, places: int) -> None:
        self._identity: U64 = np.zeros(places, dtype=np.uint64)
        self._content: U64 = np.zeros(places, dtype=np.uint64)
        self._hour: I32 = np.zeros(places, dtype=np.int32)

    def _make_room(self, rows: int) -> None:
        places = self._identity.shape[0]
        if self._used + rows <= places * _LOAD:
            return
        while self._used + rows > places * _LOAD and places < self._places_limit:
            places *= 2
        if self._used + rows > places * _LOAD:
            self._evict(int(places * _LOAD * 0.75) - rows)
        old = (self._identity, self._content, self._hour)
        while rows > places * _LOAD:
            places *= 2
        self._allocate(places)
        self._used = rehash(*old, self.oldest_hour, self._identity, self._content, self._hour)

    def _evict(self, keep: int) -> None:
        """Give up the oldest hours until at most `keep` entries stay."""
        live = self._hour[(self._identity != 0) & (self._hour >= self.oldest_hour)]
        hours, counts = np.unique(live, return_counts=True)
        remaining = int(live.shape[0])
        for hour, count in zip(hours.tolist(), counts.tolist(), strict=True):
            if remaining <= keep:
                break
            remaining -= count
            self.evicted_hours += 1
            self.forget_before(hour + 1)
