"""The compiled loops of the hot path: hashing, duplicate lookup and folding over columns (DESIGN D16).

Everything here works on NumPy arrays, releases the GIL and allocates nothing per row. The 64-bit string hash is MurmurHash64A
(Austin Appleby, public domain); `mix` is the finaliser of MurmurHash3.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]

NEW, SAME, CONFLICT, UNCHECKED = 0, 1, 2, 3
"""What `remember` answers for a row: first seen, seen with the same content, seen with other contents only, too old to tell."""

_M = np.uint64(0xC6A4A7935BD1E995)
_R = np.uint64(47)
_S33 = np.uint64(33)
_F1 = np.uint64(0xFF51AFD7ED558CCD)
_F2 = np.uint64(0xC4CEB9FE1A85EC53)
_EMPTY = np.uint64(0)


@njit("uint64(uint64)", nogil=True, cache=True, inline="always")
def mix(value: np.uint64) -> np.uint64:
    """Spread the bits of one 64-bit number."""
    value ^= value >> _S33
    value *= _F1
    value ^= value >> _S33
    value *= _F2
    value ^= value >> _S33
    return value


@njit(nogil=True, cache=True)
def hash_strings(data: U8, offsets: I32, out: U64) -> None:
    """Hash each string of an Arrow string column: `offsets` has one entry more than `out`; 30 ns a string of 32 bytes."""
    for row in range(out.shape[0]):
        start = offsets[row]
        length = offsets[row + 1] - start
        h = np.uint64(0x9747B28C) ^ (np.uint64(length) * _M)
        words = length >> 3
        position = start
        for _ in range(words):
            k = np.uint64(0)
            for byte in range(8):
                k |= np.uint64(data[position + byte]) << np.uint64(8 * byte)
            k *= _M
            k ^= k >> _R
            k *= _M
            h ^= k
            h *= _M
            position += 8
        rest = length & 7
        if rest:
            k = np.uint64(0)
            for byte in range(rest):
                k |= np.uint64(data[position + byte]) << np.uint64(8 * byte)
            h ^= k
            h *= _M
        h ^= h >> _R
        h *= _M
        h ^= h >> _R
        out[row] = h


@njit(nogil=True, cache=True)
def add_column(out: U64, values: U64, seed: np.uint64) -> None:
    """Add one column to the rows' content hashes; the sum does not depend on the order of the columns."""
    for row in range(out.shape[0]):
        out[row] += mix(values[row] ^ seed)


@njit(nogil=True, cache=True)
def add_coded_column(out: U64, dictionary: U64, codes: I32, seed: np.uint64) -> None:
    """Add a dictionary column: `dictionary` holds the hash of each value, its last entry stands for null (code -1)."""
    null = dictionary[dictionary.shape[0] - 1]
    for row in range(out.shape[0]):
        code = codes[row]
        value = dictionary[code] if code >= 0 else null
        out[row] += mix(value ^ seed)


@njit(nogil=True, cache=True)
def combine(first: U64, second: U64, out: U64) -> None:
    """Hash pairs: `out[i]` identifies (first[i], second[i]) and is never 0, which marks an empty place."""
    for row in range(out.shape[0]):
        value = mix(first[row] ^ mix(second[row] + _M))
        out[row] = value if value != _EMPTY else _M


