"""Custom meters of a batch. Few rows have any, so these are read row by row."""

from decimal import Decimal

import numpy as np
import pyarrow as pa

from rating.meters import CUSTOM_DECIMALS, CUSTOM_PREFIX
from rating.money import to_scaled
from schemas.kinds import Kind
from streams.columns import filled_rows


def custom_units(kind: str, batch: pa.RecordBatch, chosen: np.ndarray) -> dict[int, dict[str, int]]:
    """By chosen row: meter name (`units.<name>`) to its quantity in billionths. Rows without custom meters are left out.

    `chosen` is a mask over the rows; validation has accepted what it chooses.
    """
    if kind != Kind.TOKEN_USAGE:
        return {}
    column = batch.column("units")
    rows = filled_rows(column)
    rows = rows[chosen[rows]]
    if not len(rows):
        return {}
    entries = column.take(pa.array(rows)).to_pylist()
    return {
        row: {CUSTOM_PREFIX + name: to_scaled(Decimal(text), CUSTOM_DECIMALS) for name, text in units}
        for row, units in zip(rows.tolist(), entries, strict=True)
    }
