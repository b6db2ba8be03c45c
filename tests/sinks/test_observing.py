"""What a sink says of itself: how far each partition is stored, and each insert."""

from __future__ import annotations

import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry

from infra import metrics
from infra.metrics_server import Health
from sinks.buffer import Limits, PartitionBuffer
from sinks.delivery import Totals
from sinks.errors import StoreUnavailableError
from sinks.intent import Intent
from sinks.observing import MeasuredStore, Observer
from sinks.records import LogId, TopicPartitionId
from sinks.tables import USAGE_RAW
from tests.sinks.simulation import LOG_ID, TOPIC, Process, SimulatedKafka, SimulatedStore


@pytest.fixture(scope="module")
def registry() -> CollectorRegistry:
    return metrics.registry("sink")


class _World:
    """A log whose end the test says, and one watched partition."""

    def __init__(self, buffer: PartitionBuffer[object]) -> None:  # type: ignore[type-var]
        self.totals = Totals()
        self.partitions = [buffer]
        self.ends: int | None = None

    def end(self, place: TopicPartitionId) -> int | None:
        return self.ends


def _buffer(**state: object) -> PartitionBuffer[object]:  # type: ignore[type-var]
    place = TopicPartitionId("a.topic", 3)
    return PartitionBuffer(place, LogId("a.topic", "c", "t"), Limits(), **state)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "end", "lag"),
    [
        ({"next_offset": 40}, None, None),
        ({"next_offset": 40}, 100, 60),
        ({"next_offset": 99, "end_seen": 100}, 100, 0),  # the last offset is a marker
        ({"next_offset": 99, "end_seen": 100}, 130, 30),
        ({"next_offset": 40, "end_seen": 100, "replay": Intent(40, 49, 10, "t")}, 100, 60),
    ],
)
def test_lag_is_what_is_not_stored(
    registry: CollectorRegistry, state: dict[str, object], end: int | None, lag: int | None
) -> None:
    world = _World(_buffer(**state))
    world.ends = end
    observer = Observer(world, world, Health())
    observer.look()
    place = {"topic": "a.topic", "partition": "3"}
    assert registry.get_sample_value("tokenmill_sink_next_offset", place) == state["next_offset"]
    if lag is not None:
        assert registry.get_sample_value("tokenmill_sink_lag_records", place) == lag


def test_every_turn_of_the_loop_is_a_sign_of_life_and_the_gauges_are_renewed_now_and_then() -> None:
    now, world = [0.0], _World(_buffer())
    health = Health(clock=lambda: now[0])
    looks: list[float] = []
    world.end = lambda place: looks.append(now[0])  # type: ignore[method-assign]
    observer = Observer(world, world, health, clock=lambda: now[0])
    for _ in range(20):
        observer.look()
        now[0] += 0.1
        assert health.silent_s == pytest.approx(0.1)
    assert len(looks) == 4


def test_a_delivery_is_watched_while_it_works_and_when_all_is_stored_nothing_is_left(
    registry: CollectorRegistry,
) -> None:
    kafka, store = SimulatedKafka(1), SimulatedStore()
    kafka.produce(0, 25, marker=True)
    process = Process(kafka, store)

    class Ends:
        def end(self, place: TopicPartitionId) -> int | None:
            return kafka.ends[place.partition]

    lags: list[float | None] = []
    observer = Observer(Ends(), process.delivery, Health(), clock=iter(range(10_000)).__next__)

    def stopping() -> bool:
        lag = registry.get_sample_value("tokenmill_sink_lag_records", {"topic": TOPIC, "partition": "0"})
        if not lags or lag != lags[-1]:
            lags.append(lag)
        return lag == 0 or len(lags) > 20

    process.delivery.run(stopping, observer.look)
    # 25 records and a marker, which nobody has to store.
    assert lags[:2] == [None, 26]
    seen = [lag for lag in lags if lag is not None]
    assert seen == sorted(seen, reverse=True)
    assert (len(seen) > 2, seen[-1]) == (True, 0)


class _Store:
    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def insert(self, table: object, rows: object, token: str) -> None:
        if self.fails:
            raise StoreUnavailableError("busy")

    def highest_offsets(self, table: object, log_id: LogId) -> dict[int, int]:
        return {0: 7}

    def count(self, table: object, log_id: LogId, partition: int, first: int, last: int) -> int:
        return last - first


def test_inserts_are_counted_when_they_succeed_and_postponed_ones_apart(registry: CollectorRegistry) -> None:
    def value(name: str) -> float:
        return registry.get_sample_value(f"tokenmill_sink_{name}", {"table": USAGE_RAW.name}) or 0.0

    names = ("rows_total", "inserts_total", "insert_seconds_count", "inserts_postponed_total")
    before = {name: value(name) for name in names}
    rows = pa.table({"x": [1, 2, 3]})
    MeasuredStore(_Store(fails=False)).insert(USAGE_RAW, rows, "token")
    with pytest.raises(StoreUnavailableError):
        MeasuredStore(_Store(fails=True)).insert(USAGE_RAW, rows, "token")
    assert [value(name) - before[name] for name in names] == [3, 1, 1, 1]
    assert MeasuredStore(_Store(fails=False)).highest_offsets(USAGE_RAW, LOG_ID) == {0: 7}
    assert MeasuredStore(_Store(fails=False)).count(USAGE_RAW, LOG_ID, 0, 1, 5) == 4
