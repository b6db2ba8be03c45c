"""From samples of one GPU to its owners' time on it: integrate over time, never count samples.

A sample's ratio is the mean over the interval that ends at it, so it holds back to the sample before. Time further back
than three intervals is unobserved: it is reported, never billed. An interval belongs to the owner of the sample that
begins it: a new owner starts at its first sample. What else is said about the GPU is what the sample that ends it says.

Everything is integers: microseconds, millionths, microjoules. Each interval is rounded by itself, so sums do not depend
on how the samples were cut into batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from streams.kernels import I64

MAX_GAP_INTERVALS = 3
LONGEST_GAP_US = 7 * 86_400_000_000
"""Of a longer silence only this much is reported: a clock that once was decades off must not make years of hours."""
_MOST_WATTS = 1_000_000
"""No board takes this much (a rack takes some 130 kW): a counter that says so has jumped."""


@dataclass(frozen=True, slots=True)
class LastSample:
    """What is remembered of a GPU (or MIG instance): its newest sample. `energy_mj` is -1 where it has no counter."""

    time_us: int
    owner: str
    energy_mj: int


@dataclass(frozen=True, slots=True)
class Samples:
    """New samples of one GPU, strictly rising in time.

    `busy_ppm` in millionths, `energy_mj` -1 where absent. The counter is the board's: `slices` of its `board_slices` are
    the GPU's own (1 of 1 for a whole GPU). `about` tells apart what samples say about the GPU.
    """

    times_us: I64
    owners: list[str]
    busy_ppm: I64
    interval_us: I64
    energy_mj: I64
    slices: I64
    board_slices: I64
    about: I64


@dataclass(frozen=True, slots=True)
class OwnedTime:
    """One owner's time on the GPU within one window: [start_us, end_us), of which `allocated_us` was observed."""

    owner: str
    about: int
    start_us: int
    end_us: int
    allocated_us: int
    busy_us: int
    energy_uj: int
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
    return pieces, newest


def _pieces(last: LastSample | None, samples: Samples, window_us: int) -> Iterator[OwnedTime]:
    """One piece per interval and window."""
    previous = last
    columns = (
        samples.times_us,
        samples.busy_ppm,
        samples.interval_us,
        samples.energy_mj,
        samples.slices,
        samples.board_slices,
        samples.about,
    )
    for (time_us, busy_ppm, interval_us, energy_mj, slices, board_slices, about), owner in zip(
        zip(*(column.tolist() for column in columns), strict=True), samples.owners, strict=True
    ):
        if previous is not None:
            start = max(previous.time_us, time_us - LONGEST_GAP_US)
            energy_uj = _energy(previous, energy_mj, time_us - start) * slices // board_slices
            observed = min(time_us - start, MAX_GAP_INTERVALS * interval_us)
            interval = OwnedTime(previous.owner, about, start, time_us, observed, 0, energy_uj, 0)
            yield from _split(interval, busy_ppm, window_us)
        previous = LastSample(time_us, owner, energy_mj)


def _energy(previous: LastSample, counter: int, elapsed_us: int) -> int:
    """What a board used since the previous sample, in microjoules; 0 where a counter is missing or jumped."""
    if previous.energy_mj < 0 or counter < 0:
        return 0
    gained = counter - previous.energy_mj
    # A counter that fell was reset (driver reload): what it shows now was used since.
    energy_uj = 1000 * (gained if gained >= 0 else counter)
    return energy_uj if energy_uj <= elapsed_us * _MOST_WATTS else 0


def _split(interval: OwnedTime, busy_ppm: int, window_us: int) -> Iterator[OwnedTime]:
    """Cut an interval, observed at its end, at window boundaries; the last piece takes what is left of the energy."""
    start, end = interval.start_us, interval.end_us
    observed_from = end - interval.allocated_us
    observed_left, energy_left = interval.allocated_us, interval.energy_uj
    while start < end:
        stop = min(end, (start // window_us + 1) * window_us)
        observed = max(0, stop - max(start, observed_from))
        energy = energy_left * observed // observed_left if stop < end and observed_left else energy_left
        yield replace(
            interval,
            start_us=start,
            end_us=stop,
            allocated_us=observed,
            busy_us=(observed * busy_ppm + 500_000) // 1_000_000,
            energy_uj=energy,
            unobserved_us=stop - start - observed,
        )
        observed_left -= observed
        energy_left -= energy
        start = stop


def _same_run(first: OwnedTime, second: OwnedTime, window_us: int) -> bool:
    return (first.owner, first.about, first.start_us // window_us) == (
        second.owner,
        second.about,
        second.start_us // window_us,
    )


def _joined(first: OwnedTime, second: OwnedTime) -> OwnedTime:
    return OwnedTime(
        first.owner,
        first.about,
        first.start_us,
        second.end_us,
        first.allocated_us + second.allocated_us,
        first.busy_us + second.busy_us,
        first.energy_uj + second.energy_uj,
        first.unobserved_us + second.unobserved_us,
    )
