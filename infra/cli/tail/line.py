"""What `tokenmill tail` needs to know of a topic: how a record becomes lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import Message


@dataclass(frozen=True, slots=True)
class Shown:
    """One record: aligned lines for people, and plain data for programs."""

    lines: Sequence[str]
    data: dict[str, object]


class Lines(Protocol):
    """Decodes the records of one topic and knows which are wanted."""

    def read(self, message: Message) -> Shown | None:
        """The record, or None when it is not wanted. What cannot be decoded is shown as it is, with the reason."""
        ...
