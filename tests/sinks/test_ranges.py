"""Ranges and their notes: boundaries by rows, bytes and month; replays that are exact or stop."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.buffer import Limits, PartitionBuffer, _month
from sinks.errors import DataLostError
from sinks.intent import MAX_CHARACTERS, Intent, decode, encode
from sinks.records import SourceRecord, TopicPartitionId
from tests.sinks.simulation import LOG_ID, TOPIC, Item

PLACE = TopicPartitionId(TOPIC, 0)
NOON = int(datetime(2026, 1, 15, 12, tzinfo=UTC).timestamp() * 1000)
OFFSETS = st.integers(0, 2**63 - 1)


def item(offset: int, rows: int = 1, when_ms: int = NOON, size: int = 10) -> Item:
    return Item(SourceRecord(TOPIC, 0, offset, when_ms, None, b"x" * size, ()), rows)


def buffer(*items: Item, limits: Limits | None = None, **options: object) -> PartitionBuffer[Item]:
    made: PartitionBuffer[Item] = PartitionBuffer(PLACE, LOG_ID, limits or Limits(rows=10, bytes=1000), **options)  # type: ignore[arg-type]
    for each in items:
        made.add(each)
    return made


@given(OFFSETS, OFFSETS, st.integers(1, 10**9))
def test_a_note_says_the_same_when_it_is_read(one: int, other: int, records: int) -> None:
    intent = Intent(min(one, other), max(one, other), records, "kZ3n-_topic")
    note = encode(intent)
    assert decode(note) == intent
    assert decode(note + "\0") == intent  # librdkafka stores a NUL that other clients show
    assert len(note) <= MAX_CHARACTERS


@pytest.mark.parametrize("metadata", [None, "", "\0"])
def test_no_note_means_nothing_is_under_way(metadata: str | None) -> None:
    assert decode(metadata) is None


@pytest.mark.parametrize(
    "intent", [Intent(2, 1, 1, "t"), Intent(1, 2, 0, "t"), Intent(-1, 2, 1, "t"), Intent(1, 2, 1, "a:b")]
)
def test_only_ranges_are_noted(intent: Intent) -> None:
    with pytest.raises(ValueError, match="range"):
        encode(intent)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31)))
def test_months_of_append_time_change_when_the_calendar_does(moment: datetime) -> None:
    last_day = monthrange(moment.year, moment.month)[1]
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
    end = first.replace(day=last_day, hour=23, minute=59, second=59, microsecond=999_000)
    next_month = first.replace(day=last_day) + timedelta(days=1)

    def month(instant: datetime) -> int:
        return _month(int(instant.timestamp() * 1000))

    assert month(first) == month(moment.replace(tzinfo=UTC)) == month(end) != month(next_month)


def test_a_range_ends_at_the_limit_of_rows_or_bytes_and_never_within_a_record() -> None:
    made = buffer(item(0, 4), item(2, 4), item(5, 4), item(6, 25))
    ranges = []
    while (sealed := made.seal()) is not None:
        ranges.append((sealed.intent.first, sealed.intent.last, sealed.rows))
        made.stored()
    assert ranges == [(0, 2, 8), (5, 5, 4), (6, 6, 25)]
    by_bytes = buffer(item(0, size=900), item(1, size=900)).seal()
    assert by_bytes is not None
    assert by_bytes.intent.last == 0


def test_a_range_lies_within_one_month_so_that_its_insert_is_one_part() -> None:
    february = int(datetime(2026, 2, 1, tzinfo=UTC).timestamp() * 1000)
    made = buffer(item(0, when_ms=february - 1), item(1, when_ms=february), item(2, when_ms=february + 1))
    first = made.seal()
    assert first is not None
    assert (first.intent.first, first.intent.last) == (0, 0)


def test_a_sealed_range_never_changes() -> None:
    made = buffer(item(0))
    sealed = made.seal()
    made.add(item(1))
    assert made.seal() is sealed


def test_records_delivered_again_are_taken_once() -> None:
    assert buffer(item(0), item(1), item(1), item(0), item(2)).rows == 3


NOTE = Intent(3, 7, 3, LOG_ID.topic_id)


def test_a_replay_is_exactly_the_noted_range_whatever_the_limits() -> None:
    made = buffer(item(3, 99), item(5, 99), limits=Limits(rows=1, bytes=1), replay=NOTE)
    assert made.seal() is None
    made.add(item(7, 99))
    made.add(item(8))
    sealed = made.seal()
    assert sealed is not None
    assert (sealed.intent, sealed.replayed, len(sealed.items)) == (NOTE, True, 3)
    made.stored()
    after = made.seal()
    assert after is not None
    assert (after.intent.first, after.replayed) == (8, False)


@pytest.mark.parametrize("offsets", [(4,), (3, 7), (3, 8), (3, 5, 6, 7), (3, 5, 8)])
def test_a_replay_with_other_records_than_were_noted_stops(offsets: tuple[int, ...]) -> None:
    with pytest.raises(DataLostError, match="retention"):
        buffer(*map(item, offsets), replay=NOTE).seal()


def test_a_replay_that_reaches_the_end_of_the_log_too_early_stops() -> None:
    made = buffer(item(3), replay=NOTE)
    with pytest.raises(DataLostError):
        made.end_reached(9)


@pytest.mark.parametrize("offsets", [(5, 9), (3, 9), (7, 9), (5,)])
def test_compaction_may_thin_out_a_replayed_range(offsets: tuple[int, ...]) -> None:
    made = buffer(*map(item, offsets), replay=NOTE, compacted=True)
    made.end_reached(10)
    sealed = made.seal()
    assert sealed is not None
    assert sealed.intent == NOTE  # the token of the noted range: what was inserted already stays as it is
    assert {each.record.offset for each in sealed.items} == set(offsets) - {9}


def test_compaction_may_leave_nothing_of_a_replayed_range() -> None:
    made = buffer(replay=NOTE, compacted=True, noted=True)
    made.end_reached(10)
    assert made.seal() is None
    assert made.settling_offset == 8
    later = buffer(item(9), replay=NOTE, compacted=True, noted=True)
    assert later.seal() is None
    assert later.settling_offset == 8


def test_settling_says_how_far_everything_is_stored() -> None:
    made = buffer()
    said = [made.settling_offset]
    made.end_reached(6)  # nothing but markers of transactions so far
    said.append(made.settling_offset)
    made.add(item(6))
    said.append(made.settling_offset)
    made.seal()
    said.append(made.settling_offset)
    made.stored()
    made.end_reached(9)
    said.append(made.settling_offset)
    assert said == [None, 6, 6, None, 9]
