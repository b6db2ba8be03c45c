"""Rated records and published cards in ClickHouse, as the sinks would store them, without a broker or a worker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING

from rating.cards import RateCard
from rating.rated import RatedLine
from schemas.control import RateCardActivated, encode_control
from schemas.rated import RatedUsage, encode_rated
from sinks.rated import RatedSink
from sinks.records import LogId, SourceRecord
from sinks.runner import topic_sinks
from sinks.store import ClickHouseStore

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from infra.config import Settings

_offsets = count()
_AT = datetime(2026, 1, 1, tzinfo=UTC)


def store_rated(client: Client, lines: Iterable[RatedLine], *, partition: int = 0) -> None:
    """The records, each with a higher revision than all before."""
    records = []
    for line in lines:
        offset = next(_offsets)
        value = encode_rated(RatedUsage.model_validate({**asdict(line), "revision": offset + 1}))
        records.append(SourceRecord("rated", partition, offset, 1000 + offset, b"", value, []))
    sink = RatedSink()
    log_id = LogId("rated", "cluster", "topic", 1)
    for table, rows in sink.build([sink.decode(each) for each in records], log_id).items():
        ClickHouseStore(client).insert(table, rows, f"rated/{table.name}/{records[0].offset}")


def store_card(client: Client, card: RateCard, settings: Settings) -> None:
    """A published card."""
    published = RateCardActivated(card=card.document(), published_at=_AT, published_by="anna")
    offset = next(_offsets)
    value, headers = encode_control(published, f"card/{card.id}/{card.version}", "cli", _AT)
    topic = settings.topics.usage_events
    sink = topic_sinks(settings)[topic]
    record = SourceRecord(topic, 0, offset, 1000 + offset, None, value, list(headers))
    log_id = LogId(topic, "cluster", "topic", 1)
    for table, rows in sink.build([sink.decode(record)], log_id).items():
        ClickHouseStore(client).insert(table, rows, f"{topic}/{table.name}/{offset}")
