"""Reading a partition's state back: exactly the state of its position (DESIGN D4)."""

import time

import orjson
from confluent_kafka import Message

from infra.config import Settings
from infra.kafka import read_to_end, watermarks
from infra.logs import get_logger
from infra.topics import RegisteredLog
from streams.errors import AnotherLog, LogTruncated
from streams.processor import Processor, SnapshotT, SourceRecord

log = get_logger(__name__)

POSITION_KEY = b'["position"]'
_RELEARN_RECORDS = 256


def position_of(value: bytes) -> int:
    """The source offset up to which a state value was computed: every value is a JSON list that begins with it."""
    return int(orjson.loads(value)[0])


def committed_state(settings: Settings, state_topic: str, partition: int) -> tuple[dict[bytes, bytes], bytes | None]:
    """The state entries of the last position record, and that record's value (None for a partition never flushed).

    A flush writes its position record last, so what comes after the last one belongs to no committed flush: it is left out
    even on a broker that shows aborted records.
    """
    committed: dict[bytes, bytes] = {}
    pending: dict[bytes, bytes | None] = {}
    position: bytes | None = None
    for message in read_to_end(settings, state_topic, partition):
        key, value = message.key(), message.value()
        if key != POSITION_KEY:
            pending[key] = value
            continue
        if value is None:
            continue
        position, limit = value, position_of(value)
        for pending_key, pending_value in pending.items():
            if pending_value is None:
                committed.pop(pending_key, None)
            elif position_of(pending_value) <= limit:
                committed[pending_key] = pending_value
        pending.clear()
    return committed, position


def restore(
    settings: Settings, source: RegisteredLog, state_topic: str, partition: int, processor: Processor[SnapshotT]
) -> int:
    """Give a processor the committed state of its partition; returns the position (-1 for none).

    Raises AnotherLog when the state was built from another log, LogTruncated when the log was cut off above the position.
    """
    began = time.monotonic()
    entries, position_value = committed_state(settings, state_topic, partition)
    position = -1
    low = watermarks(settings, source.topic, [partition])[partition].low
    if position_value is not None:
        position = position_of(position_value)
        followed = str(orjson.loads(position_value)[1])
        if followed != describe(source):
            raise AnotherLog(source.topic, partition, followed, describe(source))
        if low > position + 1:
            raise LogTruncated(source.topic, partition, position, low)
    relearn_from = processor.restore(entries.items(), position_value)
    if relearn_from is not None:
        _relearn(settings, source.topic, partition, max(relearn_from, low), position, processor)
    log.info(
        "state.restored",
        topic=source.topic,
        partition=partition,
        entries=len(entries),
        position=position,
        relearned_from=relearn_from,
        seconds=round(time.monotonic() - began, 3),
    )
    return position


def describe(source: RegisteredLog) -> str:
    """The identity of a log as the position record keeps it: another cluster, topic or number of partitions differs."""
    return f"{source.identity}/{source.identity.partitions}"


def _relearn(
    settings: Settings, topic: str, partition: int, first: int, last: int, processor: Processor[SnapshotT]
) -> None:
    records: list[SourceRecord] = []
    for message in read_to_end(settings, topic, partition, start=first):
        if message.offset() > last:
            break
        records.append(_source_record(message))
        if len(records) == _RELEARN_RECORDS:
            processor.relearn(records)
            records = []
    processor.relearn(records)


def _source_record(message: Message) -> SourceRecord:
    """A consumed confluent message as the stages see it."""
    _, milliseconds = message.timestamp()
    headers = {name: value for name, value in message.headers() or () if value is not None}
    return SourceRecord(message.offset(), milliseconds * 1000, message.key(), message.value() or b"", headers)
