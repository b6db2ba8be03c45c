"""The note that a sink leaves in Kafka before it inserts: which records the next insert will hold (DESIGN D11).

It is the metadata of an ordinary offset commit. The committed offset is the first of the range, so even a reader that
does not know the note starts in the right place. Kafka keeps at most 4,096 UTF-16 units of metadata and librdkafka
adds a NUL, which some clients show; a note is about 60 characters of ASCII.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sinks.errors import DataLostError

VERSION = "v1"
SETTLED = ""
"""The metadata of a commit that says: everything before this offset is stored, nothing is under way."""
MAX_CHARACTERS = 4095

_NOTE = re.compile(r"v1:(?P<first>[0-9]{1,19})-(?P<last>[0-9]{1,19}):(?P<records>[0-9]{1,10}):(?P<topic_id>[^:]{0,64})")


class Intent(NamedTuple):
    """The range of one insert: from offset `first` to `last`, both inclusive, `records` records of log `topic_id`.

    Transaction markers and compaction leave holes between offsets, so `records` can be less than last - first + 1.
    """

    first: int
    last: int
    records: int
    topic_id: str


def encode(intent: Intent) -> str:
    """The note for a range: `v1:<first>-<last>:<records>:<topic id>`."""
    note = f"{VERSION}:{intent.first}-{intent.last}:{intent.records}:{intent.topic_id}"
    if not _NOTE.fullmatch(note) or intent.last < intent.first or intent.records < 1:
        raise ValueError(f"not a range that can be noted: {intent}")
    return note


def decode(metadata: str | None) -> Intent | None:
    """Read the metadata of a commit: an Intent, or None when nothing is under way.

    Raises DataLostError for a text that is not ours, or of a later version: guessing could lose or double rows.
    """
    text = (metadata or "").rstrip("\0")
    if text == SETTLED:
        return None
    match = _NOTE.fullmatch(text)
    if match is None or int(match["last"]) < int(match["first"]):
        raise DataLostError(
            f"the committed offset carries a note that this version cannot read: {text[:80]!r}; "
            "stop the other writer of this consumer group, or finish its work with the version that wrote it",
            code="unknown_intent",
            metadata=text,
        )
    return Intent(int(match["first"]), int(match["last"]), int(match["records"]), match["topic_id"])
