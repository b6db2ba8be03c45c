"""Random draws that are the same on every machine: one stream per purpose, and tables instead of logarithms."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from producers.workload.figures import Knots

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers of one seed and purpose: what one part draws never shifts the numbers of another part."""
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(purpose.encode())]))


def lookup(knots: Knots, at: Floats) -> Floats:
    """The values of a table of knots at the places `at`, straight lines between knots, constant outside."""
    x, y = (np.array(values, dtype=np.float64) for values in zip(*knots, strict=True))
    left = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    slope = (y[left + 1] - y[left]) / (x[left + 1] - x[left])
    return np.clip(y[left] + (at - x[left]) * slope, y.min(), y.max())


def zipf(random: np.random.Generator, choices: int, exponent: float, size: int) -> Ints:
    """`size` numbers from 0 to `choices` - 1; number k comes in proportion to (k + 1) to the power -`exponent`."""
    weights = np.array([(k + 1) ** -exponent for k in range(choices)])
    edges = np.cumsum(weights)
    found = np.searchsorted(edges, random.random(size) * edges[-1], side="right")
    numbers: Ints = np.minimum(found, choices - 1).astype(np.int64)
    return numbers


def choose(random: np.random.Generator, population: int, count: int) -> Ints:
    """`count` different numbers below `population`, in random order."""
    return random.permutation(population)[:count].astype(np.int64)


def running_number(groups: Ints) -> Ints:
    """For each row, how many earlier rows are in its group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(groups) else np.zeros(0, dtype=np.int64)
    lengths = np.diff(np.r_[starts, len(groups)])
    numbers = np.empty(len(groups), dtype=np.int64)
    numbers[order] = np.arange(len(groups)) - np.repeat(starts, lengths)
    return numbers
