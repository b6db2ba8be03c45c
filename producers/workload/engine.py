"""Makes a workload chunk by chunk: requests, their events in order of arrival, and the samples of the GPUs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa

from producers.workload.arrivals import Chunk
from producers.workload.delivery import Delivery, Outage, in_batches
from producers.workload.draws import Floats, Ints, Words, zipf_weights
from producers.workload.events import EventNames, usage_batch, usage_columns
from producers.workload.figures import CLASSES, GPU_TYPES, MODEL_ZIPF, TURN_GAP_S
from producers.workload.fleet import Gpu, Pools, build_fleet, deployments, pools_of
from producers.workload.load import Served
from producers.workload.requests import RequestMaker, Requests, no_requests
from producers.workload.samples import UNIT_S, Sampler
from producers.workload.shares import Faults, Shares
from producers.workload.tokens import TokenMaker
from producers.workload.totals import Summing
from schemas.kinds import Kind

_SECOND_US = 10**6
_PILOT_ROWS = 8_192


@dataclass(frozen=True, slots=True)
class Plan:
    """What an engine needs to know. `per_second` are requests by class; `hours` is None for a workload without end."""

    seed: int
    tenants: tuple[str, ...]
    models: tuple[str, ...]
    nodes: int
    batch_rows: int
    start_us: int
    hours: int | None
    lease_hours: int
    per_second: tuple[float, ...]
    faults: Faults
    outages: tuple[Outage, ...]
    gpus: int | None
    first: int | None
    spared: int


@dataclass(frozen=True)
class Engine:
    """One pass after the other over the chunks of a timetable; each begins anew and gives the same."""

    plan: Plan
    chunks: Iterable[Chunk]

    @cached_property
    def fleet(self) -> list[Gpu]:
        """The GPUs, as many shared ones of each type as the requests need."""
        plan = self.plan
        return build_fleet(
            plan.seed, _work_by_type(plan.per_second, len(plan.models)), plan.lease_hours, len(plan.tenants), plan.gpus
        )

    @cached_property
    def pools(self) -> Pools:
        """The serving capacity of the fleet."""
        return pools_of(self.fleet, len(self.plan.models))

    @cached_property
    def names(self) -> EventNames:
        """The names that events use."""
        plan = self.plan
        sources = tuple(f"gateway/{node:02d}" for node in range(plan.nodes))
        return EventNames(list(plan.tenants), list(plan.models), sources, plan.start_us)

    def requests(self, summing: Summing | None = None) -> Iterator[tuple[Chunk, Requests]]:
        """The requests of each chunk."""
        plan = self.plan
        users = [max(1, round(rate * TURN_GAP_S)) for rate in plan.per_second]
        maker = RequestMaker(
            plan.seed,
            len(plan.tenants),
            len(plan.models),
            plan.nodes,
            plan.start_us,
            users,
            Shares(plan.faults, plan.first, plan.spared),
            self.pools,
        )
        for chunk in self.chunks:
            made = maker.make(chunk)
            if summing is not None:
                summing.add(made)
            yield chunk, made

    def arrivals(
        self, summing: Summing | None = None, served: Served | None = None
    ) -> Iterator[tuple[Chunk, Requests]]:
        """What arrives in the time of each chunk, in order; with the last one everything that is still on its way."""
        plan = self.plan
        rate = sum(plan.per_second)
        # An event is sent again when about one more batch of its node has been sent.
        resend_us = int(1.05 * plan.batch_rows * plan.nodes / max(rate, 1e-6) * _SECOND_US) if plan.hours else 2 * 10**6
        delivery = Delivery(plan.seed, plan.nodes, resend_us, plan.faults, plan.outages)
        for chunk, made in self.requests(summing):
            if served is not None:
                served.add(made)
            last = plan.hours is not None and chunk.end_s >= plan.hours * 3_600
            yield chunk, delivery.pass_on(chunk.number, made, None if last else chunk.end_s * _SECOND_US)

    def events(self, rows: Requests) -> pa.RecordBatch:
        """Rows as TokenUsage."""
        return usage_batch(usage_columns(self.names, rows, rows.node))

    def flow(
        self, *, events: bool = True, samples: bool = True, summing: Summing | None = None
    ) -> Iterator[tuple[Kind, pa.RecordBatch]]:
        """Batches of TokenUsage and of GpuUtilization, each of one source, as time goes on."""
        plan = self.plan
        served = Served(self.pools) if samples else None
        sampler = Sampler(plan.seed, self.fleet, plan.start_us, plan.hours, plan.batch_rows)
        if events:
            made = self.arrivals(summing, served)
        else:
            made = self._served_only(summing, served)
        for chunk, rows in made:
            if served is not None:
                for batch in self._samples(sampler, served, chunk):
                    yield Kind.GPU_UTILIZATION, batch
            if len(rows):
                for batch in self._batches(rows):
                    yield Kind.TOKEN_USAGE, batch

    def _served_only(self, summing: Summing | None, served: Served | None) -> Iterator[tuple[Chunk, Requests]]:
        for chunk, made in self.requests(summing):
            if served is not None:
                served.add(made)
            yield chunk, no_requests()

    def _batches(self, rows: Requests) -> Iterator[pa.RecordBatch]:
        batches = list(in_batches(rows, self.plan.nodes, self.plan.batch_rows))
        whole = self.events(rows.rows(np.concatenate(batches)))
        begin = 0
        for batch in batches:
            yield whole.slice(begin, len(batch))
            begin += len(batch)

    def _samples(self, sampler: Sampler, served: Served, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """The samples up to the end of a chunk; with the last one until all work is done."""
        until_s = chunk.end_s // UNIT_S * UNIT_S
        if self.plan.hours is not None and chunk.end_s >= self.plan.hours * 3_600:
            until_s = max(chunk.end_s, (served.cell + served.drain()) * 10)
            until_s = -(-until_s // UNIT_S) * UNIT_S
        first_cell = served.cell
        if until_s // 10 > first_cell:
            yield from sampler.batches(served.take(until_s), first_cell)


def counts_by_class(profile: Mapping[str, float], count: int) -> list[int]:
    """`count` requests divided over CLASSES by a profile's shares."""
    shares = _shares(profile)
    edges = np.rint(np.cumsum(shares) * count).astype(np.int64)
    counts: list[int] = np.diff(np.concatenate(([0], edges))).tolist()
    return counts


