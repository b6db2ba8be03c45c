"""Which usage key each row belongs to, from dictionary codes (DESIGN D4, D16)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schemas.kinds import Kind
from streams.columns import codes, integers, mixed_codes, values_of
from streams.fold import Additions, Profile
from streams.kernels import I32, I64, U8, find_slots

_TOKEN_FIELDS = ("operation", "response_model", "endpoint", "region", "service_tier", "gpu_type", "status")
_GPU_FIELDS = ("region", "gpu_type")

GPU_OPERATION = "gpu"
"""The operation of usage keys that hold GPU time; such usage has no request, hence no status."""


@dataclass(frozen=True, slots=True)
class RowProfiles:
    """The distinct profiles of a batch, and each row's index into them."""

    distinct: list[Profile]
    index: I64

    def codes(self, additions: Additions, wanted: U8) -> I64:
        """Each wanted row's profile code in a table of additions; only profiles of wanted rows enter the table."""
        known = np.zeros(len(self.distinct), dtype=np.int64)
        for place in used_codes(self.index, wanted, len(self.distinct)):
            known[place] = additions.profile_code(self.distinct[place])
        return known[self.index]


def used_codes(codes: I64 | I32, wanted: U8, distinct: int) -> list[int]:
    """The codes from 0 up that some wanted row has."""
    used = codes[wanted != 0]
    found: list[int] = np.flatnonzero(np.bincount(used[used >= 0], minlength=distinct)).tolist()
    return found


def row_profiles(kind: str, batch: pa.RecordBatch, context_edges: Sequence[int]) -> RowProfiles:
    """The profiles of a batch's rows."""
    names = _TOKEN_FIELDS if kind == Kind.TOKEN_USAGE else _GPU_FIELDS
    columns = {name: (codes(batch.column(name)), values_of(batch.column(name))) for name in names}
    brackets = np.zeros(batch.num_rows, dtype=np.int64)
    if kind == Kind.TOKEN_USAGE:
        # "Above" an edge means >, so a count equal to an edge stays below it.
        brackets = np.searchsorted(
            np.asarray(context_edges, dtype=np.int64), integers(batch.column("input_tokens")), "left"
        )
    mixed = mixed_codes(
        [(column, len(values)) for column, values in columns.values()] + [(brackets, len(context_edges) + 1)]
    )
    first, index = _first_of_each(mixed)
    texts = {name: _texts(column[first], values) for name, (column, values) in columns.items()}
    at_first = brackets[first].tolist()
    if kind == Kind.TOKEN_USAGE:
        order = (texts[name] for name in _TOKEN_FIELDS[:-1])
        return RowProfiles(list(zip(*order, at_first, texts["status"], strict=True)), index)
    distinct = [
        (GPU_OPERATION, "", "", region, "", gpu_type, bracket, "")
        for region, gpu_type, bracket in zip(texts["region"], texts["gpu_type"], at_first, strict=True)
    ]
    return RowProfiles(distinct, index)


def _first_of_each(mixed: I64) -> tuple[I64, I64]:
    """The first row of each distinct number, in the order of appearance, and each row's index among them."""
    rows = len(mixed)
    places = 1 << (2 * rows).bit_length()
    slots = np.empty(rows, dtype=np.int32)
    known, slot_of = np.empty(places, dtype=np.int64), np.full(places, -1, dtype=np.int32)
    keys = np.empty(rows, dtype=np.int64)
    used = find_slots(mixed, np.ones(rows, dtype=np.uint8), known, slot_of, keys, 0, slots)
    first = np.empty(used, dtype=np.int64)
    # Written from the last row to the first, so the first one stays.
    first[slots[::-1]] = np.arange(rows - 1, -1, -1)
    return first, slots.astype(np.int64)


def _texts(chosen: I32, values: list[str | None]) -> list[str]:
    names = [value or "" for value in values] + [""]
    return [names[code] for code in chosen.tolist()]
