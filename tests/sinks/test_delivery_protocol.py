"""The delivery protocol against simulated brokers and stores: whatever dies wherever, each row is stored once."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

from sinks.buffer import Limits
from sinks.errors import DataLostError
from tests.sinks.simulation import FEW, MANY, Fuse, Process, SimulatedKafka, SimulatedStore, expected

DRAIN_TURNS = 200


def drain(kafka: SimulatedKafka, store: SimulatedStore) -> None:
    """Let a fresh process finish what others left."""
    for member in list(kafka.members):
        kafka.leave(member)
    assert Process(kafka, store).step(DRAIN_TURNS)


def assert_exact(kafka: SimulatedKafka, store: SimulatedStore) -> None:
    records = kafka.everything()
    for table in (MANY, FEW):
        assert sorted(store.tables[table.name]) == expected(records, table)


class SinksUnderFaults(RuleBasedStateMachine):
    """Processes start, work, die at any call, freeze and wake up; afterwards nothing is lost or doubled."""

    processes = Bundle("processes")

    @initialize()
    def begin(self) -> None:
        self.kafka, self.store = SimulatedKafka(), SimulatedStore()
        self.alive: list[Process] = []

    @rule(partition=st.integers(0, 1), count=st.integers(1, 25), marker=st.booleans())
    def produce(self, partition: int, count: int, marker: bool) -> None:
        self.kafka.produce(partition, count, marker=marker)

    @rule(target=processes, rows=st.integers(1, 30))
    def start(self, rows: int):  # type: ignore[no-untyped-def]  # hypothesis gives MultipleResults
        if len(self.alive) >= 2:
            return multiple()
        process = Process(self.kafka, self.store)
        self.alive.append(process)
        return process

    @rule(process=processes, turns=st.integers(1, 30))
    def work(self, process: Process, turns: int) -> None:
        if process in self.alive and not process.step(turns):
            self.alive.remove(process)

    @rule(process=processes, calls=st.integers(1, 12), mode=st.sampled_from(["before", "after", "in_flight"]))
    def die_at(self, process: Process, calls: int, mode: str) -> None:
        if process in self.alive:
            process.fuse.calls, process.fuse.mode = calls, mode
            self.work(process, 40)

    @rule(process=processes)
    def freeze_past_the_session(self, process: Process) -> None:
        """It stays alive, and does not know yet that it was put out of the group."""
        self.kafka.leave(process.log)

    @rule()
    def rebalance(self) -> None:
        self.kafka.rebalance()

    @rule(calls=st.integers(1, 4))
    def store_goes_down(self, calls: int) -> None:
        self.store.down = calls

    @rule()
    def late_inserts_land(self) -> None:
        self.store.land_late_inserts()

    def teardown(self) -> None:
        drain(self.kafka, self.store)
        self.store.land_late_inserts()
        assert_exact(self.kafka, self.store)


SinksUnderFaults.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSinksUnderFaults = SinksUnderFaults.TestCase


def run_with_crash(kafka: SimulatedKafka, store: SimulatedStore, calls: int, mode: str) -> bool:
    """One process dies at a call, its insert perhaps under way; a second goes on; then the late insert lands."""
    kafka.produce(0, 9, marker=True)
    kafka.produce(1, 9)
    # Other bounds than the successor's, so that only the note can give it the same range.
    died = not Process(kafka, store, Limits(rows=6), Fuse(calls, mode)).step(60)
    kafka.produce(0, 9)
    drain(kafka, store)
    store.land_late_inserts()
    return died


@pytest.mark.parametrize("mode", ["before", "after", "in_flight"])
def test_a_crash_at_every_single_call_loses_and_doubles_nothing(mode: str) -> None:
    crashes = 0
    for calls in range(1, 120):
        kafka, store = SimulatedKafka(), SimulatedStore()
        crashes += run_with_crash(kafka, store, calls, mode)
        assert_exact(kafka, store)
    assert crashes > 20


@pytest.mark.parametrize("mode", ["before", "after"])
def test_without_notes_the_tables_own_offsets_are_enough_unless_an_insert_outlives_its_writer(mode: str) -> None:
    for calls in range(1, 80):
        kafka, store = SimulatedKafka(keeps_notes=False), SimulatedStore()
        run_with_crash(kafka, store, calls, mode)
        assert_exact(kafka, store)


def doubled(kafka: SimulatedKafka, store: SimulatedStore) -> bool:
    return any(len(set(rows)) != len(rows) for rows in store.tables.values())


def test_without_tokens_rows_are_doubled() -> None:
    """Negative control: the token is what drops the insert that lands after the successor's."""
    outcomes = []
    for calls in range(1, 80):
        kafka, store = SimulatedKafka(), SimulatedStore(remembers_tokens=False)
        run_with_crash(kafka, store, calls, "in_flight")
        outcomes.append(doubled(kafka, store))
    assert any(outcomes)


