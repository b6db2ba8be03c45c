"""Random draws that are the same on every machine and with every NumPy: raw bits, one stream per purpose, tables.

NumPy keeps the bits of its bit generators for ever, but not what its distributions make of them. So everything here is
made of raw bits by whole numbers, and distributions are tables of quantiles, looked up by 16 or 20 random bits.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from producers.workload.figures import Knots

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]
Shorts = npt.NDArray[np.uint16]

TABLE_BITS = 16
"""A quantile table has 2^16 entries: one gather draws a value."""
_FINE_BITS = 20
_INDEX_BITS = 20
_WIDEST = 1 << (63 - _INDEX_BITS)


class Stream:
    """Random bits of one seed, purpose and place: what one part draws never shifts the numbers of another part."""

    def __init__(self, seed: int, purpose: str, *place: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *place]))

    def words(self, count: int) -> Words:
        """`count` words of 64 bits."""
        drawn: Words = self._bits.random_raw(count)
        return drawn

    def shorts(self, count: int) -> Shorts:
        """`count` numbers below 2^16, all equally likely."""
        drawn: Shorts = self.words(-(-count // 4)).astype("<u8", copy=False).view("<u2")[:count]
        return drawn

    def uniform(self, count: int) -> Floats:
        """`count` numbers in [0, 1), multiples of 2^-53."""
        return (self.words(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, limit: int, count: int) -> Ints:
        """`count` whole numbers from 0 to `limit` - 1 (`limit` below 2^32)."""
        high = self.words(count) >> np.uint64(32)
        return ((high * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)

    def choose(self, population: int, count: int) -> Ints:
        """`count` different numbers below `population` (at most 2^20), in random order."""
        if not count:
            return np.zeros(0, dtype=np.int64)
        mask = np.uint64((1 << _INDEX_BITS) - 1)
        keys = (self.words(population) & ~mask) | np.arange(population, dtype=np.uint64)
        return (np.sort(keys)[:count] & mask).astype(np.int64)


def order_of(keys: Ints) -> Ints:
    """The stable order of rows by keys: as sorted packed numbers where they fit, which is many times faster."""
    if not len(keys) or len(keys) > 1 << _INDEX_BITS or int(keys.max()) - (lowest := int(keys.min())) >= _WIDEST:
        return np.argsort(keys, kind="stable")
    packed = np.sort(((keys - lowest) << _INDEX_BITS) | np.arange(len(keys)))
    return packed & ((1 << _INDEX_BITS) - 1)


def lookup(knots: Knots, at: Floats) -> Floats:
    """The values of a table of knots at the places `at`, straight lines between knots, constant outside."""
    x, y = (np.array(values, dtype=np.float64) for values in zip(*knots, strict=True))
    left = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    slope = (y[left + 1] - y[left]) / (x[left + 1] - x[left])
    return np.clip(y[left] + (at - x[left]) * slope, y.min(), y.max())


def quantile_table(knots: Knots, scale: float = 1.0) -> Ints:
    """A quantile table as 2^16 whole numbers, times `scale`: entry i is the quantile of (i + 1/2) / 2^16."""
    at = (np.arange(1 << TABLE_BITS) + 0.5) / (1 << TABLE_BITS)
    return np.rint(lookup(knots, at) * scale).astype(np.int64)


def share_table(weights: Floats, bits: int = TABLE_BITS) -> npt.NDArray[np.int32]:
    """A table of 2^`bits` entries in which number k comes in proportion to `weights[k]`."""
    edges = np.rint(np.cumsum(weights) / np.cumsum(weights)[-1] * (1 << bits)).astype(np.int64)
    counts = np.diff(np.concatenate(([0], edges)))
    return np.repeat(np.arange(len(weights), dtype=np.int32), counts)


def zipf_weights(choices: int, exponent: float) -> Floats:
    """Weights of the numbers from 0 to `choices` - 1: number k in proportion to (k + 1) to the power -`exponent`."""
    return np.array([(k + 1) ** -exponent for k in range(choices)])


def zipf_table(choices: int, exponent: float) -> npt.NDArray[np.int32]:
    """A table of 2^20 entries in which number k comes in proportion to (k + 1) to the power -`exponent`."""
    return share_table(zipf_weights(choices, exponent), _FINE_BITS)


def mixed(words: Words) -> Words:
    """Words that differ in any bit become words that look independent (the finaliser of SplitMix64)."""
    found = words ^ (words >> np.uint64(30))
    found *= np.uint64(0xBF58476D1CE4E5B9)
    found ^= found >> np.uint64(27)
    found *= np.uint64(0x94D049BB133111EB)
    found ^= found >> np.uint64(31)
    return found
