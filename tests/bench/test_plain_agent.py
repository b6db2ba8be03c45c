"""The plain agent's arithmetic against the numbers that the events are made of, and how progress is counted in rows."""

from __future__ import annotations

import orjson
import pyarrow.compute as pc
import pytest

from bench.events import SHAPES, BenchEvents, Tokens
from bench.plain_usage import Sums, added, totals_of, usage_of
from bench.progress import Backlog, Sample
from bench.report import Repetition
from bench.run import differences

_EVENTS = 1_200


def _table(events: BenchEvents, limit: int) -> dict[str, Sums]:
    """What the agent's table holds after the first `limit` events."""
    table: dict[str, Sums] = {}
    for _, value in events.json_records(limit):
        key, sums = usage_of(orjson.loads(value)["data"])
        table[key] = added(table.get(key), sums)
    return table


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_the_agents_sums_over_json_are_those_of_the_events(shape: str) -> None:
    events = BenchEvents(SHAPES[shape], _EVENTS)
    table = _table(events, _EVENTS)
    assert totals_of(table.items()) == events.totals()
    assert len(table) == events.usage_keys()


def test_the_totals_of_a_beginning_are_those_of_its_events_alone() -> None:
    events = BenchEvents(SHAPES["few"], _EVENTS)
    assert totals_of(_table(events, 300).items()) == events.totals(300)
    assert differences("the agent", events.totals(299), events.totals(300))


def test_batches_hold_the_same_tokens_as_the_totals() -> None:
    events = BenchEvents(SHAPES["few"], _EVENTS)
    totals = events.totals().values()
    for column, wanted in (
        ("input_tokens", sum(each.input for each in totals)),
        ("output_tokens", sum(each.output for each in totals)),
    ):
        assert sum(pc.sum(batch.column(column)).as_py() for batch in events.batches) == wanted


def test_no_event_comes_twice() -> None:
    events = BenchEvents(SHAPES["many"], _EVENTS)
    ids = [name for batch in events.batches for name in batch.column("id").to_pylist()]
    assert len(set(ids)) == len(ids) == _EVENTS


def test_a_committed_offset_is_worth_the_rows_before_it() -> None:
    # Offset 2 is a transaction marker: no record has it.
    backlog = Backlog({("t", 0): [(0, 0), (1, 10), (3, 5)], ("t", 1): [(7, 2)]})
    assert backlog.total == 17
    assert backlog.records == 3
    assert [backlog.rows_below({("t", 0): offset}) for offset in (0, 1, 2, 3, 4, 5)] == [0, 0, 10, 10, 15, 15]
    assert backlog.rows_below({("t", 0): 4, ("t", 1): 8}) == 17


def test_a_difference_is_named_with_its_place() -> None:
    place = ("tenant-0000", "model-00", "2026-01-01T00:00:00Z")
    found, expected = {place: Tokens(1, 2, 3, 4)}, {place: Tokens(1, 2, 3, 5)}
    first, last = differences("the agent", found, expected)
    assert "tenant-0000, model-00, 2026-01-01T00:00:00Z" in first
    assert last == "the agent: 1 of 1 differ"
    assert differences("the agent", expected, expected) == []
    assert differences("the agent", {}, expected)
    assert differences("the agent", expected, {})


def test_the_ratio_is_of_rates_per_event() -> None:
    rate, plain = Sample(3_000_000, 10.0, 9.0), Sample(60_000, 10.0, 9.0)
    repetition = Repetition(rate, rate, rate, plain)
    assert repetition.ratio == pytest.approx(50.0)
    assert repetition.cpu_ratio == pytest.approx(50.0)
