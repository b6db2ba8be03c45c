"""Folding rows into what was added per usage key and hour since the last flush."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rating.aggregations.gathered import Gathered
from rating.usage import UsageKey
from streams.kernels import I32, I64, U8, find_slots, fold

MAX_ROWS = 1 << 20
"""A table takes at most this many rows before it is flushed; it bounds what is interned, and that sums fit 64 bits."""

_PROFILE_BITS, _HOUR_BITS = 20, 23
"""The rest, 20 bits, is left for tenants; no more tenants or profiles are numbered than rows are taken."""
_FIRST_SLOTS = 1 << 10
_LARGE = 1 << 42
"""Quantities from here on are summed one by one without bounds: MAX_ROWS smaller ones fit 64 bits."""

Profile = tuple[str, str, str, str, str, str, int, str]
"""A usage key without its tenant, in the order of `UsageKey`."""


@dataclass(frozen=True, slots=True)
class AddedUsage:
    """What one usage key gained in one hour: the leaf meters as integers in their smallest unit, and what was gathered.

    `custom` holds custom meters, and the ids of leaf meters where a card asks for them.
    """

    key: UsageKey
    hour: int
    meters: list[int]
    custom: dict[str, Gathered]


class Additions:
    """Sums per (usage key, hour), as columns; empty again after each flush."""

    def __init__(self, meters: int) -> None:
        """`meters`: how many leaf meters a row has."""
        self._meters = meters
        self._tenants: dict[str, int] = {}
        self._profiles: dict[Profile, int] = {}
        self.rows = 0
        self._used = 0
        self._custom: dict[int, dict[str, Gathered]] = {}
        self._large: dict[int, dict[int, int]] = {}
        self._tenant_names: list[str] = []
        self._profile_list: list[Profile] = []
        self._allocate_slots(_FIRST_SLOTS)
        self._slot_keys: I64 = np.zeros(_FIRST_SLOTS, dtype=np.int64)
        self._sums: I64 = np.zeros((_FIRST_SLOTS, meters), dtype=np.int64)
        self.unpriced: I64 = np.zeros(_FIRST_SLOTS, dtype=np.int64)

    def tenant_code(self, tenant: str) -> int:
        """The number of a tenant within this table."""
        code = self._tenants.setdefault(tenant, len(self._tenants))
        if code == len(self._tenant_names):
            self._tenant_names.append(tenant)
        return code

    def profile_code(self, profile: Profile) -> int:
        """The number of a profile within this table."""
        code = self._profiles.setdefault(profile, len(self._profiles))
        if code == len(self._profile_list):
            self._profile_list.append(profile)
        return code

    def slots(
        self, tenants: I64, profiles: I64, hours: I64, wanted: U8, unpriced_of: Callable[[UsageKey, int], int]
    ) -> I32:
        """The slot of each wanted row (-1 for the others); `unpriced_of` is asked once for each new slot."""
        rows = len(tenants)
        self.rows += int(np.count_nonzero(wanted))
        self._make_room(rows)
        packed = (tenants << (_PROFILE_BITS + _HOUR_BITS)) | (profiles << _HOUR_BITS) | hours
        out = np.empty(rows, dtype=np.int32)
        before = self._used
        self._used = find_slots(packed, wanted, self._table_key, self._table_slot, self._slot_keys, before, out)
        if self._used > before:
            self._price_slots(before, unpriced_of)
        return out

    def add(self, slots: I32, quantities: I64) -> None:
        """Add the rows' meters (meters x rows) to their slots."""
        if quantities.size and int(quantities.max()) >= _LARGE:
            quantities = self._add_large(slots, quantities)
        fold(slots, quantities, self._sums)

    def gathered(self, slot: int, name: str) -> Gathered:
        """What is gathered of a meter in a slot, to be added to."""
        meters = self._custom.setdefault(slot, {})
        found = meters.get(name)
        if found is None:
            found = meters[name] = Gathered()
        return found

    def key(self, slot: int) -> tuple[UsageKey, int]:
        """The usage key and hour of a slot."""
        return self._unpacked(int(self._slot_keys[slot]))

    def refresh_prices(self, unpriced_of: Callable[[UsageKey, int], int]) -> None:
        """Ask anew which meters have no price, after a card or an assignment changed."""
        self._price_slots(0, unpriced_of)

    def __iter__(self) -> Iterator[AddedUsage]:
        """The sums, one per usage key and hour."""
        sums = self._sums[: self._used].tolist()
        for slot, large in self._large.items():
            for meter, quantity in large.items():
                sums[slot][meter] += quantity
        for slot, (key, hour) in enumerate(self._keys(0)):
            yield AddedUsage(key, hour, sums[slot], self._custom.get(slot, {}))

    def __len__(self) -> int:
        return self._used

    def _add_large(self, slots: I32, quantities: I64) -> I64:
        """Add the quantities that could overflow a sum; returns the others."""
        for meter, row in np.argwhere((quantities >= _LARGE) & (slots >= 0)).tolist():
            large = self._large.setdefault(int(slots[row]), {})
            large[meter] = large.get(meter, 0) + int(quantities[meter, row])
        return np.where(quantities < _LARGE, quantities, 0)

    def _keys(self, first: int) -> Iterator[tuple[UsageKey, int]]:
        for packed in self._slot_keys[first : self._used].tolist():
            yield self._unpacked(packed)

    def _unpacked(self, packed: int) -> tuple[UsageKey, int]:
        profile = self._profile_list[(packed >> _HOUR_BITS) & ((1 << _PROFILE_BITS) - 1)]
        tenant = self._tenant_names[packed >> (_PROFILE_BITS + _HOUR_BITS)]
        return UsageKey(tenant, *profile), packed & ((1 << _HOUR_BITS) - 1)

    def _price_slots(self, first: int, unpriced_of: Callable[[UsageKey, int], int]) -> None:
        for slot, (key, hour) in enumerate(self._keys(first), start=first):
            self.unpriced[slot] = unpriced_of(key, hour)

    def _allocate_slots(self, slots: int) -> None:
        self._table_key: I64 = np.zeros(slots * 2, dtype=np.int64)
        self._table_slot: I32 = np.full(slots * 2, -1, dtype=np.int32)

    def _make_room(self, rows: int) -> None:
        capacity = len(self._slot_keys)
        if self._used + rows <= capacity:
            return
        while self._used + rows > capacity:
            capacity *= 2
        grow = capacity - len(self._slot_keys)
        self._slot_keys = np.concatenate([self._slot_keys, np.zeros(grow, dtype=np.int64)])
        self._sums = np.concatenate([self._sums, np.zeros((grow, self._meters), dtype=np.int64)])
        self.unpriced = np.concatenate([self.unpriced, np.zeros(grow, dtype=np.int64)])
        self._allocate_slots(capacity)
        known = self._slot_keys[: self._used].copy()
        refilled = np.empty(self._used, dtype=np.int32)
        find_slots(known, np.ones(self._used, dtype=np.uint8), self._table_key, self._table_slot, known, 0, refilled)
