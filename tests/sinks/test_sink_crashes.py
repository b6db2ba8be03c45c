"""Sinks that die or freeze on Apache Kafka at named points: nothing lost, nothing twice, and red without the protection."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, TopicPartition

from infra.config import Settings
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.kafka import client_config
from infra.topics import apply
from sinks import delivery, intent
from sinks.kafka_log import group_of
from sinks.store import ClickHouseStore
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

pytestmark = [pytest.mark.kafka, pytest.mark.apache]

BATCHES, SIZE = 12, 40
EXPECTED = sorted((partition, offset, row) for partition in (0, 1) for offset in range(BATCHES) for row in range(SIZE))


@pytest.fixture
def settings(apache: Broker, make_settings: MakeSettings, stored: Stored) -> Settings:
    """Two partitions full of usage, ranges of at most 3 records."""
    made = stored(
        make_settings(apache, partitions="2", sink_interval_s="0.1", sink_rows=str(3 * SIZE), session_timeout_s="2")
    )
    apply(made)
    for partition in (0, 1):
        wires = [samples.token_batch(SIZE, number, f"p{partition}-b{number}") for number in range(1, BATCHES + 1)]
        produce(made, made.topics.usage_events, *wires, partition=partition)
    return made


def notes(settings: Settings) -> list[intent.Intent]:
    """The ranges that the group has noted and not settled."""
    consumer = Consumer(client_config(settings, group_id=group_of(settings)))
    found = consumer.committed([TopicPartition(settings.topics.usage_events, number) for number in (0, 1)], timeout=10)
    consumer.close()
    return [note for place in found if (note := intent.decode(place.metadata)) is not None]


def fired(fault_log: Path) -> list[tuple[str, str]]:
    lines = fault_log.read_text().splitlines() if fault_log.exists() else []
    return [(line["point"], line["action"]) for line in map(json.loads, lines)]


def die(settings: Settings, fault_log: Path, point: str, nth: int) -> None:
    with SinkProcess(settings, f"{point}={nth}:kill", fault_log) as sink:
        assert sink.wait() == -signal.SIGKILL
    assert fired(fault_log) == [(point, "kill")]


@pytest.mark.parametrize(
    ("point", "nth"), [("sink.after_intent", 1), ("sink.after_insert", 1), ("sink.after_insert", 4)]
)
def test_a_killed_sink_loses_and_doubles_nothing(
    settings: Settings, database: Client, tmp_path: Path, point: str, nth: int
) -> None:
    die(settings, tmp_path / "faults", point, nth)
    before = coordinates(database)
    assert len(set(before)) == len(before) < len(EXPECTED)
    assert notes(settings)
    run_until_stored(settings)
    assert coordinates(database) == EXPECTED
    assert not notes(settings)


def test_a_sink_killed_between_two_tables_of_one_range_loses_and_doubles_nothing(
    apache: Broker, make_settings: MakeSettings, stored: Stored, database: Client, tmp_path: Path
) -> None:
    settings = stored(make_settings(apache, partitions="1", sink_interval_s="0.1", session_timeout_s="2"))
    apply(settings)
    wires = [samples.token_batch(SIZE), samples.card(), samples.gpu_usage_batch(), samples.token_batch(SIZE, 2, "f")]
    produce(settings, settings.topics.usage_events, *wires)
    die(settings, tmp_path / "faults", "sink.during_insert", 1)
    assert len(coordinates(database)) == 2 * SIZE
    assert coordinates(database, "gpu_usage_raw") == []
    run_until_stored(settings)
    assert coordinates(database) == [(0, offset, row) for offset in (0, 3) for row in range(SIZE)]
    assert coordinates(database, "gpu_usage_raw") == [(0, 2, 0)]
    assert rows(database, "SELECT kafka_offset FROM control_records") == [(1,)]


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks into the receive queues of Linux")
def test_an_insert_that_outlives_its_writer_is_not_doubled(
    apache: Broker,
    make_settings: MakeSettings,
    stored: Stored,
    database: Client,
    clickhouse: EmbeddedClickHouse,
) -> None:
    """ClickHouse stands still while a sink sends an insert and dies; it works the insert off when it goes on."""
    settings = stored(make_settings(apache, partitions="1", sink_interval_s="0.1", session_timeout_s="2"))
    apply(settings)
    server = clickhouse.pid
    assert server is not None
    with SinkProcess(settings) as sink:
        produce(settings, settings.topics.usage_events, samples.token_batch(SIZE, 1, "before"))
        wait_until_stored(settings)
        os.kill(server, signal.SIGSTOP)
        try:
            produce(settings, settings.topics.usage_events, samples.token_batch(SIZE, 2, "during"))
            eventually(lambda: notes(settings), 20)
            eventually(lambda: _waits_for(sink.process.pid, clickhouse.port), 20)
            sink.process.kill()
            sink.wait()
        finally:
            os.kill(server, signal.SIGCONT)
    run_until_stored(settings)
    assert coordinates(database) == [(0, offset, row) for offset in (0, 1) for row in range(SIZE)]


def _waits_for(pid: int, port: int) -> bool:
    """Whether bytes that were sent to a local port have not been read there yet (Linux: receive queues in /proc)."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return any(int(each[1].partition(":")[2], 16) == port and int(each[4].partition(":")[2], 16) for each in fields)


