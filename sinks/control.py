"""Control records of usage.events.v1 as rows: who published which card, assignment or order, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import orjson
import pyarrow as pa

from schemas.cloudevents import CloudEvent
from schemas.instants import parse_instant
from sinks.columns import MICROSECONDS, coordinates, one_chunk
from sinks.decoding import DecodedRecord
from sinks.records import LogId

_DICTIONARY: Final = pa.dictionary(pa.int32(), pa.string())


def control_rows(items: Sequence[DecodedRecord], log_id: LogId) -> pa.Table | None:
    """Rows of the table control_records; None where the range has no control record.

    Stored as published, also what the worker then refuses: this is the audit trail, not the list of what is in force.
    """
    found = [(item.control, item.record) for item in items if item.control is not None]
    if not found:
        return None
    events = [event for event, _ in found]
    cards = [_card(event) for event in events]
    return one_chunk(
        {
            "kind": pa.array([event.type for event in events], _DICTIONARY),
            "id": pa.array([event.id for event in events], pa.string()),
            "source": pa.array([event.source for event in events], _DICTIONARY),
            "time": pa.array([event.time for event in events], MICROSECONDS),
            "tenant_id": pa.array([_text(event.data.get("tenant_id")) for event in events], _DICTIONARY),
            "card_id": pa.array([_text(card.get("id")) for card in cards], _DICTIONARY),
            "card_version": pa.array([_version(card) for card in cards], pa.uint64()),
            "published_at": pa.array([_instant(event.data.get("published_at")) for event in events], MICROSECONDS),
            "published_by": pa.array([_publisher(event) for event in events], pa.string()),
            "data": pa.array(
                [orjson.dumps(event.data, option=orjson.OPT_SORT_KEYS).decode() for event in events], pa.string()
            ),
            **coordinates([record for _, record in found], log_id),
        }
    )


def _card(event: CloudEvent) -> Mapping[str, object]:
    card = event.data.get("card")
    return card if isinstance(card, dict) else {"id": event.data.get("card_id")}


def _version(card: Mapping[str, object]) -> int | None:
    version = card.get("version")
    return version if isinstance(version, int) and not isinstance(version, bool) and 0 <= version < 2**63 else None


def _publisher(event: CloudEvent) -> str:
    names = (_text(event.data.get(name)) for name in ("published_by", "assigned_by", "ordered_by"))
    return next(filter(None, names), "")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _instant(value: object) -> datetime | None:
    try:
        return parse_instant(value)
    except ValueError:
        return None
