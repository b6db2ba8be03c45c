"""The synthetic workload as a whole: batches of TokenUsage as nodes send them, GPU samples, and what to expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import pyarrow as pa

from infra.errors import ConfigurationError
from producers.workload.delivery import DeliveryPlan
from producers.workload.draws import Flags, Ints
from producers.workload.events import EventNames, usage_batch, usage_columns
from producers.workload.figures import GPU_TYPES
from producers.workload.fleet import Gpu, build_fleet, deployments
from producers.workload.requests import ERROR, STATUSES, Requests, make_requests
from producers.workload.samples import Series, gpu_series, sample_batches, served_shares
from schemas.instants import to_microseconds


@dataclass(frozen=True, slots=True)
class TokenTotals:
    """Plain sums over some events. `input` holds `cache_read` and `cache_write`, `output` holds `reasoning`."""

    requests: int
    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What a workload holds, summed from the columns it was made of: the figures a meter must arrive at.

    `offered` = `unique` + `duplicates`. `tokens` and `by_tenant_model` are over unique events of every status,
    `charged` and `charged_by_tenant_model` only over those that are charged by default (success and aborted).
    """

    offered: int
    unique: int
    duplicates: int
    by_status: Mapping[str, int]
    tokens: TokenTotals
    charged: TokenTotals
    by_tenant_model: Mapping[tuple[str, str], TokenTotals]
    charged_by_tenant_model: Mapping[tuple[str, str], TokenTotals]


