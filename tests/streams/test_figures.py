"""What a partition says of itself for the metrics: where rows ended, what is held, how far the end of the log is."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from infra.metrics_recording import Counted
from streams.gpu_processor import GpuProcessor
from streams.rate_processor import RateProcessor
from streams.transport import CommittedOnlyConsumer
from tests.streams.support import START, Log, Processor, card_document, log_of, sample, settings, usage

MADE = settings()


def _flush(processor: Processor, log: Log, first: int = 0) -> Counted:
    processor.apply(log.records[first:])
    snapshot: Any = processor.snapshot(len(log.records) - 1)
    processor.outgoing(snapshot)
    return processor.counted(snapshot)


def _without_zeros(counts: Any) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number}


def test_every_row_is_counted_once_by_where_it_ended() -> None:
    log = Log()
    log.card(card_document())
    log.assign("acme")
    log.batch([usage("a"), usage("b"), usage("c", tenant_id="nobody")], number=1)
    log.batch([usage("b"), usage("d")], number=2)
    log.batch([usage("e", timedelta(days=4000))], number=5)
    log.append(b"garbage", [])
    processor = RateProcessor(MADE, log_of(MADE), 0)
    counted = _flush(processor, log)
    assert _without_zeros(counted.outcomes) == {
        "rated": 3,
        "unrated": 1,
        "duplicate": 1,
        "dead_letter": 1,
        "quarantined": 1,
    }
    assert (counted.unrated, counted.exclusions) == ({"no_account": 1}, {"duplicate": 1})
    assert counted.dead_letters["future_event"] == 1
    assert sum(counted.dead_letters.values()) == 2
    # A flush says only what is new.
    log.batch([usage("f")], number=6)
    assert _without_zeros(_flush(processor, log, len(log.records) - 1).outcomes) == {"rated": 1}
    holdings = processor.holdings()
    assert holdings.watermark_us == int(START.timestamp() * 1_000_000)
    assert (holdings.usage_keys, holdings.missing_batches, holdings.window_events) == (2, 2, 5)


def test_totals_that_are_forgotten_are_held_no_more() -> None:
    log = Log()
    log.card(card_document())
    log.assign()
    for day in range(0, 150, 10):
        log.batch([usage(f"{day}", timedelta(days=day)), usage(f"x{day}", timedelta(days=day, hours=1))])
    processor = RateProcessor(MADE, log_of(MADE), 0)
    _flush(processor, log)
    held = sum(len(cells) for cells in processor._state._totals._cells.values())
    assert processor.holdings().usage_keys == held
    assert 0 < held < 30


def test_a_partition_without_events_has_no_watermark() -> None:
    processor = RateProcessor(MADE, log_of(MADE), 0)
    assert processor.holdings().watermark_us is None


def test_samples_are_counted_by_where_they_ended() -> None:
    log = Log()
    log.batch([sample(0), sample(30), sample(60)], source="agent/node-a")
    log.batch([sample(30), sample(90), sample(10**9)], source="agent/node-a")
    processor = GpuProcessor(MADE, log_of(MADE, MADE.topics.gpu_samples), 0)
    counted = _flush(processor, log)
    assert Counter(_without_zeros(counted.outcomes)) == {"metered": 4, "stale_sample": 1, "quarantined": 1}
    assert sum(counted.outcomes.values()) == 6


_TP = TP("t", 0)


def _consumer(fetched: int | None, end: int | None, delivered: int | None) -> CommittedOnlyConsumer:
    """A consumer that has fetched up to an offset and handed over records up to another."""
    state = SimpleNamespace(highwater=end, position=fetched, has_valid_position=fetched is not None)
    assignment = SimpleNamespace(state_value=lambda tp: state if tp == _TP else None)
    subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
    consumer = CommittedOnlyConsumer.__new__(CommittedOnlyConsumer)
    consumer._thread = SimpleNamespace(_consumer=SimpleNamespace(_subscription=subscription))
    consumer._read_offset = {_TP: delivered}
    return consumer


@pytest.mark.parametrize(
    ("fetched", "end", "delivered", "read", "behind"),
    [
        (50, 100, 49, 49, 50),  # what is not fetched
        (50, 100, 49, 20, 79),  # ... and what is fetched and not read
        (100, 100, 98, 98, 0),  # the last offset is a marker: nothing is left
        (100, 100, 98, 60, 38),  # fetched to the end, not all of it read
        (100, 100, 100, 99, 0),  # nothing delivered yet: Faust's mark is the next offset
        (0, 0, None, -1, 0),  # an empty log
        (None, None, None, -1, None),  # nothing fetched yet
    ],
)
def test_lag_is_what_is_left_to_read(
    fetched: int | None, end: int | None, delivered: int | None, read: int, behind: int | None
) -> None:
    assert _consumer(fetched, end, delivered).behind(_TP, read) == behind


def test_lag_of_a_partition_that_was_given_away_is_not_known() -> None:
    assert _consumer(1, 1, 0).behind(TP("t", 1), 0) is None
