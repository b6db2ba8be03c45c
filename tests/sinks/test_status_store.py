"""What `tokenmill status` reads from ClickHouse, on a store that a real rating stage and the real sinks have filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from infra.cli.status.look import BalanceLook, Group, KafkaLook, PartitionLag
from infra.cli.status.store_look import compared, look_at_signals, look_at_store
from infra.config import Settings
from tests.sinks.filled import EPOCH, busy_log, fill, run_of
from tests.streams.support import Run

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SINKS = "tokenmill.sink"


@pytest.fixture(scope="module")
def rated() -> Run:
    return run_of(busy_log())


@pytest.fixture
def run(database: Client, rated: Run) -> Run:
    """The run, stored."""
    fill(database, rated)
    return rated


def kafka(run: Run, *, position: int | None = None, behind: Sequence[str] = ()) -> KafkaLook:
    topics = run.made.topics
    end = run.position + 1 if position is None else position
    lags = [PartitionLag(SINKS, topics.usage_events, 0, run.position + 1 - end, end)]
    lags += [PartitionLag(SINKS, t, 0, int(t in behind), 5) for t in (topics.usage_excluded, topics.usage_dlq)]
    return KafkaLook(tuple(lags), (Group(SINKS, True, 1),), ())


def balance_of(database: Client, run: Run, look: KafkaLook) -> BalanceLook:
    signals, epoch = look_at_signals(database)
    assert epoch == EPOCH
    assert signals.balance is not None
    store = look_at_store(database, run.made, signals, NOW, timedelta(hours=24))
    return compared(database, run.made, signals.balance, epoch, look, store.tables)


def test_the_worker_and_the_store_count_the_same(database: Client, run: Run) -> None:
    found = balance_of(database, run, kafka(run))
    assert found.adds_up is True
    (part,) = found.partitions
    outcomes = run.outcomes()
    assert part.read == part.stored == sum(outcomes.values())
    assert part.put_aside == outcomes["duplicate"] + outcomes["dead_letter"] > 10


@pytest.mark.parametrize(
    ("table", "condition"),
    [
        ("usage_raw", "tenant_id = 'acme'"),
        ("exclusions", "tenant_id = 'acme'"),
        ("dead_letters", "code = 'undecodable'"),
    ],
)
def test_a_row_that_is_missing_in_the_store_is_noticed(database: Client, run: Run, table: str, condition: str) -> None:
    database.command(f"DELETE FROM {table} WHERE {condition}")
    assert balance_of(database, run, kafka(run)).adds_up is False


def test_a_row_that_is_stored_twice_is_noticed(database: Client, run: Run) -> None:
    database.command("INSERT INTO usage_raw SELECT * FROM usage_raw LIMIT 1")
    assert balance_of(database, run, kafka(run)).adds_up is False


def test_sinks_that_are_behind_are_not_compared(database: Client, run: Run) -> None:
    database.command("TRUNCATE TABLE usage_raw")
    topics = run.made.topics
    assert balance_of(database, run, kafka(run, position=3)).adds_up is None
    assert balance_of(database, run, kafka(run, behind=[topics.usage_excluded])).adds_up is None
    assert balance_of(database, run, kafka(run, behind=[topics.usage_dlq])).adds_up is None


def test_a_refused_control_record_is_no_usage(database: Client) -> None:
    log = busy_log()
    log.card({"id": "broken", "version": 1})
    run = run_of(log)
    assert run.dead_codes()["invalid_control"] == 1
    fill(database, run)
    assert balance_of(database, run, kafka(run)).adds_up is True


def test_dead_letters_are_new_for_a_while(database: Client, run: Run) -> None:
    signals, _ = look_at_signals(database)
    written = datetime.fromtimestamp(1, UTC)
    made = replace(Settings(), clickhouse=run.made.clickhouse)
    soon = look_at_store(database, made, signals, written + timedelta(minutes=30), timedelta(hours=1))
    late = look_at_store(database, made, signals, written + timedelta(hours=2), timedelta(hours=1))
    assert [(letter.name, letter.rows, letter.recent) for letter in soon.dead_letters] == [("undecodable", 1, 1)]
    assert [(letter.name, letter.rows, letter.recent) for letter in late.dead_letters] == [("undecodable", 1, 0)]


def test_gaps_and_missing_prices_are_read_from_the_signals(database: Client, run: Run) -> None:
    signals, _ = look_at_signals(database)
    (gap,) = signals.gaps
    assert (gap.source, gap.missing, gap.ranges) == ("gateway/1", 6, ((3, 8),))
    assert {each.tenant for each in signals.unpriced} == {"acme", "bell", "coal"}
