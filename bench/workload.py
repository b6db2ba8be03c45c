"""How fast the synthetic workload is made: events per second, and how many times a plain encoding of them costs.

By hand: `python -m bench.workload [EVENTS]`. The yardstick of the same run is turning the same events into Kafka records
(Arrow batches by partition), which whoever sends them has to do as well: the generator should cost no more than that.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable

import pyarrow as pa

from producers.batching import Packer
from producers.workload import Workload
from schemas.kinds import Kind

_WARM_UP = 50_000
_PARTITIONS, _ROWS, _BYTES = 12, 1_000, 512 * 1024


def _seconds(batches: Iterable[pa.RecordBatch]) -> tuple[int, float, float]:
    """Rows, seconds by the clock and seconds of processor time."""
    wall, cpu, rows = time.perf_counter(), time.process_time(), 0
    for batch in batches:
        rows += batch.num_rows
    return rows, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Make the events once, pack them once, and print what each took."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    _seconds(Workload(seed=1, requests=_WARM_UP).batches())
    rows, wall, cpu = _seconds(Workload(requests=count).batches())
    samples, sample_wall, _ = _seconds(Workload(requests=count).gpu_samples())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    part = list(Workload(requests=min(count, 500_000)).batches())
    packer = Packer(Kind.TOKEN_USAGE, _PARTITIONS, _ROWS, _BYTES)
    packing = time.process_time()
    packed = sum(len(packer.add_batch(batch, 0.0)) for batch in part) + len(packer.drain())
    packing = (time.process_time() - packing) / sum(batch.num_rows for batch in part)
    print(f"{rows:,} events: {rows / wall:,.0f} events/s, {rows / cpu:,.0f} per second of processor time")
    print(f"{samples:,} GPU samples: {sample_wall:.2f} s; most memory {memory:,.0f} MB")
    print(f"packing them into {packed:,} records costs {packing * rows / cpu:.2f} times as much as making them")


if __name__ == "__main__":
    main()
