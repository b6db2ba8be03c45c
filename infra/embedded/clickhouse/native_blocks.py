"""ClickHouse's own block compression (`compress=1`, `decompress=1`), which JDBC and Go clients use over HTTP.

A block is: 16 bytes CityHash128 (version 1.0.2) of what follows, one byte method (0x82 LZ4, 0x90 ZSTD, 0x02 none),
the size of the block without the hash and the size of the data, each 4 bytes little endian, then the data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import pyarrow as pa

from infra.embedded.clickhouse.cityhash import city_hash_128
from infra.embedded.clickhouse.errors import ClickHouseError

_HEADER = struct.Struct("<BII")
_LZ4, _ZSTD, _NONE = 0x82, 0x90, 0x02
_BLOCK_BYTES = 1 << 20
_LARGEST_BLOCK = 1 << 30


def decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The data of a stream of blocks.

    Raises ClickHouseError: CHECKSUM_DOESNT_MATCH, UNKNOWN_COMPRESSION_METHOD, CANNOT_DECOMPRESS, CANNOT_READ_ALL_DATA.
    """
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= 16 + _HEADER.size:
            method, size, data_size = _HEADER.unpack_from(held, 16)
            if not _HEADER.size <= size <= _LARGEST_BLOCK or data_size > _LARGEST_BLOCK:
                raise ClickHouseError("CANNOT_DECOMPRESS", f"A compressed block claims {size} bytes for {data_size}")
            if len(held) < 16 + size:
                break
            block = bytes(held[16 : 16 + size])
            if city_hash_128(block) != bytes(held[:16]):
                raise ClickHouseError("CHECKSUM_DOESNT_MATCH", "Checksum of a compressed block doesn't match")
            del held[: 16 + size]
            yield _unpacked(method, block[_HEADER.size :], data_size)
    if held:
        raise ClickHouseError("CANNOT_READ_ALL_DATA", "The compressed request body ends inside a block")


def _unpacked(method: int, packed: bytes, data_size: int) -> bytes:
    if method == _NONE:
        return packed
    codec = {_LZ4: "lz4_raw", _ZSTD: "zstd"}.get(method)
    if codec is None:
        raise ClickHouseError("UNKNOWN_COMPRESSION_METHOD", f"Unknown compression method: {method}")
    try:
        data: bytes = pa.decompress(packed, data_size, codec=codec, asbytes=True)
    except (OSError, ValueError) as error:
        raise ClickHouseError("CANNOT_DECOMPRESS", f"Cannot decompress a block: {error}") from None
    return data


def compressed(chunks: Iterable[memoryview]) -> Iterator[memoryview]:
    """The data as LZ4 blocks of up to a megabyte."""
    for chunk in chunks:
        for start in range(0, len(chunk), _BLOCK_BYTES):
            data = chunk[start : start + _BLOCK_BYTES]
            packed = pa.compress(pa.py_buffer(data), codec="lz4_raw", asbytes=True)
            block = _HEADER.pack(_LZ4, _HEADER.size + len(packed), len(data)) + packed
            yield memoryview(city_hash_128(block) + block)
