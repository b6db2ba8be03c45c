"""Looking at Kafka: lag, groups, event time, and whether each log is the one it should be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from confluent_kafka import ConsumerGroupState, KafkaException, Message

from infra.cli.status.look import Group, KafkaLook, PartitionLag, PartitionTime
from infra.config import Settings
from infra.errors import BrokerError, LogChangedError
from infra.kafka import Watermarks, admin, committed, read_from, watermarks
from infra.topics import log_epoch
from schemas.instants import from_microseconds
from sinks.kafka_log import group_of
from sinks.runner import topic_sinks
from streams.restore import POSITION_KEY
from streams.transactions import group_id

_READ_BELOW = 64
"""A distance this small is counted by reading: near the end most offsets may be transaction markers."""
_LAST_RECORDS = (3, 64)
"""How far back the last record is looked for, in offsets: the last ones may all be transaction markers."""
_STATE_TAILS = (16, 20_000)
"""How far back the last position record is looked for, in offsets, before all of the partition is read."""
_REQUEST_S = 5.0
_THREADS = 8


@dataclass(frozen=True, slots=True)
class _Question:
    group: str
    topic: str


def _questions(settings: Settings) -> list[_Question]:
    """Who reads what: the workers the two ingest topics, the sinks six."""
    topics, workers, sinks = settings.topics, group_id(settings), group_of(settings)
    read = [_Question(workers, topics.usage_events), _Question(workers, topics.gpu_samples)]
    return read + [_Question(sinks, topic) for topic in topic_sinks(settings)]


def look_at_kafka(settings: Settings) -> KafkaLook:
    """One look at everything. Raises BrokerError when Kafka does not answer or a topic is not there."""
    questions, topics = _questions(settings), settings.topics
    names = list(dict.fromkeys([*(each.topic for each in questions), topics.state]))
    with ThreadPoolExecutor(_THREADS) as pool:
        positions = list(pool.map(lambda each: committed(settings, each.group, each.topic), questions))
        marks = dict(zip(names, pool.map(lambda topic: watermarks(settings, topic), names), strict=True))
        lags = pool.map(
            lambda pair: _lags(settings, pair[0], marks[pair[0].topic], pair[1]), zip(questions, positions, strict=True)
        )
        groups = pool.map(lambda name: _group(settings, name), (group_id(settings), group_of(settings)))
        times = pool.submit(_times, settings, marks)
        problems = pool.map(lambda topic: _other_log(settings, topic), (topics.usage_events, topics.gpu_samples))
        return KafkaLook(
            tuple(lag for found in lags for lag in found),
            tuple(groups),
            times.result(),
            tuple(problem for problem in problems if problem),
        )


def _lags(
    settings: Settings, question: _Question, marks: Mapping[int, Watermarks], positions: Mapping[int, int]
) -> list[PartitionLag]:
    starts = {partition: max(positions.get(partition, mark.low), mark.low) for partition, mark in marks.items()}
    lags = {partition: max(mark.high - starts[partition], 0) for partition, mark in marks.items()}
    near = {partition: starts[partition] for partition, lag in lags.items() if 0 < lag <= _READ_BELOW}
    oldest: dict[int, datetime] = {}
    if near:
        lags.update(dict.fromkeys(near, 0))
        for message in read_from(settings, question.topic, near):
            oldest.setdefault(message.partition(), _log_time(message))
            lags[message.partition()] += 1
    for partition in [partition for partition, lag in lags.items() if lag > _READ_BELOW]:
        first = next(read_from(settings, question.topic, {partition: starts[partition]}), None)
        if first is not None:
            oldest[partition] = _log_time(first)
    return [
        PartitionLag(question.group, question.topic, partition, lag, starts[partition], oldest.get(partition))
        for partition, lag in sorted(lags.items())
    ]


def _log_time(message: Message) -> datetime:
    return datetime.fromtimestamp(max(message.timestamp()[1], 0) / 1000, UTC)


def _group(settings: Settings, name: str) -> Group:
    """Whether anybody is in a group. The embedded broker tells no members, and calls a group stable that all have left."""
    client = admin(settings)
    try:
        found = client.describe_consumer_groups([name], request_timeout=_REQUEST_S)[name].result()
    except KafkaException as failure:
        raise BrokerError(f"cannot describe the group {name}: {failure.args[0].str()}", code="broker") from failure
    if found.members:
        return Group(name, True, len(found.members))
    empty = found.state in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)
    return Group(name, False, 0) if empty else Group(name, None, None)


def _times(settings: Settings, marks: Mapping[str, Mapping[int, Watermarks]]) -> tuple[PartitionTime, ...]:
    events, state = settings.topics.usage_events, settings.topics.state
    known = _positions(settings, state, marks[state])
    last: dict[int, datetime] = {}
    filled = {partition: mark for partition, mark in marks[events].items() if mark.high > mark.low}
    for tail in _LAST_RECORDS:
        starts = {p: max(mark.low, mark.high - tail) for p, mark in filled.items() if p not in last}
        for message in read_from(settings, events, starts):
            time = _log_time(message)
            last[message.partition()] = max(last.get(message.partition(), time), time)
    found = []
    for partition in sorted(marks[events]):
        position, watermark_us = known.get(partition, (None, None))
        watermark = from_microseconds(watermark_us) if watermark_us is not None and watermark_us > 0 else None
        found.append(PartitionTime(partition, position, watermark, last.get(partition)))
    return tuple(found)


def _positions(settings: Settings, topic: str, marks: Mapping[int, Watermarks]) -> dict[int, tuple[int, int]]:
    """Position and watermark of each partition from its last committed position record, which ends every flush."""
    found: dict[int, tuple[int, int]] = {}
    wanted = {partition for partition, mark in marks.items() if mark.high > mark.low}
    for tail in (*_STATE_TAILS, None):
        missing = wanted - set(found)
        starts = {p: marks[p].low if tail is None else max(marks[p].low, marks[p].high - tail) for p in missing}
        found.update(_last_positions(read_from(settings, topic, starts)))
    return found


def _last_positions(messages: Iterable[Message]) -> dict[int, tuple[int, int]]:
    found = {}
    for message in messages:
        value = message.value()
        if message.key() == POSITION_KEY and value is not None:
            position, _, watermark_us, *_ = orjson.loads(value)
            found[message.partition()] = (int(position), int(watermark_us))
    return found


def _other_log(settings: Settings, topic: str) -> str:
    """What is wrong with the identity of a topic's log; "" when it is the registered one."""
    try:
        log_epoch(settings, topic)
    except LogChangedError as error:
        return error.message
    except BrokerError as error:
        if error.code != "log_not_registered":
            raise
        return error.message
    return ""
