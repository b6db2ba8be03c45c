"""The leaf meters of whole batches: `rating.meters.derive_leaves` over columns."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from rating.meters import LEAF_METERS, derive_leaves
from rating.usage import TOTAL_NAMES
from schemas.kinds import Kind
from streams.columns import integers, millionths
from streams.kernels import I64

METERS = len(LEAF_METERS)

_TOKEN_COLUMNS: Mapping[str, tuple[str, Callable[[pa.Array], I64]]] = {
    "input_tokens": ("input_tokens", integers),
    "cache_read_input_tokens": ("cache_read_input_tokens", integers),
    "cache_write_input_tokens": ("cache_write_input_tokens", integers),
    "output_tokens": ("output_tokens", integers),
    "reasoning_output_tokens": ("reasoning_output_tokens", integers),
    "training_tokens": ("training_tokens", integers),
    "images": ("images", integers),
    "audio_microseconds": ("audio_seconds", millionths),
    "video_microseconds": ("video_seconds", millionths),
}
_GPU_COLUMNS: Mapping[str, tuple[str, Callable[[pa.Array], I64]]] = {
    "gpu_microseconds": ("allocated_gpu_seconds", millionths),
    "gpu_busy_microseconds": ("busy_gpu_seconds", millionths),
    "gpu_energy_microjoules": ("energy_joules", millionths),
}
_COLUMNS = {str(Kind.TOKEN_USAGE): _TOKEN_COLUMNS, str(Kind.GPU_USAGE): _GPU_COLUMNS}


def leaf_quantities(kind: str, batch: pa.RecordBatch) -> I64:
    """The leaf meters of every row, meters x rows, each in its smallest unit (whole tokens, millionths of a second).

    Rows that validation refused hold no meaning.
    """
    columns = _COLUMNS[kind]
    zeros = np.zeros(batch.num_rows, dtype=np.int64)
    totals: dict[str, I64] = dict.fromkeys(TOTAL_NAMES, zeros)
    for total, (column, read) in columns.items():
        totals[total] = read(batch.column(column))
    if kind == Kind.TOKEN_USAGE:
        totals["requests"] = np.ones(batch.num_rows, dtype=np.int64)
    return np.stack(derive_leaves(**totals))