def rates_by_class(profile: Mapping[str, float], per_second: float) -> tuple[float, ...]:
    """A rate divided over CLASSES by a profile's shares."""
    return tuple((_shares(profile) * per_second).tolist())


def _shares(profile: Mapping[str, float]) -> Floats:
    shares = np.array([profile.get(each.name, 0.0) for each in CLASSES])
    normed: Floats = shares / shares.sum()
    return normed


def _work_by_type(per_second: Sequence[float], models: int) -> Floats:
    """Mean work per second that falls to each type of GPU."""
    places = deployments(models)
    popular = zipf_weights(models, MODEL_ZIPF)
    weights = np.array([popular[each.model] * each.share for each in places])
    of_type = np.zeros(len(GPU_TYPES))
    for place, weight in zip(places, weights / weights.sum(), strict=True):
        of_type[GPU_TYPES.index(place.gpu_type)] += weight
    work: Floats = of_type * sum(rate * _mean_work(number) for number, rate in enumerate(per_second))
    return work


@lru_cache(maxsize=len(CLASSES))
def _mean_work(number: int) -> float:
    """Work of an average request of a class, found by making some."""
    rows = no_requests(_PILOT_ROWS)
    maker = TokenMaker(0, number, 512)
    maker.fill(rows, slice(0, _PILOT_ROWS), 0, _no_model)
    return int(rows.work().sum()) / _PILOT_ROWS


def _no_model(session: Words) -> tuple[Ints, Ints]:
    zeros = np.zeros(len(session), dtype=np.int64)
    return zeros, zeros
