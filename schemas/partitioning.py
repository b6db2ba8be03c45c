"""Where a tenant's records go: the partitioner of the Java client, which every producer of Tokenmill uses."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_M: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2 of a key, signed as in Java (`org.apache.kafka.common.utils.Utils.murmur2`)."""
    length = len(data)
    h = (_SEED ^ length) & _MASK
    whole = length & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if whole < length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    h ^= h >> 15
    return h - (1 << 32) if h & 0x80000000 else h


@lru_cache(maxsize=65_536)
def partition_for(tenant_id: str, partitions: int) -> int:
    """The partition, 0 to `partitions` - 1, of a tenant: as the Java client's default partitioner for the same key."""
    return (murmur2(tenant_id.encode()) & 0x7FFFFFFF) % partitions
