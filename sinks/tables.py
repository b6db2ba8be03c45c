"""The tables that sinks write, and what delivery must know of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """One target table. Every one has the columns log_id, topic, kafka_partition and kafka_offset.

    `replaces`: a row stored again replaces itself, so repeating an insert is harmless and rows cannot be counted.
    `numbered`: a record gives several rows, and the column kafka_row numbers them from 0.
    """

    name: str
    replaces: bool = False
    numbered: bool = False


USAGE_RAW = Table("usage_raw", numbered=True)
GPU_USAGE_RAW = Table("gpu_usage_raw", numbered=True)
GPU_SAMPLES = Table("gpu_samples", numbered=True)
CONTROL_RECORDS = Table("control_records")
RATED_STATE = Table("rated_state", replaces=True)
RATED_LEDGER = Table("rated_ledger")
SIGNALS = Table("signals")
EXCLUSIONS = Table("exclusions", numbered=True)
DEAD_LETTERS = Table("dead_letters", numbered=True)
UNREADABLE = Table("unreadable_records")

ALL: tuple[Table, ...] = (
    USAGE_RAW,
    GPU_USAGE_RAW,
    GPU_SAMPLES,
    CONTROL_RECORDS,
    RATED_STATE,
    RATED_LEDGER,
    SIGNALS,
    EXCLUSIONS,
    DEAD_LETTERS,
    UNREADABLE,
)