def test_without_notes_rows_are_doubled_when_an_insert_outlives_its_writer() -> None:
    """Negative control: without the note the successor fixes another range, and the token no longer matches."""
    outcomes = []
    for calls in range(1, 80):
        kafka, store = SimulatedKafka(keeps_notes=False), SimulatedStore()
        run_with_crash(kafka, store, calls, "in_flight")
        outcomes.append(doubled(kafka, store))
    assert any(outcomes)


def test_a_member_that_was_put_out_of_the_group_inserts_nothing_more() -> None:
    kafka, store = SimulatedKafka(partitions=1), SimulatedStore()
    kafka.produce(0, 5)
    frozen = Process(kafka, store)
    frozen.step(2)  # joined, and holds records that it has not noted yet
    kafka.leave(frozen.log)
    frozen.log.pending_rebalance = False  # it has not been told
    before = {name: list(rows) for name, rows in store.tables.items()}
    frozen.step(20)
    assert store.tables == before
    drain(kafka, store)
    assert_exact(kafka, store)


def test_an_outage_of_the_store_is_waited_for_without_losing_the_partitions() -> None:
    kafka, store = SimulatedKafka(), SimulatedStore()
    kafka.produce(0, 40)
    store.down = 5
    process = Process(kafka, store)
    assert process.step(60)
    assert process.delivery.totals.retries == 5
    assert_exact(kafka, store)


def test_an_idle_partition_is_settled_so_that_nobody_replays_it() -> None:
    kafka, store = SimulatedKafka(partitions=1), SimulatedStore()
    kafka.produce(0, 4, marker=True)
    Process(kafka, store).step(40)
    assert kafka.committed[0] == (5, "")  # after the marker: nothing lags


def test_a_noted_range_that_retention_removed_stops_the_sink() -> None:
    kafka, store = SimulatedKafka(partitions=1), SimulatedStore()
    kafka.produce(0, 9)
    assert not Process(kafka, store, fuse=Fuse(1, "before")).step(1)
    died = Process(kafka, store)
    while died.fuse.calls is None and "v1:" not in kafka.committed.get(0, (0, ""))[1]:
        died.delivery.step()
    kafka.leave(died.log)
    store.tables[MANY.name].clear()
    kafka.records[0] = kafka.records[0][3:]
    successor = Process(kafka, store)
    with pytest.raises(DataLostError, match="retention"):
        successor.step(40)


def test_a_note_about_another_log_stops_the_sink() -> None:
    kafka, store = SimulatedKafka(partitions=1), SimulatedStore()
    kafka.produce(0, 9)
    kafka.committed[0] = (0, "v1:0-3:4:former-topic-id")
    with pytest.raises(DataLostError, match="another log"):
        Process(kafka, store).step(5)


@pytest.mark.parametrize("note", ["v2:0-3:4:topic-id", "quix", "v1:5-3:1:topic-id", "v1:0-3"])
def test_a_note_that_cannot_be_read_stops_the_sink(note: str) -> None:
    kafka, store = SimulatedKafka(partitions=1), SimulatedStore()
    kafka.produce(0, 9)
    kafka.committed[0] = (0, note)
    with pytest.raises(DataLostError, match="cannot read"):
        Process(kafka, store).step(5)
