"""CityHash128 in version 1.0.2, the checksum of ClickHouse's compressed blocks (later versions of CityHash differ).

The algorithm is Geoff Pike's and Jyrki Alakuijala's (https://github.com/google/cityhash). All numbers are unsigned with
64 bits and wrap around. Compiled on first use: import this module only where blocks are really compressed.
"""

# mypy: disable-error-code="untyped-decorator,no-any-return"
# numba carries no types of its own.
from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

_Bytes: TypeAlias = NDArray[np.uint8]
_Pair: TypeAlias = tuple[np.uint64, np.uint64]

_K0 = np.uint64(0xC3A5C85C97CB3127)
_K1 = np.uint64(0xB492B66FBE98F273)
_K2 = np.uint64(0x9AE16A3B2F90404F)
_K3 = np.uint64(0xC949D7C7509E6557)
_MIX = np.uint64(0x9DDFEA08EB382D69)
_47 = np.uint64(47)
_64 = np.uint64(64)


def city_hash_128(data: bytes) -> bytes:
    """The 16 bytes of the hash: the low half, then the high half, each little endian."""
    low, high = _hash(np.frombuffer(data, dtype=np.uint8))
    return int(low).to_bytes(8, "little") + int(high).to_bytes(8, "little")


@njit(cache=True)
def _word(s: _Bytes, at: int, size: int) -> np.uint64:
    value = np.uint64(0)
    for i in range(size):
        value |= np.uint64(s[at + i]) << np.uint64(8 * i)
    return value


@njit(cache=True)
def _rotated(value: np.uint64, shift: int) -> np.uint64:
    if shift == 0:
        return value
    return (value >> np.uint64(shift)) | (value << (_64 - np.uint64(shift)))


@njit(cache=True)
def _shifted(value: np.uint64) -> np.uint64:
    return value ^ (value >> _47)


@njit(cache=True)
def _mixed(low: np.uint64, high: np.uint64) -> np.uint64:
    a = _shifted((low ^ high) * _MIX)
    return _shifted((high ^ a) * _MIX) * _MIX


@njit(cache=True)
def _short(s: _Bytes, size: int) -> np.uint64:
    """The hash of at most 16 bytes."""
    if size > 8:
        a, b = _word(s, 0, 8), _word(s, size - 8, 8)
        return _mixed(a, _rotated(b + np.uint64(size), size)) ^ b
    if size >= 4:
        return _mixed(np.uint64(size) + (_word(s, 0, 4) << np.uint64(3)), _word(s, size - 4, 4))
    if size > 0:
        y = np.uint64(s[0]) + (np.uint64(s[size >> 1]) << np.uint64(8))
        z = np.uint64(size) + (np.uint64(s[size - 1]) << np.uint64(2))
        return _shifted(y * _K2 ^ z * _K3) * _K2
    return _K2


@njit(cache=True)
def _murmur(s: _Bytes, size: int, a: np.uint64, b: np.uint64) -> _Pair:
    """The hash of less than 128 bytes with a seed."""
    if size <= 16:
        a = _shifted(a * _K1) * _K1
        c = b * _K1 + _short(s, size)
        d = _shifted(a + (_word(s, 0, 8) if size >= 8 else c))
    else:
        c = _mixed(_word(s, size - 8, 8) + _K1, a)
        d = _mixed(b + np.uint64(size), c + _word(s, size - 16, 8))
        a += d
        at = 0
        while at < size - 16:
            a = (a ^ (_shifted(_word(s, at, 8) * _K1) * _K1)) * _K1
            b ^= a
            c = (c ^ (_shifted(_word(s, at + 8, 8) * _K1) * _K1)) * _K1
            d ^= c
            at += 16
    a = _mixed(a, c)
    b = _mixed(d, b)
    return a ^ b, _mixed(b, a)


@njit(cache=True)
def _weak(s: _Bytes, at: int, a: np.uint64, b: np.uint64) -> _Pair:
    """The 16 bytes that 32 bytes and two seeds are mixed to."""
    z = _word(s, at + 24, 8)
    a += _word(s, at, 8)
    b = _rotated(b + a + z, 21)
    c = a
    a += _word(s, at + 8, 8) + _word(s, at + 16, 8)
    return a + z, b + _rotated(a, 44) + c


@njit(cache=True)
def _seeded(s: _Bytes, low: np.uint64, high: np.uint64) -> _Pair:
    size = len(s)
    if size < 128:
        return _murmur(s, size, low, high)
    x, y, z = low, high, np.uint64(size) * _K1
    v0 = _rotated(y ^ _K1, 49) * _K1 + _word(s, 0, 8)
    v1 = _rotated(v0, 42) * _K1 + _word(s, 8, 8)
    w0 = _rotated(y + z, 35) * _K1 + x
    w1 = _rotated(x + _word(s, 88, 8), 53) * _K1
    at = 0
    # Pairs of 64 bytes, as long as both are there.
    for _ in range(2 * (size // 128)):
        x = _rotated(x + y + v0 + _word(s, at + 16, 8), 37) * _K1 ^ w1
        y = _rotated(y + v1 + _word(s, at + 48, 8), 42) * _K1 ^ v0
        z = _rotated(z ^ w0, 33)
        v0, v1 = _weak(s, at, v1 * _K1, x + w0)
        w0, w1 = _weak(s, at + 32, z + w1, y)
        x, z = z, x
        at += 64
    y += _rotated(w0, 37) * _K0 + z
    x += _rotated(v0 + z, 49) * _K0
    done = 0
    # What is left is taken in steps of 32 bytes from the end; the last step may reach back into what was done before.
    while done < size - at:
        done += 32
        y = _rotated(y - x, 42) * _K0 + v1
        w0 += _word(s, size - done + 16, 8)
        x = _rotated(x, 49) * _K0 + w0
        w0 += v0
        v0, v1 = _weak(s, size - done, v0, v1)
    x = _mixed(x, v0)
    y = _mixed(y, w0)
    return _mixed(x + v1, w1) + y, _mixed(x + w1, y + v1)


@njit(cache=True)
def _hash(s: _Bytes) -> _Pair:
    size = len(s)
    if size >= 16:
        return _seeded(s[16:], _word(s, 0, 8) ^ _K3, _word(s, 8, 8))
    if size >= 8:
        low = _word(s, 0, 8) ^ (np.uint64(size) * _K0)
        return _seeded(s[:0], low, _word(s, size - 8, 8) ^ _K1)
    return _seeded(s, _K0, _K1)