def test_the_successor_inserts_exactly_the_noted_range(
    settings: Settings, database: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    die(settings, tmp_path / "faults", "sink.after_intent", 2)
    noted = {f"{note.first}-{note.last}" for note in notes(settings)}
    used: list[str] = []
    insert = ClickHouseStore.insert

    def recorded(self: ClickHouseStore, table: object, rows: object, token: str) -> None:
        used.append(token.split("/")[-2])
        insert(self, table, rows, token)  # type: ignore[arg-type]

    monkeypatch.setattr(ClickHouseStore, "insert", recorded)
    run_until_stored(settings)
    assert noted
    assert noted <= set(used[: 2 * len(noted)])
    assert coordinates(database) == EXPECTED


def test_without_note_and_token_the_same_crash_doubles_rows(
    settings: Settings, database: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: a successor that ignores what it is told, as ordinary sinks do, stores the range again."""
    die(settings, tmp_path / "faults", "sink.after_insert", 1)
    monkeypatch.setattr(intent, "decode", lambda metadata: None)
    monkeypatch.setattr(delivery, "token", lambda *place: os.urandom(8).hex())
    monkeypatch.setattr(ClickHouseStore, "highest_offsets", lambda *place: {})
    run_until_stored(settings)
    found = coordinates(database)
    assert sorted(set(found)) == EXPECTED
    assert len(found) > len(EXPECTED)


def test_a_sink_that_froze_past_its_session_and_woke_up_changes_nothing(
    settings: Settings, database: Client, tmp_path: Path
) -> None:
    fault_log = tmp_path / "faults"
    with SinkProcess(settings, "sink.after_intent=2:stop", fault_log) as frozen:
        eventually(lambda: fired(fault_log), 60)
        with running_sink(settings):
            wait_until_stored(settings)  # it gets the partitions when the frozen one's session has ended
            assert coordinates(database) == EXPECTED
            os.kill(frozen.process.pid, signal.SIGCONT)
            produce(settings, settings.topics.usage_events, samples.token_batch(SIZE, BATCHES + 1, "later"))
            wait_until_stored(settings)
        # Now it is alone: it can only go on if it has joined the group again.
        produce(settings, settings.topics.usage_events, samples.token_batch(SIZE, BATCHES + 2, "last"))
        wait_until_stored(settings)
        assert frozen.stop() == 0
    later = [(0, offset, row) for offset in (BATCHES, BATCHES + 1) for row in range(SIZE)]
    assert coordinates(database) == sorted([*EXPECTED, *later])


def test_an_outage_of_clickhouse_is_survived(
    apache: Broker, make_settings: MakeSettings, stored: Stored, database: Client, clickhouse: EmbeddedClickHouse
) -> None:
    settings = stored(make_settings(apache, partitions="2", sink_interval_s="0.1", session_timeout_s="2"))
    apply(settings)
    with running_sink(settings):
        produce(settings, settings.topics.usage_events, samples.token_batch(SIZE, 1, "before"))
        wait_until_stored(settings)
        clickhouse.kill()
        produce(settings, settings.topics.usage_events, samples.token_batch(SIZE, 2, "during"))
        eventually(lambda: notes(settings), 20)
        clickhouse.start()
        wait_until_stored(settings)
    assert coordinates(database) == [(0, offset, row) for offset in (0, 1) for row in range(SIZE)]
