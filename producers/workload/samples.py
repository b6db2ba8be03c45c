"""What the GPUs report: samples that agree with the tokens that the shared GPUs served.

A sample at time t holds averages over the interval that ended at t, and the owner at t. So a GPU's sample k covers
(t(k-1), t(k)], and a lease that begins or ends at a sample's time is seen exactly. Power and energy are of the whole
board, so the MIG instances of one GPU report the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from producers.columns import constant, fixed_width_texts, instants, make_batch, names
from producers.workload.arrivals import CELL_S, HOUR_S
from producers.workload.draws import Floats, Ints, Stream, mixed
from producers.workload.figures import GPU_TYPES, IDLE_POWER_SHARE
from producers.workload.fleet import IDLE, POOL, Gpu, Instance
from schemas.kinds import Kind

UNIT_S = 30
"""Samples are made for whole multiples of this: where intervals of 10 s and of 30 s end together."""
MEMORY_WHEN_IDLE, MEMORY_WHEN_SERVING = 0.01, 0.88
"""Share of a GPU's memory in use; assumed."""
_UNBALANCED = 0.5
"""How unevenly a pool's work falls on its GPUs, at most, as a share of what could be uneven; assumed."""


@dataclass(frozen=True, slots=True)
class _Series:
    """A GPU or a MIG instance of it. `number` is its own position, `gpu` that of its GPU in the fleet.

    `gpu_type` is the position in GPU_TYPES, and `pool` too if it is shared, else -1.
    """

    number: int
    gpu: int
    board: Gpu
    instance: Instance
    salt: int
    gpu_type: int
    pool: int


