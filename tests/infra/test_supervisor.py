"""Keeping processes running, with a clock and processes of the test's own: restarts, back-off, giving up, an orderly end."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

import pytest

from infra.errors import EmbeddedError
from infra.supervisor import Died, Ending, Event, GaveUp, Part, Patience, Phase, Started, Step, Supervisor, described

PATIENCE = Patience(first_s=1.0, longest_s=8.0, failures=5, steady_s=60.0)


@dataclass
class FakeProcess:
    """A process that does what the test says; `obeys`: how long after SIGTERM it ends, None for never."""

    world: World
    pid: int
    obeys: float | None = 0.0
    exit_status: int | None = None
    signals: list[int] = field(default_factory=list)

    def send(self, signal_number: int) -> None:
        self.signals.append(signal_number)
        self.world.history.append(f"{self.world.name_of(self)} {signal.Signals(signal_number).name}")
        if self.obeys == 0:
            self.exit_status = 0
        elif self.obeys is not None:
            self.world.later.append((self.world.now + self.obeys, self))

    def kill(self) -> None:
        self.exit_status = -signal.SIGKILL
        self.world.history.append(f"{self.world.name_of(self)} killed")

    def log_tail(self, lines: int = 8) -> str:
        return f"last words of {self.pid}"


@dataclass
class World:
    """Time, and every process that was started, by the name of its part."""

    now: float = 0.0
    started: dict[str, list[FakeProcess]] = field(default_factory=dict)
    later: list[tuple[float, FakeProcess]] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    obeys: dict[str, float | None] = field(default_factory=dict)

    def part(self, name: str, final: str = "") -> Part:
        def start() -> FakeProcess:
            if name in self.broken:
                raise EmbeddedError(f"{name} cannot start")
            assert all(each.exit_status is not None for each in self.started.get(name, ())), "two of one part at once"
            number = sum(len(each) for each in self.started.values()) + 1
            process = FakeProcess(self, number, self.obeys.get(name, 0.0))
            self.started.setdefault(name, []).append(process)
            return process

        return Part(name, start, final)

    def last(self, name: str) -> FakeProcess:
        return self.started[name][-1]

    def name_of(self, process: FakeProcess) -> str:
        return next(name for name, processes in self.started.items() if process in processes)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for due, process in self.later:
            if due <= self.now and process.exit_status is None:
                process.exit_status = 0

    def supervisor(self, *names: str) -> Supervisor:
        made = Supervisor(lambda: self.now, PATIENCE)
        for name in names:
            made.add(self.part(name))
        assert [type(event) for event in made.look()] == [Started] * len(names)
        return made


def _fail(world: World, supervisor: Supervisor, name: str, status: int = 1) -> Event:
    world.last(name).exit_status = status
    (event,) = supervisor.look()
    return event


def test_a_process_that_dies_is_started_again_after_a_wait_and_not_before() -> None:
    world = World()
    supervisor = world.supervisor("worker")
    event = _fail(world, supervisor, "worker", -9)
    assert event == Died("worker", "was ended by SIGKILL", "last words of 1", 1.0)
    world.pass_time(0.9)
    assert supervisor.look() == []
    world.pass_time(0.1)
    assert supervisor.look() == [Started("worker", 2, 2)]


def test_the_wait_doubles_with_each_failure_in_a_row_up_to_a_bound() -> None:
    world = World()
    supervisor, waits = world.supervisor("worker"), []
    for _ in range(4):
        event = _fail(world, supervisor, "worker")
        assert isinstance(event, Died)
        waits.append(event.wait_s)
        world.pass_time(event.wait_s)
        supervisor.look()
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert PATIENCE.wait_s(1000) == 8.0


def test_after_too_many_failures_in_a_row_it_is_given_up_with_its_last_words() -> None:
    world = World()
    supervisor = world.supervisor("worker", "sink")
    for _ in range(4):
        _fail(world, supervisor, "worker")
        world.pass_time(60)
        supervisor.look()
    event = _fail(world, supervisor, "worker", 3)
    assert event == GaveUp("worker", "ended with exit code 3", "last words of 6", "it failed 5 times in a row")
    world.pass_time(1000)
    assert supervisor.look() == []
    assert (supervisor.phase("worker"), supervisor.phase("sink")) == (Phase.GIVEN_UP, Phase.RUNNING)


def test_a_run_that_lasted_makes_up_for_the_failures_before_it() -> None:
    world = World()
    supervisor = world.supervisor("worker")
    for _ in range(20):
        event = _fail(world, supervisor, "worker")
        assert isinstance(event, Died)
        assert event.wait_s == 1.0
        world.pass_time(1.0)
        supervisor.look()
        world.pass_time(60.0)


def test_a_configuration_error_is_not_tried_again() -> None:
    world = World()
    supervisor = world.supervisor("worker")
    event = _fail(world, supervisor, "worker", 2)
    assert isinstance(event, GaveUp)
    assert event.exit_code == 2


def test_a_part_that_must_not_end_is_given_up_at_once_with_the_reason() -> None:
    world = World()
    supervisor = Supervisor(lambda: world.now, PATIENCE)
    part = world.part("broker", final="its log is gone")
    supervisor.add(part, part.start())
    assert supervisor.look() == []
    event = _fail(world, supervisor, "broker", -9)
    assert isinstance(event, GaveUp)
    assert (event.why, event.exit_code) == ("its log is gone", 1)


def test_a_start_that_fails_counts_as_a_failure() -> None:
    world = World(broken={"store"})
    supervisor = Supervisor(lambda: world.now, PATIENCE)
    supervisor.add(world.part("store"))
    assert supervisor.look() == [Died("store", "store cannot start", "", 1.0)]
    world.broken.clear()
    world.pass_time(1.0)
    assert supervisor.look() == [Started("store", 1, 2)]


def test_parts_that_live_do_not_wait_for_one_that_died() -> None:
    world = World()
    supervisor = world.supervisor("a", "b", "c")
    world.last("a").exit_status = world.last("c").exit_status = 1
    assert [event.name for event in supervisor.look()] == ["a", "c"]
    world.pass_time(1.0)
    assert [(event.name, type(event)) for event in supervisor.look()] == [("a", Started), ("c", Started)]
    assert len(world.started["b"]) == 1


# -- the end ----------------------------------------------------------------------------------------------------------


def _end(world: World, ending: Ending, seconds: float = 10.0) -> None:
    for _ in range(int(seconds / 0.5)):
        ending.look()
        if ending.done:
            return
        world.pass_time(0.5)
    raise AssertionError(f"not done after {seconds} s: {world.history}")


STEPS = [Step(("worker-1", "worker-2"), 4.0), Step(("sink",), 6.0), Step(("store",), 8.0), Step(("broker",), 9.0)]
NAMES = ("worker-1", "worker-2", "sink", "store", "broker")


def test_the_end_goes_step_by_step_each_after_the_one_before_is_gone() -> None:
    world = World(obeys={"worker-2": 2.0, "sink": 1.0})
    ending = Ending(world.supervisor(*NAMES), STEPS, lambda: world.now)
    _end(world, ending)
    assert world.history == [f"{name} SIGTERM" for name in NAMES]
    assert ending.ended_s == {"worker-1": 2.0, "worker-2": 2.0, "sink": 3.0, "store": 3.0, "broker": 3.0}
    assert ending.killed == []


def test_what_does_not_end_in_its_time_is_killed_and_the_rest_goes_on() -> None:
    world = World(obeys={"worker-1": None, "store": None})
    ending = Ending(world.supervisor(*NAMES), STEPS, lambda: world.now)
    _end(world, ending)
    assert ending.killed == ["worker-1", "store"]
    assert ending.ended_s["broker"] == 8.0
    assert all(each.exit_status is not None for each in (world.last(name) for name in NAMES))


def test_a_step_waits_for_its_condition_but_not_for_ever() -> None:
    world, asked = World(), []

    def never() -> bool:
        asked.append(world.now)
        return False

    steps = [Step(("sink",), 6.0, never, 3.0), Step(("store",), 8.0, lambda: world.now >= 4.0, 7.0)]
    ending = Ending(world.supervisor("sink", "store"), steps, lambda: world.now)
    _end(world, ending)
    assert max(asked) < 3.0
    assert ending.ended_s == {"sink": 3.0, "store": 4.0}


def test_a_part_that_waits_for_its_restart_is_started_no_more() -> None:
    world = World()
    supervisor = world.supervisor("worker-1")
    _fail(world, supervisor, "worker-1")
    supervisor.end(["worker-1"])
    world.pass_time(100)
    assert supervisor.look() == []
    assert supervisor.gone(["worker-1"])


def test_a_process_told_to_end_is_not_taken_for_one_that_died() -> None:
    world = World()
    supervisor = world.supervisor("worker-1")
    supervisor.end(["worker-1"])
    world.pass_time(1)
    assert supervisor.look() == []


def test_everything_can_be_killed_at_once() -> None:
    world = World(obeys=dict.fromkeys(NAMES))
    supervisor = world.supervisor(*NAMES)
    world.last("sink").exit_status = 0
    assert supervisor.kill() == ["broker", "store", "worker-2", "worker-1"]
    assert supervisor.gone(NAMES)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-15, "was ended by SIGTERM"),
        (-250, "by signal 250"),
    ],
)
def test_an_exit_status_is_said_in_words(status: int, words: str) -> None:
    assert words in described(status)
