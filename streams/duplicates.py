"""The event-id window: which single events of a partition were seen before (DESIGN D7, guard 2)."""

from dataclasses import dataclass

import numpy as np

from streams.columns import distinct
from streams.kernels import CONFLICT, I32, I64, NEW, U8, U64, rehash, remember

MINUTE_US = 60_000_000
_BYTES_PER_PLACE = 20
_LOAD = 0.6
"""How full of remembered events the largest table may be."""
_FULL = 0.7
"""How full of entries, gone ones included, a table may be before it is cleaned."""
_KEPT_OF_FULL = 0.75
"""What of the bound is left when the oldest events had to go."""
_SMALLEST = 1 << 12
_BEGINNING = -(1 << 31)
NEVER_STOP_US = (1 << 62) - 1


@dataclass(frozen=True, slots=True)
class Sightings:
    """Rows of one batch as the window sees them. `minutes` are of event time; rows not `wanted` are passed over."""

    identities: U64
    contents: U64
    minutes: I32
    times_us: I64
    wanted: U8
    first_offset: int
    """The log offset of the first row."""

    def __len__(self) -> int:
        return int(self.identities.shape[0])


class EventWindow:
    """Remembers 64 bits of identity and 64 of content per event, by minute of event time, within a bound of bytes.

    An event that was refused because its identity had another content is remembered as well: the same again is a
    duplicate of it. Past the bound the oldest minutes are forgotten; events of a forgotten minute can't be told from new
    ones, so the window answers UNCHECKED for them and counts the minutes it gave up. What it answers depends on the rows
    and their order alone: not on how they were cut into batches, nor on whether the window was learnt again from the log.
    """

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: the bound for this one partition's table."""
        self._places_limit = _SMALLEST
        while self._places_limit * 2 * _BYTES_PER_PLACE <= max_bytes:
            self._places_limit *= 2
        self.limit = int(self._places_limit * _LOAD)
        """How many events fit."""
        self._allocate(_SMALLEST)
        self._placed = 0
        self._minutes: dict[int, int] = {}
        """How many events of each minute are remembered."""
        self._first_offset_of_hour: dict[int, int] = {}
        self._entries = 0
        self.oldest_minute = _BEGINNING
        self.evicted_minutes = 0

    def __len__(self) -> int:
        return self._entries

    @property
    def bytes(self) -> int:
        """The size of the table in memory."""
        return int(self._identity.shape[0]) * _BYTES_PER_PLACE

    @property
    def first_offset(self) -> int | None:
        """A log offset from which the window can be rebuilt; None when it is empty."""
        return min(self._first_offset_of_hour.values(), default=None)

    def check(self, rows: Sightings, out: U8, first: int, watermark_us: int, stop_us: int) -> tuple[int, int]:
        """Look the rows from `first` on up and remember the new ones; fills `out` with `kernels` answers.

        Returns the row to go on with and the watermark, which NEW and UNCHECKED rows move. It is the number of rows,
        or less when the watermark reached `stop_us`, which may change what is to be forgotten.
        """
        row = first
        while True:
            began = row
            row, placed, entries, watermark_us = remember(
                rows.identities,
                rows.contents,
                rows.minutes,
                rows.times_us,
                rows.wanted,
                began,
                self.oldest_minute,
                stop_us,
                watermark_us,
                max(int(self._identity.shape[0] * _FULL) - self._placed, 0),
                max(self.limit - self._entries, 0),
                self._identity,
                self._content,
                self._minute,
                out,
            )
            self._placed += placed
            self._count(rows, out, began, row, entries)
            if row == len(rows) or (row > began and watermark_us >= stop_us):
                return row, watermark_us
            if self._entries >= self.limit:
                self._evict()
            else:
                self._make_places()

    def forget_before(self, minute: int) -> None:
        """Stop remembering events of minutes before `minute`."""
        if minute <= self.oldest_minute:
            return
        self.oldest_minute = minute
        self._minutes = {each: count for each, count in self._minutes.items() if each >= minute}
        self._entries = sum(self._minutes.values())
        hour = minute // 60
        self._first_offset_of_hour = {h: o for h, o in self._first_offset_of_hour.items() if h >= hour}

    def _count(self, rows: Sightings, out: U8, first: int, end: int, entries: int) -> None:
        """Note the minutes of the entries that rows `first` to `end` made, and where in the log their hours begin."""
        if not entries:
            return
        answers = out[first:end]
        added = ((answers == NEW) | (answers == CONFLICT)) & (rows.wanted[first:end] != 0)
        minutes, counts = distinct(rows.minutes[first:end][added])
        for minute, count in zip(minutes.tolist(), counts.tolist(), strict=True):
            self._minutes[minute] = self._minutes.get(minute, 0) + count
            self._first_offset_of_hour.setdefault(minute // 60, rows.first_offset)
        self._entries += entries

    def _allocate(self, places: int) -> None:
        self._identity: U64 = np.zeros(places, dtype=np.uint64)
        self._content: U64 = np.zeros(places, dtype=np.uint64)
        self._minute: I32 = np.zeros(places, dtype=np.int32)

    def _make_places(self) -> None:
        """Drop the entries that are gone, and take a larger table where that does not free enough."""
        old = (self._identity, self._content, self._minute)
        live = int(np.count_nonzero((self._identity != 0) & (self._minute >= self.oldest_minute)))
        places = int(self._identity.shape[0])
        while places < self._places_limit and live > places * _FULL / 2:
            places *= 2
        # Beyond the bound only where many identities came with several contents, whose own entries outlive them.
        while live > places * (_LOAD + _FULL) / 2:
            places *= 2
        self._allocate(places)
        self._placed = rehash(*old, self.oldest_minute, self._identity, self._content, self._minute)

    def _evict(self) -> None:
        """Give up the oldest minutes until a part of the bound is free."""
        remaining = self._entries
        oldest = self.oldest_minute
        for minute in sorted(self._minutes):
            if remaining <= self.limit * _KEPT_OF_FULL:
                break
            remaining -= self._minutes[minute]
            self.evicted_minutes += 1
            oldest = minute + 1
        self.forget_before(oldest)
