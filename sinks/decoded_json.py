"""Records of our own output topics that hold one JSON object or one batch: read, or noted as unreadable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import pyarrow as pa

from sinks.columns import coordinates, one_chunk
from sinks.records import LogId, SourceRecord

T = TypeVar("T")

KEPT_BYTES: Final = 64 * 1024
"""Of an unreadable record this many bytes are kept."""


@dataclass(frozen=True, slots=True)
class ReadRecord(Generic[T]):
    """One record and what was read from it; `content` is None where `problem` says why nothing was."""

    record: SourceRecord
    content: T | None
    problem: str = ""
    rows: int = 1


def unreadable_rows(items: Sequence[ReadRecord[T]], log_id: LogId) -> pa.Table | None:
    """Rows of the table unreadable_records for the records that could not be read; None without any."""
    bad = [item for item in items if item.content is None]
    if not bad:
        return None
    values = [item.record.value or b"" for item in bad]
    return one_chunk(
        {
            "reason": pa.array([item.problem for item in bad], pa.string()),
            "payload": pa.array([value[:KEPT_BYTES] for value in values], pa.binary()),
            "payload_bytes": pa.array([len(value) for value in values], pa.uint64()),
            **coordinates([item.record for item in bad], log_id),
        }
    )