@njit(nogil=True, cache=True)
def remember(
    identities: U64,
    contents: U64,
    minutes: I32,
    times: I64,
    wanted: U8,
    first: int,
    oldest_minute: int,
    stop_us: int,
    watermark_us: int,
    free_places: int,
    free_entries: int,
    table_identity: U64,
    table_content: U64,
    table_minute: I32,
    out: U8,
) -> tuple[int, int, int, int]:
    """Look the wanted rows from `first` on up and remember the new ones; fills `out` with an answer per row.

    The table is open addressing with linear probing over a power of two. An entry is a pair of identity and content; the
    first content of an identity lies at the identity's place, further ones (conflicts) at a place of the pair, and then the
    identity's own entry lives as long as the newest of them. Rows before `oldest_minute` can't be checked: UNCHECKED, not
    remembered; entries before it count as gone.

    Stops early before a row for which `free_places` or `free_entries` are used up, and after a counted row (NEW or
    UNCHECKED) whose time reaches `stop_us`. Answers the row to go on with, the places and the entries taken, and the
    highest time of the counted rows (at least `watermark_us`).
    """
    mask = np.uint64(table_identity.shape[0] - 1)
    one = np.uint64(1)
    places = 0
    entries = 0
    for row in range(first, identities.shape[0]):
        if wanted[row] == 0:
            out[row] = NEW
            continue
        minute = minutes[row]
        if minute < oldest_minute:
            out[row] = UNCHECKED
        else:
            identity = identities[row]
            content = contents[row]
            place = identity & mask
            while table_identity[place] != _EMPTY and table_identity[place] != identity:
                place = (place + one) & mask
            known = table_identity[place] == identity and table_minute[place] >= oldest_minute
            if known and table_content[place] == content:
                out[row] = SAME
                continue
            own = place
            if known:
                identity = mix(identity ^ mix(content + _M))
                if identity == _EMPTY:
                    identity = _M
                place = identity & mask
                while table_identity[place] != _EMPTY and table_identity[place] != identity:
                    place = (place + one) & mask
                if table_identity[place] == identity and table_minute[place] >= oldest_minute:
                    out[row] = SAME
                    continue
            fresh = table_identity[place] == _EMPTY
            if entries == free_entries or (fresh and places == free_places):
                return row, places, entries, watermark_us
            table_identity[place] = identity
            table_content[place] = content
            table_minute[place] = minute
            entries += 1
            if fresh:
                places += 1
            if known:
                table_minute[own] = max(table_minute[own], minute)
                out[row] = CONFLICT
                continue
            out[row] = NEW
        watermark_us = max(watermark_us, times[row])
        if watermark_us >= stop_us:
            return row + 1, places, entries, watermark_us
    return identities.shape[0], places, entries, watermark_us


@njit(nogil=True, cache=True)
def rehash(
    old_identity: U64,
    old_content: U64,
    old_minute: I32,
    oldest_minute: int,
    new_identity: U64,
    new_content: U64,
    new_minute: I32,
) -> int:
    """Move the entries of `oldest_minute` and later into an empty table; answers how many moved."""
    mask = np.uint64(new_identity.shape[0] - 1)
    one = np.uint64(1)
    moved = 0
    for index in range(old_identity.shape[0]):
        identity = old_identity[index]
        if identity == _EMPTY or old_minute[index] < oldest_minute:
            continue
        place = identity & mask
        while new_identity[place] != _EMPTY:
            place = (place + one) & mask
        new_identity[place] = identity
        new_content[place] = old_content[index]
        new_minute[place] = old_minute[index]
        moved += 1
    return moved


@njit(nogil=True, cache=True)
def find_slots(packed: I64, wanted: U8, table_key: I64, table_slot: I32, slot_key: I64, used: int, out: I32) -> int:
    """Give each wanted row the slot of its packed usage key, taking new slots as needed; answers the slots used now.

    `table_slot` is -1 where empty; `slot_key[slot]` is the key of a slot. The caller has made room for every row to be new.
    """
    mask = np.uint64(table_key.shape[0] - 1)
    one = np.uint64(1)
    last_key = np.int64(-1)
    last_slot = np.int32(-1)
    for row in range(packed.shape[0]):
        if wanted[row] == 0:
            out[row] = -1
            continue
        key = packed[row]
        if key == last_key:
            out[row] = last_slot
            continue
        place = mix(np.uint64(key)) & mask
        while True:
            slot = table_slot[place]
            if slot < 0:
                slot = np.int32(used)
                table_key[place] = key
                table_slot[place] = slot
                slot_key[slot] = key
                used += 1
                break
            if table_key[place] == key:
                break
            place = (place + one) & mask
        out[row] = slot
        last_key = key
        last_slot = slot
    return used


@njit(nogil=True, cache=True)
def fold(slots: I32, quantities: I64, sums: I64) -> None:
    """Add each row's meters to its slot: `quantities` is meters x rows, `sums` slots x meters; slot -1 is skipped."""
    meters = quantities.shape[0]
    for row in range(slots.shape[0]):
        slot = slots[row]
        if slot < 0:
            continue
        for meter in range(meters):
            sums[slot, meter] += quantities[meter, row]


@njit(nogil=True, cache=True)
def unrated_rows(slots: I32, quantities: I64, unpriced: I64, out: U8) -> None:
    """Mark the rows that use a meter without a price: bit m of `unpriced[slot]` says that meter m has none."""
    meters = quantities.shape[0]
    for row in range(slots.shape[0]):
        slot = slots[row]
        out[row] = 0
        if slot < 0 or unpriced[slot] == 0:
            continue
        for meter in range(meters):
            if quantities[meter, row] > 0 and (unpriced[slot] >> meter) & 1:
                out[row] = 1
                break
