"""Reading a partition's state back: exactly the state of its position (DESIGN D4)."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import orjson
from confluent_kafka import Message

from infra.config import Settings
from infra.kafka import log_identity
from infra.logs import get_logger
from infra.topics import RegisteredLog
from streams.errors import AnotherLog, LogTruncated
from streams.log_reader import LogReader
from streams.processor import Processor, SnapshotT, SourceRecord

log = get_logger(__name__)

POSITION_KEY = b'["position"]'
_RELEARN_RECORDS = 256


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a partition goes on: the last offset that its state holds, and the next record of the log.

    Without any state the position is the offset before the first one that the log still has. `next_in_log` is the offset
    of the first committed record behind the position, None when there is none yet.
    """

    position: int
    next_in_log: int | None


def restore(
    settings: Settings, source: RegisteredLog, state_topic: str, partition: int, processor: Processor[SnapshotT]
) -> Restored:
    """Give a processor the committed state of its partition.

    Raises AnotherLog when the state was built from another log, LogTruncated when the log was cut off above the position,
    BrokerError when the broker does not answer.
    """
    began = time.monotonic()
    with LogReader(settings) as reader:
        entries, position_value = committed_state(reader.read(state_topic, partition))
        low = reader.first_offset(source.topic, partition)
        position = _position(source, partition, position_value, low)
        relearn_from = processor.restore(entries.items(), position_value)
        start = position + 1 if relearn_from is None else min(relearn_from, position + 1)
        next_in_log = _relearn(reader.read(source.topic, partition, max(start, low)), position, processor)
    log.info(
        "partition.restored",
        topic=source.topic,
        partition=partition,
        position=position,
        entries=len(entries),
        relearned_from=relearn_from,
        next_in_log=next_in_log,
        seconds=round(time.monotonic() - began, 3),
    )
    return Restored(position, next_in_log)


def _position(source: RegisteredLog, partition: int, position_value: bytes | None, low: int) -> int:
    if position_value is None:
        if low > 0:
            log.warning("partition.begins_late", topic=source.topic, partition=partition, first_offset=low)
        return low - 1
    position = position_of(position_value)
    followed = str(orjson.loads(position_value)[1])
    if followed != describe(source):
        raise AnotherLog(source.topic, partition, followed, describe(source))
    if low > position + 1:
        raise LogTruncated(source.topic, partition, position, low)
    return position


def committed_state(messages: Iterable[Message]) -> tuple[dict[bytes, bytes], bytes | None]:
    """The state entries of the last position record, and that record's value (None for a partition never flushed).

    `messages` is the partition of the state topic from its beginning. A flush writes its position record last, so what
    comes after the last one belongs to no committed flush: it is left out even on a broker that shows aborted records.
    """
    committed: dict[bytes, bytes] = {}
    pending: dict[bytes, bytes | None] = {}
    position: bytes | None = None
    for message in messages:
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


def position_of(value: bytes) -> int:
    """The source offset up to which a state value was computed: every value is a JSON list that begins with it."""
    # Not parsed as a whole: a restart reads every version of every key that compaction has left.
    return int(value[1 : value.index(b",")])


def describe(source: RegisteredLog) -> str:
    """The identity of a log as the position record keeps it: another cluster, topic or number of partitions differs."""
    return f"{source.identity}/{source.identity.partitions}"


def check_log(settings: Settings, source: RegisteredLog) -> None:
    """Make sure that a topic still is the log it was when the worker started.

    Raises AnotherLog when it was created anew, BrokerError `unknown_topic` when it is gone.
    """
    found = log_identity(settings, source.topic)
    if found != source.identity:
        raise AnotherLog(source.topic, None, describe(source), f"{found}/{found.partitions}")


def _relearn(messages: Iterable[Message], position: int, processor: Processor[SnapshotT]) -> int | None:
    """Show the processor the records up to the position again; returns the offset of the first one behind it."""
    records: list[SourceRecord] = []
    upcoming: int | None = None
    for message in messages:
        if message.offset() > position:
            upcoming = message.offset()
            break
        records.append(_source_record(message))
        if len(records) == _RELEARN_RECORDS:
            processor.relearn(records)
            records = []
    if records:
        processor.relearn(records)
    return upcoming


def _source_record(message: Message) -> SourceRecord:
    """A consumed confluent message as the stages see it."""
    _, milliseconds = message.timestamp()
    headers = {name: value for name, value in message.headers() or () if value is not None}
    return SourceRecord(message.offset(), milliseconds * 1000, message.key(), message.value() or b"", headers)