class Sampler:
    """The samples of a fleet, piece after piece; remembers the energy counters."""

    def __init__(self, seed: int, fleet: list[Gpu], start_us: int, hours: int | None, batch_rows: int) -> None:
        self._seed = seed
        self._fleet = fleet
        self._start_us = start_us
        self._hours = hours
        self._batch_rows = batch_rows
        salts = Stream(seed, "salts").words(8 * len(fleet)).tolist()
        instances = [
            (number, gpu, instance, salts[8 * number + place], kind, kind if instance.lease is None else -1)
            for number, gpu in enumerate(fleet)
            for kind in (GPU_TYPES.index(gpu.gpu_type),)
            for place, instance in enumerate(gpu.instances)
        ]
        self._series = [_Series(number, *each) for number, each in enumerate(instances)]
        self._owners = sorted({POOL, IDLE, *(e.instance.lease.tenant for e in self._series if e.instance.lease)})
        self._nodes = sorted({gpu.node for gpu in fleet})
        # As after a restart of the driver: a counter that began high would look like a jump when a run begins again.
        self._energy_mj = Stream(seed, "energy").below(10**6, len(fleet))

    def batches(self, shares: Floats, first_cell: int) -> Iterator[pa.RecordBatch]:
        """Samples of these cells (columns; a multiple of 3) in which the pools (rows) were so busy.

        Batches of GpuUtilization in order of time, each from one node's agent (one `source`).
        """
        yield from self._cut(self._columns(shares, first_cell))

    def whole(self, shares: Floats, first_cell: int) -> pa.RecordBatch:
        """The same as one batch of all nodes, in order of time."""
        columns = self._columns(shares, first_cell)
        order = np.lexsort((columns["series"], columns["time_s"]))
        return self._batch({name: column[order] for name, column in columns.items()})

    def _columns(self, shares: Floats, first_cell: int) -> dict[str, Ints | Floats]:
        balanced = self._balanced(shares, first_cell)
        parts = [
            _Group(self, [each for each in self._series if each.board.interval_s == interval]).make(
                balanced, first_cell, interval
            )
            for interval in sorted({gpu.interval_s for gpu in self._fleet})
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _balanced(self, shares: Floats, first_cell: int) -> dict[int, Floats]:
        """The busy share of each shared series (by its position) per cell: uneven, but in sum that of the pool."""
        found: dict[int, Floats] = {}
        for pool, busy in enumerate(shares):
            members = [number for number, each in enumerate(self._series) if each.pool == pool]
            slices = np.array([self._series[number].instance.slices for number in members])
            draws = Stream(self._seed, "balance", pool, first_cell).shorts(len(members) * len(busy))
            noise = draws.reshape(len(members), len(busy)).astype(np.int64)
            # Whole numbers, because the order in which floats are summed is not the same everywhere.
            mean = (noise * slices[:, None]).sum(axis=0) / slices.sum()
            room = np.minimum(busy, 1.0 - busy) * _UNBALANCED
            uneven = busy + (noise - mean) / 2**16 * room
            found.update(zip(members, uneven, strict=True))
        return found

    def _cut(self, columns: dict[str, Ints | Floats]) -> Iterator[pa.RecordBatch]:
        """Batches of one node each, by the time of their last row."""
        order = np.lexsort((columns["series"], columns["time_s"], columns["node"]))
        columns = {name: column[order] for name, column in columns.items()}
        batch = self._batch(columns)
        borders = np.concatenate(([0], np.cumsum(np.bincount(columns["node"], minlength=len(self._nodes)))))
        pieces = [
            (begin, min(begin + self._batch_rows, int(end)))
            for start, end in pairwise(borders)
            for begin in range(int(start), int(end), self._batch_rows)
        ]
        for begin, end in sorted(pieces, key=lambda piece: (int(columns["time_s"][piece[1] - 1]), piece)):
            yield batch.slice(begin, end - begin)

    def _batch(self, found: dict[str, Ints | Floats]) -> pa.RecordBatch:
        series, rows = self._series, len(found["series"])
        which = found["series"].astype(np.int64)
        instances = sorted({each.instance.instance_id or "" for each in series})
        profiles = sorted({each.instance.profile or "" for each in series})
        busy = pa.array(found["busy"])
        split = np.array([each.instance.instance_id is not None for each in series])[which]
        columns = {
            "id": self._ids(which, found["time_s"].astype(np.int64)),
            "source": names([f"gpu-agent/{node}" for node in self._nodes], found["node"].astype(np.int64)),
            "time": instants(self._start_us + found["time_s"].astype(np.int64) * 10**6),
            "gpu_uuid": names([gpu.uuid for gpu in self._fleet], np.array([each.gpu for each in series])[which]),
            "mig_instance_id": _optional(instances, [each.instance.instance_id for each in series], which),
            "mig_profile": _optional(profiles, [each.instance.profile for each in series], which),
            "gpu_type": names(
                [each.name for each in GPU_TYPES],
                np.array([each.gpu_type for each in series])[which],
            ),
            "node": names(self._nodes, found["node"].astype(np.int64)),
            "cluster": constant("factory-1", rows),
            "region": constant("eu-central", rows),
            "site": constant("site-1", rows),
            "tenant_id": names(self._owners, found["owner"].astype(np.int64)),
            "interval_s": pa.array(np.array([float(each.board.interval_s) for each in series])[which]),
            # The occupancy counter says nothing about MIG instances; the engine counter does.
            "gpu_util_ratio": pa.array(found["busy"], mask=split),
            "engine_active_ratio": busy,
            "sm_active_ratio": pa.array(np.round(found["busy"] * 0.9, 6)),
            "power_w": pa.array(found["power_w"]),
            "energy_mj_counter": pa.array(found["energy_mj"]),
            "fb_used_mib": pa.array(found["memory_mib"]),
            "fb_total_mib": pa.array(np.array([_memory_mib(each) for each in series])[which]),
            "source_kind": constant("simulated", rows),
        }
        return make_batch(Kind.GPU_UTILIZATION, columns, rows)

    def _ids(self, which: Ints, time_s: Ints) -> pa.Array:
        """GPU, instance and second since 1970: a run that begins again makes other ids."""
        prefixes = np.array(
            [list(f"{each.board.uuid}/{each.instance.instance_id or '-'}/".encode()) for each in self._series], np.uint8
        )
        seconds = time_s + self._start_us // 10**6
        digits = np.stack([seconds // 10**place % 10 for place in reversed(range(10))], axis=1) + ord("0")
        return fixed_width_texts(np.hstack((prefixes[which], digits.astype(np.uint8))))


@dataclass(slots=True)
class _Group:
    """Makes the samples of all series with one interval: arrays of shape (series, samples), as flat columns."""

    sampler: Sampler
    series: list[_Series]

    def make(self, balanced: dict[int, Floats], first_cell: int, interval_s: int) -> dict[str, Ints | Floats]:
        """The samples of these cells; with the first cells also the sample at the start."""
        whole = self.sampler
        cells = len(next(iter(balanced.values())))
        count = cells * CELL_S // interval_s
        time_s = first_cell * CELL_S + interval_s * np.arange(1, count + 1)
        busy = np.stack([
            _every(balanced[each.number], interval_s // CELL_S) if each.pool >= 0
            else _rented(each, time_s, interval_s, whole._hours)
            for each in self.series
        ])  # fmt: skip
        owner = np.stack([self._owner(each, time_s) for each in self.series])
        busy = np.round(busy, 6)
        if first_cell == 0:
            time_s = np.concatenate(([0], time_s))
            busy = np.pad(busy, ((0, 0), (1, 0)))
            owner = np.column_stack(([self._owner(each, time_s[:1])[0] for each in self.series], owner))
        power, energy = self._power(busy, interval_s, starts=first_cell == 0)
        serving = (busy > 0) | np.array([[each.pool >= 0] for each in self.series])
        memory = np.array([[_memory_mib(each)] for each in self.series])
        used = (memory * np.where(serving, MEMORY_WHEN_SERVING, MEMORY_WHEN_IDLE)).astype(np.int64)
        shape = busy.shape
        node = np.array([[whole._nodes.index(each.board.node)] for each in self.series])
        return {
            "series": np.broadcast_to([[each.number] for each in self.series], shape).ravel(),
            "node": np.broadcast_to(node, shape).ravel(),
            "time_s": np.broadcast_to(time_s, shape).ravel(),
            "busy": busy.ravel(),
            "owner": owner.ravel(),
            "power_w": power.ravel(),
            "energy_mj": energy.ravel(),
            "memory_mib": used.ravel(),
        }

    def _owner(self, series: _Series, time_s: Ints) -> Ints:
        lease, owners = series.instance.lease, self.sampler._owners
        if lease is None:
            return np.full(len(time_s), owners.index(POOL))
        held = _held(series, time_s, self.sampler._hours)
        return np.where(held, owners.index(lease.tenant), owners.index(IDLE))

    def _power(self, busy: Floats, interval_s: int, *, starts: bool) -> tuple[Floats, Ints]:
        """Watts and millijoules of the board of each series, per sample. Nothing was used before the first sample."""
        gpus = sorted({each.gpu for each in self.series})
        of_series = np.array([gpus.index(each.gpu) for each in self.series])
        slices = np.array([[each.instance.slices] for each in self.series])
        board = np.zeros((len(gpus), busy.shape[1]))
        np.add.at(board, of_series, busy * slices / 7)
        most = np.array([[self.sampler._fleet[gpu].gpu_type.tdp_w] for gpu in gpus])
        idle = most * IDLE_POWER_SHARE
        power = idle + (most - idle) * board
        used = np.rint(power * interval_s * 1_000).astype(np.int64)
        if starts:
            used[:, 0] = 0
        counter = self.sampler._energy_mj[gpus][:, None] + np.cumsum(used, axis=1)
        self.sampler._energy_mj[gpus] = counter[:, -1]
        return np.round(power, 3)[of_series], counter[of_series]


def _every(shares: Floats, cells: int) -> Floats:
    """Means of so many neighbours each."""
    total = shares[::cells].copy()
    for place in range(1, cells):
        total += shares[place::cells]
    return total / cells


def _held(series: _Series, time_s: Ints, hours: int | None) -> npt.NDArray[np.bool_]:
    """Whether the tenant has the GPU. What is rented when the workload ends stays rented until the last sample."""
    lease = series.instance.lease
    if lease is None:
        return np.zeros(len(time_s), dtype=bool)
    hour = time_s // HOUR_S
    hour = hour % lease.cycle if hours is None else np.minimum(hour, hours - 1)
    return (hour >= lease.first_hour) & (hour < lease.end_hour)


def _rented(series: _Series, time_s: Ints, interval_s: int, hours: int | None) -> Floats:
    """A tenant's own jobs: a level per quarter of an hour with some noise; nothing while nobody has the GPU."""
    salt = np.uint64(series.salt)
    level = 0.55 + 0.4 * _chance(mixed((time_s // 900).astype(np.uint64) + salt))
    busy = np.clip(level + 0.1 * (_chance(mixed(time_s.astype(np.uint64) * np.uint64(977) + salt)) - 0.5), 0.0, 1.0)
    # A sample's average is about the interval before it, so who had the GPU at the sample before.
    return busy * _held(series, time_s - interval_s, hours)


def _chance(words: npt.NDArray[np.uint64]) -> Floats:
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _memory_mib(series: _Series) -> int:
    return series.board.gpu_type.memory_mib * series.instance.memory_eighths // 8


def _optional(values: list[str], of_series: list[str | None], which: Ints) -> pa.Array:
    codes = np.array([-1 if value is None else values.index(value) for value in of_series])
    return names(values, codes[which])
