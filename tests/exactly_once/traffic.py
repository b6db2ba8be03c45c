"""What is sent: rows of a seeded workload, whole, shuffled or in other pieces, at once or over some seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import pyarrow as pa

from infra.config import Settings
from producers.emitter import Emitter
from producers.workload.workload import Workload
from schemas.kinds import Kind


@lru_cache(maxsize=4)
def workload(requests: int, seed: int = 7) -> Workload:
    """A small workload: 8 tenants, 4 models, 6 hours; some events fail, abort, come late or come twice. No training: the
    card of these tests has no price for it."""
    return Workload(seed=seed, requests=requests, profile="inference")


@lru_cache(maxsize=4)
def usage_rows(requests: int, seed: int = 7) -> pa.RecordBatch:
    """All token usage of the workload in order of arrival, those that come twice included."""
    return _joined(workload(requests, seed).batches())


@lru_cache(maxsize=4)
def sample_rows(requests: int, seed: int = 7) -> pa.RecordBatch:
    """All GPU samples of the workload in order of time."""
    return _joined(workload(requests, seed).gpu_samples())


def _joined(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]


def shuffled(rows: pa.RecordBatch, seed: int) -> pa.RecordBatch:
    """The same rows in another order."""
    return rows.take(pa.array(np.random.default_rng(seed).permutation(rows.num_rows)))


def emit(
    settings: Settings,
    rows: pa.RecordBatch,
    *,
    source: str = "test/emitter",
    kind: Kind = Kind.TOKEN_USAGE,
    batch_events: int = 200,
    seconds: float = 0.0,
    stop: threading.Event | None = None,
) -> None:
    """Send rows, as records of at most `batch_events`, spread over `seconds`. All are in the log when this returns."""
    pieces = max(1, rows.num_rows // (4 * batch_events))
    size = -(-rows.num_rows // pieces)
    begin = time.monotonic()
    with Emitter(settings, source, kind=kind, max_rows=batch_events, linger_s=0.05) as emitter:
        for piece in range(pieces):
            emitter.emit_batch(rows.slice(piece * size, size))
            due = begin + seconds * (piece + 1) / pieces
            if stop is None or not stop.wait(max(0.0, due - time.monotonic())):
                time.sleep(max(0.0, due - time.monotonic()) if stop is None else 0)


@contextmanager
def emitting(settings: Settings, *sent: tuple[Kind, pa.RecordBatch], seconds: float) -> Iterator[None]:
    """Send rows in the background while the block runs; at its end, without pauses, what is left of them."""
    hurry = threading.Event()
    failures: list[BaseException] = []

    def run(kind: Kind, rows: pa.RecordBatch) -> None:
        try:
            emit(settings, rows, kind=kind, seconds=seconds, stop=hurry)
        except BaseException as error:  # noqa: BLE001 - handed to the test below
            failures.append(error)

    threads = [threading.Thread(target=run, args=each) for each in sent]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        hurry.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
