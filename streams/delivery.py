"""Faust's events as the stages see them."""

from collections.abc import Mapping, Sequence

import faust

from streams.processor import SourceRecord


def source_record(event: faust.Event) -> SourceRecord:
    """A delivered Faust event as a source record; its time is the broker's, in microseconds."""
    message = event.message
    headers: Mapping[str, bytes] | Sequence[tuple[str, bytes]] = message.headers or {}
    return SourceRecord(
        message.offset,
        round(message.timestamp * 1000) * 1000,
        message.key,
        message.value if message.value is not None else b"",
        dict(headers),
    )
