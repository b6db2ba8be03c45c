"""The events that are measured: two shapes of usage, as batches of columns and as JSON, and their exact totals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import pyarrow as pa

from producers.workload.draws import Ints
from producers.workload.events import EventNames, usage_batch, usage_columns
from producers.workload.requests import SUCCESS, Requests
from producers.workload.workload import Workload
from rating.usage import DEFAULT_CONTEXT_EDGES
from schemas.batch import batch_to_models
from schemas.cloudevents import encode_structured
from schemas.instants import format_instant, from_microseconds, to_microseconds
from schemas.kinds import Kind

SOURCE = "bench/gateway"
START = datetime(2026, 1, 1, tzinfo=UTC)
_BATCH_ROWS = 5_000
_HOUR_US = 3_600_000_000

Place = tuple[str, str, str]
"""Tenant, model and the beginning of the hour as RFC 3339 text."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Exact sums of some events; `input` holds `cache_read`, `output` holds reasoning."""

    requests: int
    input: int
    cache_read: int
    output: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What the events look like: how many tenants and models, over how many hours of event time."""

    name: str
    tenants: int
    models: int
    hours: int
    even: bool
    """Every (tenant, model) is as busy as any other and is one usage key; else shares, endpoints and lengths differ."""


SHAPES: Mapping[str, Shape] = {
    "few": Shape("few", tenants=24, models=4, hours=6, even=False),
    "many": Shape("many", tenants=2_500, models=20, hours=1, even=True),
}


class BenchEvents:
    """`count` different events of one shape in order of their end; equal arguments give equal events.

    There are no duplicates among them, because a plain agent would count them twice. Some 700 bytes an event are held.
    """

    def __init__(self, shape: Shape, count: int, seed: int = 0) -> None:
        self.shape = shape
        self.count = count
        workload = Workload(
            seed=seed, tenants=shape.tenants, models=shape.models, requests=count, start=START, hours=shape.hours
        )
        self._known = EventNames(workload.tenant_ids, workload.model_names, (SOURCE,), to_microseconds(START))
        requests = _even(workload.columns, shape, seed) if shape.even else workload.columns
        self._requests = requests.rows(np.argsort(requests.ended_us, kind="stable"))

    @cached_property
    def batches(self) -> list[pa.RecordBatch]:
        """All events as batches of TokenUsage, as a gateway hands them to its emitter."""
        return list(self._cut(0, self.count))

    def json_records(self, limit: int) -> Iterator[tuple[str, bytes]]:
        """The first `limit` events as single CloudEvents in JSON, each with its tenant."""
        for batch in self._cut(0, limit):
            for event in batch_to_models(Kind.TOKEN_USAGE, batch):
                yield event.tenant_id or "", encode_structured(event)[0]

    def totals(self, limit: int | None = None) -> dict[Place, Tokens]:
        """The sums of the first `limit` events by tenant, model and hour, straight from the numbers they are made of."""
        requests, rows = self._requests, slice(limit)
        hour = requests.ended_us[rows] // _HOUR_US
        groups, index = np.unique(
            np.stack((requests.tenant[rows], requests.model[rows], hour)), axis=1, return_inverse=True
        )
        columns = [_sums(index, groups.shape[1], values[rows]) for values in self._measures()]
        return {
            self._place(*group): Tokens(*sums)
            for group, sums in zip(groups.T.tolist(), zip(*(c.tolist() for c in columns), strict=True), strict=True)
        }

    def usage_keys(self) -> int:
        """How many different usage keys and hours the events have."""
        requests = self._requests
        bracket = np.searchsorted(DEFAULT_CONTEXT_EDGES, requests.input_tokens, "left")
        parts = (
            *(requests.tenant, requests.kind, requests.model, requests.deployment, requests.status),
            *(bracket, requests.ended_us // _HOUR_US),
        )
        code = np.zeros(len(requests), dtype=np.int64)
        for part in parts:
            code = code * (int(part.max()) + 1) + part
        return len(np.unique(code))

    def _measures(self) -> Iterable[Ints]:
        requests = self._requests
        ones = np.ones(len(requests), dtype=np.int64)
        return ones, requests.input_tokens, requests.cached_tokens, requests.output_tokens

    def _place(self, tenant: int, model: int, hour: int) -> Place:
        start = from_microseconds(self._known.start_us + hour * _HOUR_US)
        return self._known.tenants[tenant], self._known.models[model], format_instant(start)

    def _cut(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        for first in range(begin, end, _BATCH_ROWS):
            rows = self._requests.rows(np.arange(first, min(first + _BATCH_ROWS, end)))
            yield usage_batch(usage_columns(self._known, rows, np.zeros(len(rows), dtype=np.int64)))


def _sums(index: Ints, groups: int, values: Ints) -> Ints:
    """Sums per group in 64-bit integers (NumPy's own weighted count would use floats)."""
    order = np.argsort(index, kind="stable")
    starts = np.searchsorted(index[order], np.arange(groups))
    sums: Ints = np.add.reduceat(values[order], starts)
    return sums


def _even(requests: Requests, shape: Shape, seed: int) -> Requests:
    """The same requests, but every (tenant, model) equally often, one kind, one context bracket, one hour."""
    count = len(requests)
    pair = np.random.default_rng(seed).integers(0, shape.tenants * shape.models, count)
    below = DEFAULT_CONTEXT_EDGES[0]
    zeros, last_us = np.zeros(count, dtype=np.int64), shape.hours * _HOUR_US - 1
    inputs = np.minimum(requests.input_tokens, below)
    cached = np.minimum(requests.cached_tokens, inputs)
    return replace(
        requests,
        tenant=pair // shape.models,
        model=pair % shape.models,
        kind=zeros,
        deployment=zeros,
        status=np.full(count, SUCCESS),
        failure=np.full(count, -1),
        input_tokens=inputs,
        cached_tokens=cached,
        written_tokens=np.minimum(requests.written_tokens, inputs - cached),
        started_us=np.minimum(requests.started_us, last_us),
        first_token_us=np.minimum(requests.first_token_us, last_us),
        ended_us=np.minimum(requests.ended_us, last_us),
    )
