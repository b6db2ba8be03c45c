"""Reading a topic as it was asked for: from a place, the last so many, to the end or on and on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import click
import orjson
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from infra.cli.output import working
from infra.cli.tail.line import Lines, Shown
from infra.cli.tail.lines import log_time
from infra.config import Settings
from infra.kafka import ask, broker_error, client_config, read_from, watermarks
from infra.kafka_client import PASSING_ERRORS

_FIRST_TAIL = 256
"""Offsets of each partition that are looked at first for the last records; then eight times as many, and so on."""
_TAIL_GROWTH = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where to begin (None: so that `number` records are left), how many at most, and whether to wait for more."""

    start: str | datetime | None
    number: int | None
    follow: bool


def show(settings: Settings, topic: str, lines: Lines, wanted: Wanted, as_json: bool) -> None:
    """Print the records; returns when there are enough, at the end without `follow`, or on Ctrl-C while following."""
    left = wanted.number
    positions = {partition: marks.high for partition, marks in watermarks(settings, topic).items()}
    if wanted.start is None:
        with working(f"reading the end of {topic}"):
            records, positions = _last(settings, topic, lines, wanted.number or 1, positions)
        _print_all(records, as_json)
        left = None
    elif wanted.start != "end":
        with_start = wanted.start if isinstance(wanted.start, datetime) else None
        for message in _from(settings, topic, with_start):
            positions[message.partition()] = max(positions.get(message.partition(), 0), message.offset() + 1)
            left = _print(lines.read(message) if _in_time(message, with_start) else None, as_json, left)
            if left == 0:
                return
    if wanted.follow:
        _follow(settings, topic, lines, positions, as_json, left)


def _print_all(records: list[Shown], as_json: bool) -> None:
    for record in records:
        _print(record, as_json, None)


def _print(record: Shown | None, as_json: bool, left: int | None) -> int | None:
    """Print one record and count it; the number that is still wanted."""
    if record is None:
        return left
    text = orjson.dumps(record.data, default=str).decode() if as_json else "\n".join(record.lines)
    try:
        click.echo(text)
    except BrokenPipeError:
        # Without its number: click ends with exit code 1 when it sees it, but `| head` is no failure.
        raise BrokenPipeError from None
    return None if left is None else left - 1


def _in_time(message: Message, start: datetime | None) -> bool:
    return start is None or log_time(message) >= start


def _from(settings: Settings, topic: str, start: datetime | None) -> Iterator[Message]:
    """Every committed record from an instant of the log, or from the beginning; ordered within a partition only.

    Records are in the order of their log time only roughly, so what lies before the instant is left out one by one.
    """
    starts = {partition: marks.low for partition, marks in watermarks(settings, topic).items()}
    if start is not None:
        starts = _offsets_at(settings, topic, starts, start)
    yield from read_from(settings, topic, starts)


def _offsets_at(settings: Settings, topic: str, lows: dict[int, int], start: datetime) -> dict[int, int]:
    """The broker's answer where an instant begins; where it has none, the first record: looking at more is never wrong."""
    consumer = Consumer(client_config(settings, group_id=f"{settings.deployment}.reader", enable_auto_commit=False))
    try:
        asked = [TopicPartition(topic, partition, int(start.timestamp() * 1000)) for partition in lows]
        found = ask(f"cannot find the time in {topic}", lambda s: consumer.offsets_for_times(asked, timeout=s))
    finally:
        consumer.close()
    starts = {}
    for each in found:
        known = each.error is None and each.offset >= lows[each.partition]
        starts[each.partition] = each.offset if known else lows[each.partition]
    return starts


def _last(
    settings: Settings, topic: str, lines: Lines, number: int, ends: dict[int, int]
) -> tuple[list[Shown], dict[int, int]]:
    """The last `number` wanted records by log time, oldest first, and where reading would go on."""
    lows = {partition: marks.low for partition, marks in watermarks(settings, topic).items()}
    tail = _FIRST_TAIL
    while True:
        starts = {partition: max(low, ends[partition] - tail) for partition, low in lows.items()}
        found: list[tuple[datetime, int, int, Shown]] = []
        positions = dict(ends)
        for message in read_from(settings, topic, starts):
            positions[message.partition()] = max(positions[message.partition()], message.offset() + 1)
            record = lines.read(message)
            if record is not None:
                found.append((log_time(message), message.partition(), message.offset(), record))
        if len(found) >= number or starts == lows:
            found.sort(key=lambda each: each[:3])
            return [record for *_, record in found[-number:]], positions
        tail *= _TAIL_GROWTH


def _follow(
    settings: Settings, topic: str, lines: Lines, positions: dict[int, int], as_json: bool, left: int | None
) -> None:
    """Print what comes, until there is enough or Ctrl-C."""
    consumer = Consumer(
        client_config(
            settings,
            group_id=f"{settings.deployment}.reader",
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_wait_max_ms=100,
        )
    )
    try:
        consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in positions.items()])
        while left is None or left > 0:
            message = consumer.poll(0.25)
            if message is None:
                continue
            error = message.error()
            if error is not None:
                _raise_unless_passing(topic, error)
                continue
            left = _print(lines.read(message), as_json, left)
    except KeyboardInterrupt:
        return
    finally:
        consumer.close()


def _raise_unless_passing(topic: str, error: KafkaError) -> None:
    if not (error.retriable() or error.code() in PASSING_ERRORS or error.code() == KafkaError._PARTITION_EOF):
        raise broker_error(f"cannot read {topic}", error)
