"""Tenants go where the Java client would send them."""

from __future__ import annotations

import pytest

from schemas.partitioning import murmur2, partition_for


@pytest.mark.parametrize(
    ("key", "expected"),
    [  # org.apache.kafka.common.utils.UtilsTest.testMurmur2
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_is_the_one_of_the_java_client(key: str, expected: int) -> None:
    assert murmur2(key.encode()) == expected


def test_a_partition_is_the_positive_hash_modulo_the_number_of_partitions() -> None:
    assert partition_for("foobar", 12) == (-790332482 & 0x7FFFFFFF) % 12
    assert {partition_for(f"tenant-{index}", 12) for index in range(500)} == set(range(12))
    assert partition_for("schlüssel", 1) == 0


def test_a_partition_is_by_the_bytes_of_utf_8() -> None:
    assert partition_for("é", 1_000_003) == (murmur2(b"\xc3\xa9") & 0x7FFFFFFF) % 1_000_003
