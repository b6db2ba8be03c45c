"""What a restart takes from the state topic: exactly the values of the last flush that has its position record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from infra.kafka import LogIdentity
from infra.topics import RegisteredLog
from streams.errors import AnotherLog, LogTruncated
from streams.restore import POSITION_KEY, Restored, _position, _relearn, committed_state, describe, position_of
from tests.streams.support import Log, card_document, rate, usage


@dataclass(frozen=True)
class Message:
    """As much of a consumed message as is looked at."""

    key_: bytes
    value_: bytes | None
    offset_: int = 0

    def key(self) -> bytes:
        return self.key_

    def value(self) -> bytes | None:
        return self.value_

    def offset(self) -> int:
        return self.offset_

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_000


def value(position: int, content: str = "") -> bytes:
    return orjson.dumps([position, content])


def flush(position: int, **entries: str | None) -> list[Message]:
    """The records of one flush: entries, tombstones for None, and last the position."""
    written = [
        Message(key.encode(), None if content is None else value(position, content)) for key, content in entries.items()
    ]
    return [*written, Message(POSITION_KEY, value(position))]


def taken(messages: list[Message]) -> tuple[dict[str, str], int | None]:
    entries, position = committed_state(messages)
    contents = {key.decode(): orjson.loads(each)[1] for key, each in entries.items()}
    return contents, None if position is None else position_of(position)


def test_nothing_flushed_is_no_state() -> None:
    assert taken([]) == ({}, None)
    assert taken([Message(b"a", value(3, "x"))]) == ({}, None)


def test_a_flush_without_its_position_record_does_not_count() -> None:
    assert taken([*flush(4, a="1", b="1"), *flush(9, a="2", b=None)[:-1]]) == ({"a": "1", "b": "1"}, 4)


def test_what_an_aborted_flush_left_is_ignored_when_its_successor_wrote_less() -> None:
    aborted = [Message(b"a", value(9, "aborted")), Message(b"c", value(9, "aborted"))]
    messages = [*flush(4, a="1"), *aborted, *flush(7, b="2")]
    assert taken(messages) == ({"a": "1", "b": "2"}, 7)
    assert taken([*messages, *flush(12, d="3")]) == ({"a": "1", "b": "2", "d": "3"}, 12)


def test_a_deleted_position_record_of_another_time_changes_nothing() -> None:
    assert taken([*flush(4, a="1"), Message(POSITION_KEY, None)]) == ({"a": "1"}, 4)


Flush = tuple[dict[str, str | None], int]
flushes = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abcd"), st.none() | st.sampled_from("xyz"), max_size=3), st.integers(1, 9)
    ),
    max_size=6,
)


@examples(max_examples=60, deadline=None)
@given(flushes)
def test_the_state_is_what_the_flushes_say_one_after_the_other(made: list[Flush]) -> None:
    messages, model, position = [], dict[str, str](), 0
    for entries, step in made:
        position += step
        messages += flush(position, **entries)
        for key, content in entries.items():
            if content is None:
                model.pop(key, None)
            else:
                model[key] = content
    assert taken(messages) == (model, position if made else None)


LOG = RegisteredLog("usage", LogIdentity("cluster", "topic", 4), 1)


def position_record(position: int, log: str) -> bytes:
    return orjson.dumps([position, log])


def test_a_partition_goes_on_behind_its_position() -> None:
    assert _position(LOG, 0, None, 0) == -1
    assert _position(LOG, 0, None, 7) == 6, "without state from the first record that is left"
    assert _position(LOG, 0, position_record(11, describe(LOG)), 12) == 11


@pytest.mark.parametrize("log", ["other/topic/4", "cluster/other/4", "cluster/topic/5"])
def test_state_of_another_log_is_refused(log: str) -> None:
    with pytest.raises(AnotherLog):
        _position(LOG, 0, position_record(11, log), 0)


def test_a_log_that_was_cut_off_behind_the_position_is_refused() -> None:
    with pytest.raises(LogTruncated):
        _position(LOG, 0, position_record(11, describe(LOG)), 13)


class Seen:
    """A processor that notes what it is shown again."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def relearn(self, records: list[Any]) -> None:
        self.offsets += [record.offset for record in records]


@pytest.mark.parametrize(("offsets", "upcoming"), [([1, 2, 5, 8, 9], 8), ([1, 2, 5], None), ([], None), ([6], 6)])
def test_records_up_to_the_position_are_learnt_again_and_the_next_one_is_named(
    offsets: list[int], upcoming: int | None
) -> None:
    seen = Seen()
    messages = [Message(b"", b"", offset) for offset in offsets]
    processor: Any = seen
    found = _relearn(messages, 5, processor)
    assert Restored(5, found) == Restored(5, upcoming)
    assert seen.offsets == [offset for offset in offsets if offset <= 5]


def test_state_that_was_written_before_a_meter_was_added_goes_on() -> None:
    log = Log()
    log.card(card_document())
    log.assign()
    for number in (1, 2):
        log.batch([usage(f"event-{number}")], number=number)
    expected = rate(log.records).all().last()
    run = rate(log.records)
    run.feed(3)
    run.flush()
    for key, value in run.state.items():
        if orjson.loads(key)[0] == "usage":
            run.state[key] = orjson.dumps(orjson.loads(value)[:-1])
    run.restart()
    assert run.all().last() == expected