@dataclass(frozen=True)
class Workload:
    """A seeded workload: `requests` different events over `hours` hours of event time from `start`, some sent twice.

    Equal arguments give equal bytes. Everything is made on first use and kept, some 300 bytes per request.
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

    def __post_init__(self) -> None:
        bounds = {
            "seed": (self.seed, 0, 2**63), "tenants": (self.tenants, 1, 10_000), "models": (self.models, 1, 100),
            "requests": (self.requests, 1, 50_000_000), "hours": (self.hours, 1, 24 * 366),
            "nodes": (self.nodes, 1, 1_000), "batch_rows": (self.batch_rows, 1, 10_000),
        }  # fmt: skip
        problems = [
            f"{name} must be from {low} to {high}, not {value}"
            for name, (value, low, high) in bounds.items()
            if not low <= value <= high
        ]
        if self.start.utcoffset() is None:
            problems.append("start needs a time zone, such as 2026-01-01T00:00:00Z")
        if problems:
            raise ConfigurationError("workload: " + "; ".join(problems), problems=tuple(problems))

    @property
    def sources(self) -> tuple[str, ...]:
        """The `source` of each gateway node: every batch of `batches` is from one of them."""
        return tuple(f"gateway/{node:02d}" for node in range(self.nodes))

    @property
    def tenant_ids(self) -> list[str]:
        """All tenants, the busiest first."""
        return [f"tenant-{number:04d}" for number in range(self.tenants)]

    @property
    def model_names(self) -> list[str]:
        """All models, the busiest first."""
        return [f"model-{number:02d}" for number in range(self.models)]

    @cached_property
    def columns(self) -> Requests:
        """The requests as numbers, one row per attempt, by start."""
        return make_requests(self.seed, self.tenants, self.models, self.requests, self.start, self.hours * 3_600)

    @cached_property
    def _plan(self) -> DeliveryPlan:
        return DeliveryPlan(self.seed, self.columns.ended_us, self.nodes, self.batch_rows)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """TokenUsage as the nodes send it: batches in order of arrival, each from one node (one `source`).

        Rows are in order of arrival, so event time jumps; some rows come again, unchanged, in a later batch of their
        node.
        """
        begin = 0
        for rows in self._plan:
            yield usage_batch(self._events.slice(begin, len(rows)))
            begin += len(rows)

    def gpu_samples(self) -> Iterator[pa.RecordBatch]:
        """GpuUtilization of the whole fleet: batches in order of time, each from one node's agent (one `source`)."""
        yield from sample_batches(self.gpu_series, to_microseconds(self.start), self.batch_rows)

    @cached_property
    def fleet(self) -> list[Gpu]:
        """The GPUs, as many shared ones of each type as are busy for 60 % of the time."""
        work = np.bincount(self._gpu_type, weights=self.columns.work(), minlength=len(GPU_TYPES)).astype(float)
        return build_fleet(self.seed, work, self.hours * 3_600, self.hours, self.tenants)

    @cached_property
    def _gpu_type(self) -> Ints:
        """For each request, the position in GPU_TYPES of the type that served it."""
        types = np.array([GPU_TYPES.index(place.gpu_type) for place in deployments(self.models)])
        return types[self.columns.deployment]

    @cached_property
    def served_by(self) -> Ints:
        """For each request, the position in `fleet` of the GPU that served it: the shared ones of its type in turn."""
        served_by = np.empty(len(self.columns), dtype=np.int64)
        for position, gpu_type in enumerate(GPU_TYPES):
            gpus = np.array([n for n, gpu in enumerate(self.fleet) if gpu.serves and gpu.gpu_type is gpu_type])
            rows = np.flatnonzero(self._gpu_type == position)
            served_by[rows] = gpus[np.arange(len(rows)) % len(gpus)]
        return served_by

    @cached_property
    def gpu_series(self) -> list[Series]:
        """The samples as numbers, one series per GPU or MIG instance; all end when the last request has been served."""
        requests, work = self.columns, self.columns.work()
        shares = []
        for number, gpu in enumerate(self.fleet):
            rows = np.flatnonzero((self.served_by == number) & (work > 0))
            started, ended = requests.started_us[rows] / 1e6, requests.ended_us[rows] / 1e6
            shares.append(served_shares(started, ended, work[rows], gpu.interval_s, gpu.gpu_type.work_per_s))
        busy_s = [len(share) * gpu.interval_s for share, gpu in zip(shares, self.fleet, strict=True)]
        end_s = -(-max(self.hours * 3_600, *busy_s) // 30) * 30  # where intervals of 10 s and of 30 s end together
        return [
            series
            for gpu, share in zip(self.fleet, shares, strict=True)
            for series in gpu_series(self.seed, gpu, share, end_s // gpu.interval_s, self.hours)
        ]

    def expected(self) -> Expected:
        """Totals of what `batches` yields, by plain sums."""
        requests = self.columns
        charged = requests.status != ERROR
        duplicates = len(self._plan.duplicated)
        pairs = {
            (tenant, model): (requests.tenant == i) & (requests.model == j)
            for i, tenant in enumerate(self.tenant_ids)
            for j, model in enumerate(self.model_names)
        }
        return Expected(
            offered=len(requests) + duplicates,
            unique=len(requests),
            duplicates=duplicates,
            by_status={name: int((requests.status == number).sum()) for number, name in enumerate(STATUSES)},
            tokens=_totals(requests, np.ones(len(requests), dtype=bool)),
            charged=_totals(requests, charged),
            by_tenant_model={pair: _totals(requests, rows) for pair, rows in pairs.items() if rows.any()},
            charged_by_tenant_model={
                pair: _totals(requests, rows & charged) for pair, rows in pairs.items() if (rows & charged).any()
            },
        )

    @cached_property
    def _events(self) -> pa.RecordBatch:
        """What the events say, in the order of sending: batches are slices of it."""
        names = EventNames(self.tenant_ids, self.model_names, self.sources, to_microseconds(self.start))
        order = np.concatenate(list(self._plan))
        return usage_columns(names, self.columns.rows(order), self._plan.node[order])


def _totals(requests: Requests, rows: Flags) -> TokenTotals:
    return TokenTotals(
        requests=int(rows.sum()),
        input=int(requests.input_tokens[rows].sum()),
        cache_read=int(requests.cached_tokens[rows].sum()),
        cache_write=int(requests.written_tokens[rows].sum()),
        output=int(requests.output_tokens[rows].sum()),
        reasoning=int(requests.reasoning_tokens[rows].sum()),
    )
