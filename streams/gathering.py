"""What the rows of a batch add beyond the sums of leaf meters: custom meters event by event, and ids where a card asks.

Few rows have custom meters, so these are read row by row. Ids are hashed to 64 bits in columns; what is kept are the
different ones of each usage key and hour, in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa

from rating.aggregations.demands import Demand
from rating.aggregations.gathered import Gathered, MeteredEvent
from rating.meters import LEAF_INDEX
from schemas.events import EVENT_TIME_COLUMN
from schemas.kinds import Kind
from streams.columns import codes, dictionary_hashes, integers, string_hashes, valid
from streams.content import identities
from streams.custom_units import custom_units
from streams.fold import Additions
from streams.kernels import I32, I64, U8, U64

Ids = Literal["api_keys", "workflows"]
_COLUMNS: Mapping[Ids, str] = {"api_keys": "api_key_id", "workflows": "workflow_id"}


class Gathering:
    """Reads one batch of rows."""

    def __init__(
        self, kind: str, batch: pa.RecordBatch, hours: I64, gathered_from: Mapping[Demand, int], window_us: int
    ) -> None:
        """`hours`: the window of each row; `gathered_from`: what cards ask for, and since which window."""
        self._kind = kind
        self._batch = batch
        self._hours = hours
        self._asked = gathered_from if kind == Kind.TOKEN_USAGE else {}
        self._window_us = window_us
        self._hashed: dict[Ids, tuple[U64, np.ndarray]] = {}

    def units(self, wanted: U8, slots: I32, table: Additions) -> dict[int, dict[str, int]]:
        """Takes in the custom meters of the wanted rows. Returns them by row."""
        units = custom_units(self._kind, self._batch, wanted != 0)
        if not units:
            return units
        chosen = list(units)
        taken = pa.array(chosen)
        times = integers(self._batch.column(EVENT_TIME_COLUMN[self._kind]))[chosen].tolist()
        who = identities(self._batch.select(["id", "source"]).take(taken)).tolist()
        for row, time_us, identity in zip(chosen, times, who, strict=True):
            slot = int(slots[row])
            left_us = self._window_us - time_us % self._window_us
            for name, quantity in units[row].items():
                gathered = table.gathered(slot, name)
                gathered.take(time_us, identity, quantity, left_us)
                if self._asked:
                    self._take_asked(gathered, name, row, MeteredEvent(time_us, identity, quantity))
        return units

    def leaves(self, wanted: U8, slots: I32, quantities: I64, table: Additions) -> None:
        """Takes in the ids of the wanted rows, for the leaf meters whose ids a card asks for."""
        for (what, meter), from_hour in self._asked.items():
            place = LEAF_INDEX.get(meter)
            if place is None or what == "events":
                continue
            hashes, known = self._ids(what)
            rows = np.flatnonzero((wanted != 0) & known & (quantities[place] > 0) & (self._hours >= from_hour))
            for row in _first_of_each_pair(slots[rows], hashes[rows]):
                ids_of(table.gathered(int(slots[rows[row]]), meter), what)[int(hashes[rows[row]])] = None

    def _take_asked(self, gathered: Gathered, meter: str, row: int, event: MeteredEvent) -> None:
        """Takes in what cards ask for of one event of a custom meter."""
        hour = int(self._hours[row])
        if self._asks("events", meter, hour):
            gathered.events.append(event)
        for what in _COLUMNS:
            if self._asks(what, meter, hour):
                hashes, known = self._ids(what)
                if known[row]:
                    ids_of(gathered, what)[int(hashes[row])] = None

    def _asks(self, what: Literal["api_keys", "workflows", "events"], meter: str, hour: int) -> bool:
        from_hour = self._asked.get(Demand(what, meter))
        return from_hour is not None and hour >= from_hour

    def _ids(self, what: Ids) -> tuple[U64, np.ndarray]:
        """The hash of each row's id, and where there is one."""
        found = self._hashed.get(what)
        if found is None:
            column = self._batch.column(_COLUMNS[what])
            if isinstance(column, pa.DictionaryArray):
                by_code = codes(column)
                found = dictionary_hashes(column)[by_code], by_code >= 0
            else:
                found = string_hashes(column), valid(column)
            self._hashed[what] = found
        return found


def ids_of(gathered: Gathered, what: Ids) -> dict[int, None]:
    """The set of one kind of ids."""
    return gathered.api_keys if what == "api_keys" else gathered.workflows


def _first_of_each_pair(slots: I32, hashes: U64) -> list[int]:
    """The places of the first occurrence of each pair, in their order."""
    pairs = np.empty(len(slots), dtype=[("slot", np.int32), ("hash", np.uint64)])
    pairs["slot"], pairs["hash"] = slots, hashes
    _, first = np.unique(pairs, return_index=True)
    found: list[int] = np.sort(first).tolist()
    return found
