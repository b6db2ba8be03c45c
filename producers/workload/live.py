"""A workload that follows the clock: so many events a second, without daily shape, bursts and outages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import ConfigurationError
from producers.workload.arrivals import CELL_S, SteadyTimetable
from producers.workload.engine import Engine, Plan, rates_by_class
from producers.workload.figures import PROFILES
from producers.workload.load import Served
from producers.workload.samples import UNIT_S, Sampler
from producers.workload.shares import USUAL, Faults
from producers.workload.workload import bounded, model_names, tenant_names
from schemas.instants import to_microseconds

WARM_UP_S = 60
"""Before the first event is sent, requests have been under way for this long: so events arrive evenly from the start."""
_MOST_WARM_UP_EVENTS = 2_000_000
_LEASE_HOURS = 24


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events that arrive one after the other within some seconds, and GPU samples up to the end of that time.

    `events` and `arrival_s` (seconds from the start of the workload) are in order of arrival; rows and samples are of all
    sources and nodes.
    """

    events: pa.RecordBatch
    arrival_s: np.ndarray[tuple[int], np.dtype[np.float64]]
    samples: list[pa.RecordBatch]


@dataclass(frozen=True)
class LiveWorkload:
    """`rate` events a second from `start` on, retries and duplicates included; equal arguments give equal events.

    Event times are those of a clock that shows `start` when the first event is sent. Raises ConfigurationError when an
    argument makes no sense.
    """

    rate: float
    start: datetime
    seed: int = 0
    tenants: int = 8
    models: int = 4
    nodes: int = 2
    profile: str = "mixed"
    gpus: int | None = None
    faults: Faults = USUAL

    def __post_init__(self) -> None:
        problems = bounded(
            seed=(self.seed, 0, 2**63), tenants=(self.tenants, 1, 10_000), models=(self.models, 1, 100),
            nodes=(self.nodes, 1, 1_000),
        )  # fmt: skip
        if not 0.01 <= self.rate <= 500_000:
            problems.append(f"rate must be from 0.01 to 500000 events per second, not {self.rate}")
        if self.profile not in PROFILES:
            problems.append(f"profile must be one of {', '.join(PROFILES)}, not {self.profile!r}")
        problems += self.faults.problems()
        if problems:
            raise ConfigurationError("workload: " + "; ".join(problems), problems=tuple(problems))

    @property
    def warm_up_s(self) -> int:
        """Seconds of requests before the first event that is sent; whole cells of load."""
        return max(UNIT_S, min(WARM_UP_S, int(_MOST_WARM_UP_EVENTS / self.rate)) // UNIT_S * UNIT_S)

    @cached_property
    def engine(self) -> Engine:
        """What makes it."""
        faults = self.faults
        events_per_request = (1 + faults.failed * faults.retried) * (1 + faults.duplicated)
        per_second = rates_by_class(PROFILES[self.profile], self.rate / events_per_request)
        plan = Plan(
            seed=self.seed,
            tenants=tuple(tenant_names(self.tenants)),
            models=tuple(model_names(self.models)),
            nodes=self.nodes,
            batch_rows=1_000,
            start_us=to_microseconds(self.start - timedelta(seconds=self.warm_up_s)),
            hours=None,
            lease_hours=_LEASE_HOURS,
            per_second=per_second,
            faults=faults,
            outages=(),
            gpus=self.gpus,
            first=None,
            spared=0,
        )
        rates = [Fraction(rate).limit_denominator(10**6) for rate in per_second]
        return Engine(plan, SteadyTimetable(self.seed, rates))

    def stretches(self) -> Iterator[Stretch]:
        """Everything from the start on, for ever, some seconds at a time."""
        engine, plan = self.engine, self.engine.plan
        served = Served(engine.pools)
        sampler = Sampler(plan.seed, engine.fleet, plan.start_us, None, plan.batch_rows)
        for chunk, rows in engine.arrivals(served=served):
            first_cell = served.cell
            samples: list[pa.RecordBatch] = []
            if (until_s := chunk.end_s // UNIT_S * UNIT_S) // CELL_S > first_cell:
                samples = [sampler.whole(served.take(until_s), first_cell)]
            if chunk.end_s <= self.warm_up_s:
                continue
            yield Stretch(engine.events(rows), rows.arrival_us / 1e6 - self.warm_up_s, [*self._sent(samples)])

    def _sent(self, samples: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Samples from the start on: none of the warm-up."""
        for batch in samples:
            found = batch.filter(
                pc.greater_equal(batch.column("time"), pa.scalar(self.start, batch.column("time").type))
            )
            if found.num_rows:
                yield found
