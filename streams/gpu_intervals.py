"""From samples of one GPU to its owners' time on it: integrate over time, never count samples.

A sample's ratio is the mean over the interval that ends at it, so it holds back to the sample before. Time further back
than three intervals is unobserved: it is reported, never billed. An interval belongs to the owner of the sample that
begins it: a new owner starts at its first sample. Everything is integers: microseconds, millionths, millijoules.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streams.kernels import I64

MAX_GAP_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class LastSample:
    """What is remembered of a GPU (or MIG instance): its newest sample. `energy_mj` is -1 where it has no counter."""

    time_us: int
    owner: str
    energy_mj: int


@dataclass(frozen=True, slots=True)
class Samples:
    """New samples of one GPU, strictly rising in time; `busy_ppm` in millionths, `energy_mj` -1 where absent."""

    times_us: I64
    owners: list[str]
    busy_ppm: I64
    interval_us: I64
    energy_mj: I64


@dataclass(frozen=True, slots=True)
class OwnedTime:
    """One owner's time on the GPU within one window: [start_us, end_us), of which `allocated_us` was observed."""

    owner: str
    start_us: int
    end_us: int
    allocated_us: int
    busy_us: int
    energy_mj: int
    unobserved_us: int


def newest_first_seen(times_us: I64, after_us: int) -> I64:
    """The positions of the samples to use: those later than `after_us` and than every sample before them."""
    before = np.concatenate([[after_us], np.maximum.accumulate(times_us)[:-1]]) if len(times_us) else times_us
    return np.flatnonzero(times_us > np.maximum(before, after_us))


def integrate(last: LastSample | None, samples: Samples, window_us: int) -> tuple[list[OwnedTime], LastSample | None]:
    """The owners' time between `last` and the newest sample, cut at window and owner boundaries, and the newest sample."""
    if not len(samples.times_us):
        return [], last
    newest = LastSample(int(samples.times_us[-1]), samples.owners[-1], int(samples.energy_mj[-1]))
    pieces: list[OwnedTime] = []
    for piece in _pieces(last, samples, window_us):
        if pieces and _same_run(pieces[-1], piece, window_us):
            pieces[-1] = _joined(pieces[-1], piece)
        else:
            pieces.append(piece)
    return [_scaled(piece) for piece in pieces], newest


def _pieces(last: LastSample | None, samples: Samples, window_us: int) -> Iterator[OwnedTime]:
    """One piece per interval and window, `busy_us` still multiplied by a million so that runs round once."""
    previous = last
    columns = (samples.times_us, samples.busy_ppm, samples.interval_us, samples.energy_mj)
    for (time_us, busy_ppm, interval_us, energy_mj), owner in zip(
        zip(*(column.tolist() for column in columns), strict=True), samples.owners, strict=True
    ):
        if previous is not None:
            observed = min(time_us - previous.time_us, MAX_GAP_INTERVALS * interval_us)
            yield from _split(previous, time_us, time_us - observed, busy_ppm, _energy(previous, energy_mj), window_us)
        previous = LastSample(time_us, owner, energy_mj)


def _energy(previous: LastSample, counter: int) -> int:
    if previous.energy_mj < 0 or counter < 0:
        return 0
    gained = counter - previous.energy_mj
    # A counter that fell was reset (driver reload): what it shows now was used since.
    return gained if gained >= 0 else counter


def _split(
    previous: LastSample, end_us: int, observed_from: int, busy_ppm: int, energy: int, window_us: int
) -> Iterator[OwnedTime]:
    """Cut (previous, end] at window boundaries; energy is shared by observed time, the last piece takes the rest."""
    start = previous.time_us
    observed_left, energy_left = end_us - observed_from, energy
    while start < end_us:
        stop = min(end_us, (start // window_us + 1) * window_us)
        observed = max(0, stop - max(start, observed_from))
        share = energy_left * observed // observed_left if observed_left else 0
        if stop == end_us:
            share = energy_left
        yield OwnedTime(previous.owner, start, stop, observed, observed * busy_ppm, share, stop - start - observed)
        observed_left -= observed
        energy_left -= share
        start = stop


def _same_run(first: OwnedTime, second: OwnedTime, window_us: int) -> bool:
    return first.owner == second.owner and first.start_us // window_us == second.start_us // window_us


def _joined(first: OwnedTime, second: OwnedTime) -> OwnedTime:
    return OwnedTime(
        first.owner,
        first.start_us,
        second.end_us,
        first.allocated_us + second.allocated_us,
        first.busy_us + second.busy_us,
        first.energy_mj + second.energy_mj,
        first.unobserved_us + second.unobserved_us,
    )


def _scaled(piece: OwnedTime) -> OwnedTime:
    return OwnedTime(
        piece.owner,
        piece.start_us,
        piece.end_us,
        piece.allocated_us,
        piece.busy_us // 1_000_000,
        piece.energy_mj,
        piece.unobserved_us,
    )
