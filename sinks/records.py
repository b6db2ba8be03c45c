"""What a sink reads: one Kafka record with its coordinates, as plain values.

Everything a sink stores is a pure function of these values and of the identity of the log. That makes an insert
repeatable: the same range of the log always gives the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class TopicPartitionId(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class SourceRecord(NamedTuple):
    """One Kafka record. `timestamp_ms` is the record's timestamp: the append time where the topic has LogAppendTime."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    @property
    def place(self) -> str:
        """Where the record lies, for messages: `topic/partition@offset`."""
        return f"{self.topic}/{self.partition}@{self.offset}"


class EndOfPartition(NamedTuple):
    """The reader has seen everything committed in a partition up to, and not including, `offset`."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class LogId:
    """Identity of the log behind a topic's name. `epoch` is the registered one, 0 where a topic has none."""

    topic: str
    cluster_id: str
    topic_id: str
    epoch: int = 0

    def __str__(self) -> str:
        return f"{self.cluster_id}/{self.topic_id}"
