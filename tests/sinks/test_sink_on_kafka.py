"""Sinks on a real broker: everything that lies in the topics is stored once, whatever lies there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra.config import Settings
from infra.errors import LogChangedError
from infra.topics import apply
from tests.conftest import MakeSettings
from tests.sinks import samples
from tests.sinks.conftest import Stored
from tests.sinks.support import (
    SinkProcess,
    coordinates,
    produce,
    rows,
    run_until_stored,
    running_sink,
    wait_until_stored,
)
from tests.support import Broker, eventually

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

pytestmark = pytest.mark.kafka


def prepared(broker: Broker, make_settings: MakeSettings, stored: Stored, **overrides: str) -> Settings:
    settings = stored(make_settings(broker, sink_interval_s="0.1", **overrides))
    apply(settings)
    return settings


def fill(settings: Settings, batches: int = 8, size: int = 50) -> list[tuple[int, int, int]]:
    """Token batches over all partitions; gives the coordinates that must be stored."""
    expected = []
    for partition in range(settings.partitions):
        wires = [samples.token_batch(size, number, f"p{partition}-b{number}") for number in range(1, batches + 1)]
        produce(settings, settings.topics.usage_events, *wires, partition=partition)
        expected += [(partition, offset, row) for offset in range(batches) for row in range(size)]
    return expected


@pytest.fixture(params=["broker", "tansu"])
def any_broker(request: pytest.FixtureRequest) -> Broker:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Broker)
    return found


def test_every_topic_is_stored_and_malformed_records_stop_nothing(
    any_broker: Broker, make_settings: MakeSettings, stored: Stored, database: Client
) -> None:
    settings = prepared(any_broker, make_settings, stored)
    topics = settings.topics
    garbage: samples.Wire = (b"\xff{", [])
    produce(settings, topics.usage_events, garbage, samples.token_batch(3), samples.card(), samples.gpu_usage_batch())
    produce(settings, topics.gpu_samples, garbage, samples.sample_batch(4), partition=1)
    produce(settings, topics.usage_rated, garbage, samples.rated_wire(samples.rated("1", "2", 1)), partition=2)
    produce(settings, topics.usage_signals, garbage, samples.signal(1, read=3), partition=3)
    produce(settings, topics.usage_excluded, garbage, samples.exclusions(2))
    produce(settings, topics.usage_dlq, garbage, samples.rejected_rows(), samples.undecodable())
    run_until_stored(settings)
    counts = {
        "usage_raw": 3, "control_records": 1, "gpu_usage_raw": 1, "gpu_samples": 4, "rated": 1, "rated_ledger": 1,
        "signals": 1, "exclusions": 2, "dead_letters": 2, "unreadable_records": 4, "logs": 6,
    }  # fmt: skip
    assert {table: rows(database, f"SELECT count() FROM {table}")[0][0] for table in counts} == counts
    assert rows(database, "SELECT DISTINCT log_epoch FROM usage_raw") == [(1,)]


def test_two_sinks_side_by_side_share_the_partitions_and_store_everything_once(
    any_broker: Broker, make_settings: MakeSettings, stored: Stored, database: Client
) -> None:
    settings = prepared(any_broker, make_settings, stored, sink_rows="120")
    with running_sink(settings):
        expected = fill(settings)
        with running_sink(settings):
            wait_until_stored(settings)
        more = [samples.token_batch(10, number, f"more-{number}") for number in (9, 10)]
        produce(settings, settings.topics.usage_events, *more)
        wait_until_stored(settings)
    expected += [(0, offset, row) for offset in (8, 9) for row in range(10)]
    assert coordinates(database) == sorted(expected)


def test_a_sink_that_is_stopped_and_started_again_goes_on_where_it_was(
    any_broker: Broker, make_settings: MakeSettings, stored: Stored, database: Client
) -> None:
    settings = prepared(any_broker, make_settings, stored)
    expected = fill(settings, batches=2)
    run_until_stored(settings)
    assert coordinates(database) == sorted(expected)
    produce(settings, settings.topics.usage_events, samples.token_batch(5, 3, "later"), partition=1)
    run_until_stored(settings)
    assert coordinates(database) == sorted([*expected, *((1, 2, row) for row in range(5))])


def test_sigterm_ends_a_sink_cleanly(
    broker: Broker, make_settings: MakeSettings, stored: Stored, database: Client
) -> None:
    settings = prepared(broker, make_settings, stored)
    expected = fill(settings, batches=1)
    with SinkProcess(settings) as sink:
        eventually(lambda: coordinates(database) == sorted(expected), 60)
        assert sink.stop() == 0


def test_a_topic_that_was_made_anew_is_refused_with_the_choices_until_it_is_accepted(
    broker: Broker, make_settings: MakeSettings, stored: Stored, database: Client
) -> None:
    settings = prepared(broker, make_settings, stored)
    run_until_stored(settings)
    database.command("TRUNCATE TABLE logs")
    topic = settings.topics.usage_rated
    database.command(
        "INSERT INTO logs (topic, log_id, cluster_id, topic_id, partitions, epoch, revision) "
        f"VALUES ('{topic}', 'former/log', 'former', 'log', 4, 0, 1)"
    )
    with (
        pytest.raises(LogChangedError, match=f"{topic}.*former/log.*another database.*--accept-new-log"),
        running_sink(settings),
    ):
        pass
    with running_sink(settings, accept_new_logs=True):
        eventually(lambda: rows(database, f"SELECT max(revision) FROM logs WHERE topic = '{topic}'") == [(2,)])
