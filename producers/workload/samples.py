"""What the GPUs report: samples that agree with the tokens that the shared GPUs served.

A sample at time t holds averages over the interval that ended at t, and the owner at t. So a GPU's sample k covers
(t(k-1), t(k)], and a lease that begins or ends at a sample's time is seen exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa

from producers.columns import constant, instants, make_batch, names
from producers.workload.draws import Floats, Ints, stream
from producers.workload.figures import IDLE_POWER_SHARE
from producers.workload.fleet import IDLE, POOL, Gpu, Instance
from schemas.kinds import Kind

Numbers = TypeVar("Numbers", Floats, Ints)

HOUR_S = 3_600
MEMORY_WHEN_IDLE, MEMORY_WHEN_SERVING = 0.01, 0.88
"""Share of a GPU's memory in use; assumed."""


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one GPU or MIG instance. `time_s` counts from the workload's start; sample 0 is at the start."""

    gpu: Gpu
    instance: Instance
    time_s: Ints
    busy: Floats
    """Share of the interval that ended at the sample in which the GPU worked, with 6 decimals; sample 0 has none."""
    power_w: Floats
    energy_mj: Ints
    owners: tuple[str, ...]
    owner: Ints
    """Positions in `owners`, one per sample."""

    def __len__(self) -> int:
        return len(self.time_s)


def served_shares(start_s: Floats, end_s: Floats, work: Floats, interval_s: int, work_per_s: float) -> Floats:
    """The busy share of each interval of a GPU that was given `work[i]` evenly over [start_s[i], end_s[i]).

    What exceeds an interval's capacity waits for the next ones; the result is as long as it takes to finish. The sum of
    shares times capacity is the sum of work.
    """
    capacity = work_per_s * interval_s
    given = _spread(start_s, end_s, work, interval_s)
    balance = np.cumsum(given - capacity)
    backlog = balance - np.minimum(np.minimum.accumulate(balance), 0.0)
    extra = int(np.ceil(backlog[-1] / capacity)) if len(given) else 0
    given = np.concatenate((given, np.zeros(extra)))
    balance = np.cumsum(given - capacity)
    backlog = np.maximum(balance - np.minimum(np.minimum.accumulate(balance), 0.0), 0.0)
    done = given - np.diff(np.concatenate(([0.0], backlog)))
    return np.clip(done / capacity, 0.0, 1.0)


