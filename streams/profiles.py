"""Which usage key each row belongs to, from dictionary codes (DESIGN D4, D16)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schemas.kinds import Kind
from streams.columns import codes, integers, mixed_codes, values_of
from streams.fold import Additions, Profile
from streams.kernels import I32, I64, U8

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
    _, first, index = np.unique(mixed, return_index=True, return_inverse=True)
    distinct = []
    for row in first.tolist():
        value = {name: _text(values, int(column[row])) for name, (column, values) in columns.items()}
        distinct.append(_profile(kind, value, int(brackets[row])))
    return RowProfiles(distinct, index.astype(np.int64))


def _profile(kind: str, value: dict[str, str], bracket: int) -> Profile:
    if kind == Kind.TOKEN_USAGE:
        return (
            value["operation"],
            value["response_model"],
            value["endpoint"],
            value["region"],
            value["service_tier"],
            value["gpu_type"],
            bracket,
            value["status"],
        )
    return (GPU_OPERATION, "", "", value["region"], "", value["gpu_type"], bracket, "")


def _text(values: list[str | None], code: int) -> str:
    return (values[code] or "") if code >= 0 else ""
