"""The synthetic workload as a whole: batches of TokenUsage as nodes send them, GPU samples, and what to expect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import pyarrow as pa

from infra.errors import ConfigurationError
from producers.workload.arrivals import HOUR_S, Timetable
from producers.workload.delivery import outages
from producers.workload.engine import Engine, Plan, counts_by_class
from producers.workload.figures import CLASSES, PROFILES
from producers.workload.fleet import Gpu
from producers.workload.requests import Requests, joined
from producers.workload.shares import USUAL, Faults, part_of
from producers.workload.totals import Expected, Summing
from schemas.instants import to_microseconds
from schemas.kinds import Kind


@dataclass(frozen=True)
class Workload:
    """A seeded workload: `requests` different events over `hours` hours of event time from `start`, some sent twice.

    Equal arguments give equal bytes. It is made chunk by chunk, every time anew, so its size does not matter: what is held
    is one chunk (some ten thousand requests) and what is on its way. `profile` is a name in `figures.PROFILES`, `gpus` the
    number of shared GPUs (default: as many as are busy for 60 % of the time).
    Raises ConfigurationError when an argument makes no sense.
    """

    seed: int = 0
    tenants: int = 8
    models: int = 4
    requests: int = 200_000
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    hours: int = 6
    nodes: int = 4
    batch_rows: int = 2_000
    profile: str = "mixed"
    gpus: int | None = None
    faults: Faults = USUAL
    outages: bool = True
    _known: list[Expected] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        problems = bounded(
            seed=(self.seed, 0, 2**63), tenants=(self.tenants, 1, 10_000), models=(self.models, 1, 100),
            requests=(self.requests, 1, 50_000_000), hours=(self.hours, 1, 24 * 366),
            nodes=(self.nodes, 1, 1_000), batch_rows=(self.batch_rows, 1, 10_000),
        )  # fmt: skip
        if self.gpus is not None:
            problems += bounded(gpus=(self.gpus, 1, 100_000))
        if self.profile not in PROFILES:
            problems.append(f"profile must be one of {', '.join(PROFILES)}, not {self.profile!r}")
        if self.start.utcoffset() is None:
            problems.append("start needs a time zone, such as 2026-01-01T00:00:00Z")
        problems += self.faults.problems()
        if problems:
            raise ConfigurationError("workload: " + "; ".join(problems), problems=tuple(problems))

    @property
    def sources(self) -> tuple[str, ...]:
        """The `source` of each gateway node: every batch of `batches` is from one of them."""
        return self.engine.names.sources

    @property
    def tenant_ids(self) -> list[str]:
        """All tenants, the busiest first."""
        return tenant_names(self.tenants)

    @property
    def model_names(self) -> list[str]:
        """All models, the busiest first."""
        return model_names(self.models)

    @cached_property
    def engine(self) -> Engine:
        """What makes it."""
        first, spared = self.faults.requests_for(self.requests)
        counts = counts_by_class(PROFILES[self.profile], first)
        seconds = self.hours * HOUR_S
        plan = Plan(
            seed=self.seed,
            tenants=tuple(self.tenant_ids),
            models=tuple(self.model_names),
            nodes=self.nodes,
            batch_rows=self.batch_rows,
            start_us=to_microseconds(self.start),
            hours=self.hours,
            lease_hours=self.hours,
            per_second=tuple(count / seconds for count in counts),
            faults=self.faults,
            outages=outages(self.seed, self.nodes, self.hours, self.requests / self.hours) if self.outages else (),
            gpus=self.gpus,
            first=first,
            spared=spared,
        )
        return Engine(plan, Timetable(self.seed, CLASSES, counts, self.start, self.hours))

    @cached_property
    def columns(self) -> Requests:
        """All requests as numbers, one row per attempt, by start; before any clock is off. Kept: for small workloads."""
        everything = joined(made for _, made in self.engine.requests())
        return everything.rows(np.argsort(everything.started_us, kind="stable"))

    @property
    def fleet(self) -> list[Gpu]:
        """The GPUs."""
        return self.engine.fleet

    def flow(self) -> Iterator[tuple[Kind, pa.RecordBatch]]:
        """Everything as time goes on: batches of TokenUsage and of GpuUtilization with their kinds."""
        yield from self._pass(events=True, samples=True)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """TokenUsage as the nodes send it: batches in order of arrival, each from one node (one `source`).

        Rows are in order of arrival, so event time jumps; some rows come again, unchanged, mostly in a later batch of
        their node.
        """
        for _, batch in self._pass(events=True, samples=False):
            yield batch

    def gpu_samples(self) -> Iterator[pa.RecordBatch]:
        """GpuUtilization of the whole fleet: batches in order of time, each from one node's agent (one `source`)."""
        for _, batch in self._pass(events=False, samples=True):
            yield batch

    def expected(self) -> Expected:
        """Totals of what `batches` yields, by plain sums; known after any whole pass, else found by one over numbers."""
        if not self._known:
            summing = Summing(self.tenants, self.models)
            for _ in self.engine.requests(summing):
                pass
            self._learn(summing)
        return self._known[0]

    def _pass(self, *, events: bool, samples: bool) -> Iterator[tuple[Kind, pa.RecordBatch]]:
        summing = Summing(self.tenants, self.models)
        yield from self.engine.flow(events=events, samples=samples, summing=summing)
        self._learn(summing)

    def _learn(self, summing: Summing) -> None:
        duplicates = part_of(self.requests, self.faults.duplicated)
        self._known[:] = [summing.expected(self.tenant_ids, self.model_names, duplicates)]


def tenant_names(count: int) -> list[str]:
    """The ids of so many tenants, the busiest first."""
    return [f"tenant-{number:04d}" for number in range(count)]


def model_names(count: int) -> list[str]:
    """The names of so many models, the busiest first."""
    return [f"model-{number:02d}" for number in range(count)]


def bounded(**values: tuple[int, int, int]) -> list[str]:
    """What is wrong with values that must lie between two bounds (value, lowest, highest), in words."""
    return [
        f"{name} must be from {low} to {high}, not {value}"
        for name, (value, low, high) in values.items()
        if not low <= value <= high
    ]