def _spread(start_s: Floats, end_s: Floats, work: Floats, interval_s: int) -> Floats:
    """Work per interval of requests that each work evenly from start to end."""
    if not len(work):
        return np.zeros(0)
    first = (start_s // interval_s).astype(np.int64)
    last = (end_s // interval_s).astype(np.int64)
    size = int(last.max()) + 1
    inside = first == last
    total = np.zeros(size)  # a bincount of nothing would be of whole numbers
    total += np.bincount(first[inside], weights=work[inside], minlength=size)
    first, last, start, end = first[~inside], last[~inside], start_s[~inside], end_s[~inside]
    rate = work[~inside] / (end - start)
    total += np.bincount(first, weights=rate * ((first + 1) * interval_s - start), minlength=size)
    total += np.bincount(last, weights=rate * (end - last * interval_s), minlength=size)
    # Whole intervals in between: switch the rate on after the first one and off at the last.
    change = np.bincount(first + 1, weights=rate, minlength=size) - np.bincount(last, weights=rate, minlength=size)
    middle = np.cumsum(change) * interval_s
    return np.maximum(total + np.where(np.abs(middle) < 1e-6, 0.0, middle), 0.0)


def gpu_series(seed: int, gpu: Gpu, shares: Floats, intervals: int, hours: int) -> list[Series]:
    """The samples of one GPU over `intervals` intervals: one series, or one per MIG instance.

    `shares` is the busy share per interval of a shared GPU; a rented one works as its tenant pleases (seeded). Power
    and energy are of the whole board, so the instances of one GPU report the same.
    """
    time_s = np.arange(intervals + 1, dtype=np.int64) * gpu.interval_s
    random = stream(seed, gpu.uuid)
    parts = []
    for instance in gpu.instances:
        owners, owner = _owners(instance, time_s, hours)
        busy = _padded(shares, intervals) if instance.lease is None else _rented(random, owner, time_s)
        busy = np.round(busy, 6)
        parts.append((instance, owners, owner, busy))
    board = sum(busy * (instance.slices / 7) for instance, _, _, busy in parts)
    idle_w = gpu.gpu_type.tdp_w * IDLE_POWER_SHARE
    power = idle_w + (gpu.gpu_type.tdp_w - idle_w) * np.asarray(board)
    used = np.concatenate(([0.0], power[1:] * gpu.interval_s * 1_000.0))
    counter = int(random.integers(10**9, 10**12)) + np.cumsum(np.rint(used).astype(np.int64))
    power = np.round(power, 3)
    return [
        Series(gpu, instance, time_s, busy, power, counter, owners, owner) for instance, owners, owner, busy in parts
    ]


def _padded(shares: Floats, intervals: int) -> Floats:
    busy = np.zeros(intervals + 1)
    busy[1 : len(shares) + 1] = shares
    return busy


def _owners(instance: Instance, time_s: Ints, hours: int) -> tuple[tuple[str, ...], Ints]:
    """The owners of a GPU and which of them has it at each time. A lease up to the last hour lasts until the end."""
    lease = instance.lease
    if lease is None:
        return (POOL,), np.zeros(len(time_s), dtype=np.int64)
    end_s = int(time_s[-1]) + 1 if lease.end_hour == hours else lease.end_hour * HOUR_S
    held = (time_s >= lease.first_hour * HOUR_S) & (time_s < end_s)
    return (IDLE, lease.tenant), held.astype(np.int64)


def _rented(random: np.random.Generator, owner: Ints, time_s: Ints) -> Floats:
    """A tenant's own jobs: a level per quarter of an hour with some noise; nothing while nobody has the GPU."""
    quarter = time_s // 900
    level = 0.55 + 0.4 * random.random(int(quarter[-1]) + 1)[quarter]
    busy = np.clip(level + 0.1 * (random.random(len(time_s)) - 0.5), 0.0, 1.0)
    # A sample's average is about the interval before it, so who had the GPU at the sample before.
    had = np.concatenate(([0], owner[:-1]))
    return busy * (had > 0)


def sample_batches(series: list[Series], start_us: int, batch_rows: int) -> list[pa.RecordBatch]:
    """Batches of GpuUtilization, one agent (`source`) per node, in order of time; every batch is of one agent."""
    found: list[tuple[int, int, pa.RecordBatch]] = []
    for node in sorted({each.gpu.node for each in series}):
        own = [each for each in series if each.gpu.node == node]
        time_s = np.concatenate([each.time_s for each in own])
        which = np.repeat(np.arange(len(own)), [len(each) for each in own])
        number = np.concatenate([np.arange(len(each)) for each in own])
        order = np.lexsort((which, time_s))
        for begin in range(0, len(order), batch_rows):
            rows = order[begin : begin + batch_rows]
            batch = _batch(node, own, which[rows], number[rows], start_us)
            found.append((int(time_s[rows[-1]]), len(found), batch))
    return [batch for _, _, batch in sorted(found, key=lambda each: each[:2])]


def _batch(node: str, own: list[Series], which: Ints, number: Ints, start_us: int) -> pa.RecordBatch:
    rows = len(which)
    busy = _gather([each.busy for each in own], which, number)
    split = np.array([each.instance.instance_id is not None for each in own])
    prefixes = [f"{each.gpu.uuid}/{each.instance.instance_id or '-'}/" for each in own]
    owners = sorted({owner for each in own for owner in each.owners})
    owner_codes: list[Ints] = [np.array([owners.index(owner) for owner in each.owners])[each.owner] for each in own]
    owner: Ints = _gather(owner_codes, which, number)
    memory = np.array([each.gpu.gpu_type.memory_mib * each.instance.slices // 7 for each in own], dtype=np.int64)
    pool = np.array([each.instance.lease is None for each in own])[which]
    used = np.where(pool | (busy > 0), MEMORY_WHEN_SERVING, MEMORY_WHEN_IDLE)
    time_us = start_us + _gather([each.time_s for each in own], which, number) * 10**6
    ratio = pa.array(busy)
    columns = {
        "id": pa.array([f"{prefixes[series]}{sample}" for series, sample in zip(which, number, strict=True)]),
        "source": constant(f"gpu-agent/{node}", rows),
        "time": instants(time_us),
        "gpu_uuid": names([each.gpu.uuid for each in own], which),
        "mig_instance_id": _optional([each.instance.instance_id for each in own], which),
        "mig_profile": _optional([each.instance.profile for each in own], which),
        "gpu_type": names([each.gpu.gpu_type.name for each in own], which),
        "node": constant(node, rows),
        "cluster": constant("factory-1", rows),
        "region": constant("eu-central", rows),
        "site": constant("site-1", rows),
        "tenant_id": names(owners, owner),
        "interval_s": pa.array(np.array([float(each.gpu.interval_s) for each in own])[which]),
        # The occupancy counter says nothing about MIG instances; the engine counter does.
        "gpu_util_ratio": pa.array(busy, mask=split[which]),
        "engine_active_ratio": ratio,
        "sm_active_ratio": pa.array(np.round(busy * 0.9, 6)),
        "power_w": pa.array(_gather([each.power_w for each in own], which, number)),
        "energy_mj_counter": pa.array(_gather([each.energy_mj for each in own], which, number)),
        "fb_used_mib": pa.array((memory[which] * used).astype(np.int64)),
        "fb_total_mib": pa.array(memory[which]),
        "source_kind": constant("simulated", rows),
    }
    return make_batch(Kind.GPU_UTILIZATION, columns, rows)


def _gather(arrays: Sequence[Numbers], which: Ints, number: Ints) -> Numbers:
    """Element `number[i]` of array `which[i]`, for all i."""
    starts = np.cumsum([0, *(len(array) for array in arrays[:-1])])
    picked: Numbers = np.concatenate(arrays)[starts[which] + number]
    return picked


def _optional(values: list[str | None], which: Ints) -> pa.Array:
    present = [value for value in values if value is not None]
    codes = np.array([-1 if value is None else present.index(value) for value in values])
    return names(present, codes[which])
