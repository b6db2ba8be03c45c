"""Custom meters of a batch. Few rows have any, so these are read row by row."""

from decimal import Decimal

import numpy as np
import pyarrow as pa

from rating.meters import CUSTOM_DECIMALS, CUSTOM_PREFIX
from schemas.kinds import Kind


def custom_units(kind: str, batch: pa.RecordBatch) -> dict[int, dict[str, int]]:
    """By row: meter name (`units.<name>`) to its quantity in billionths. Rows without custom meters are left out."""
    if kind != Kind.TOKEN_USAGE:
        return {}
    column = batch.column("units")
    if column.null_count == len(column):
        return {}
    lengths = np.diff(column.offsets.to_numpy(zero_copy_only=True))
    return {
        row: {CUSTOM_PREFIX + name: _scaled(text) for name, text in column[row].as_py()}
        for row in np.flatnonzero(lengths > 0).tolist()
    }


def _scaled(text: str) -> int:
    """A decimal text in billionths. Rows that validation refused are not used, so what can't be read counts as none."""
    try:
        return int(Decimal(text).scaleb(CUSTOM_DECIMALS))
    except (ArithmeticError, ValueError):
        return 0
