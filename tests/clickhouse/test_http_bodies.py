"""Compressed and chunked bodies, in both directions."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import lz4.frame  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.embedded.clickhouse import EmbeddedClickHouse, native_blocks
from infra.embedded.clickhouse.errors import ClickHouseError
from tests.clickhouse.conftest import Http

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
    "br": lambda data: bytes(pa.compress(data, codec="brotli", asbytes=True)),
}
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "lz4": lambda data: bytes(lz4.frame.decompress(data)),
    "zstd": lambda data: pa.CompressedInputStream(pa.py_buffer(data), "zstd").read(),
}


@pytest.mark.parametrize("encoding", ENCODERS)
def test_compressed_request_bodies(web: Http, encoding: str) -> None:
    web.ask("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    data = b"".join(b"%d\n" % n for n in range(300_000))
    headers = {"Content-Encoding": encoding}
    answer = web.ask(ENCODERS[encoding](data), query="INSERT INTO t FORMAT TSV", headers=headers)
    assert answer.status == 200, answer.text
    assert web.value("SELECT count(), sum(a) FROM t") == "300000\t44999850000"
    assert web.ask(ENCODERS[encoding](b"SELECT 7"), headers=headers).text == "7\n"


@pytest.mark.parametrize("encoding", ["gzip", "lz4", "zstd"])
def test_several_frames_one_after_the_other_are_one_body(web: Http, encoding: str) -> None:
    web.ask("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    body = b"".join(ENCODERS[encoding](part) for part in (b"1\n2\n", b"3\n"))
    web.ask(body, query="INSERT INTO t FORMAT TSV", headers={"Content-Encoding": encoding})
    assert web.value("SELECT groupArray(a) FROM t") == "[1,2,3]"


@pytest.mark.parametrize("encoding", DECODERS)
@pytest.mark.parametrize("count", [1, 1_000_000])
def test_compressed_answers(web: Http, encoding: str, count: int) -> None:
    query = f"SELECT number FROM numbers({count}) ORDER BY number FORMAT TSV"
    headers = {"Accept-Encoding": encoding}
    answer = web.ask(query, headers=headers, enable_http_compression=1)
    assert answer.headers["Content-Encoding"] == encoding
    assert DECODERS[encoding](answer.body) == web.ask(query).body
    assert "Content-Encoding" not in web.ask(query, headers=headers).headers, "only where the client asked for it"


def test_an_encoding_that_is_not_given_leaves_the_answer_plain(web: Http) -> None:
    answer = web.ask("SELECT 1", headers={"Accept-Encoding": "br, snappy"}, enable_http_compression=1)
    assert (answer.body, "Content-Encoding" in answer.headers) == (b"1\n", False)
    both = web.ask("SELECT 1", headers={"Accept-Encoding": "br;q=1, gzip, zstd"}, enable_http_compression=1)
    assert both.headers["Content-Encoding"] == "zstd"


def test_empty_answers_and_errors_are_not_compressed(web: Http) -> None:
    headers = {"Accept-Encoding": "gzip, zstd"}
    assert web.ask("SELECT 1 WHERE 0", headers=headers, enable_http_compression=1).body == b""
    assert web.ask("SELECT nothing", headers=headers, enable_http_compression=1).text.startswith("Code: 47")


@pytest.mark.parametrize(
    ("encoding", "body", "code"),
    [
        ("gzip", b"not gzip", 271),
        ("lz4", b"not lz4", 271),
        ("zstd", b"not zstd", 271),
        ("gzip", gzip.compress(b"1\n" * 1000)[:-9], 33),
        ("nope", b"1\n", 89),
    ],
)
def test_broken_request_bodies_are_errors_and_leave_nothing(web: Http, encoding: str, body: bytes, code: int) -> None:
    web.ask("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    answer = web.ask(body, query="INSERT INTO t FORMAT TSV", headers={"Content-Encoding": encoding})
    assert answer.code == code, answer.text
    assert web.value("SELECT count() FROM t") == "0"


def test_chunked_request_bodies(web: Http) -> None:
    web.ask("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")

    def parts() -> Iterator[bytes]:
        yield b"INSERT INTO t FOR"  # also the statement may come in pieces
        yield b"MAT TS"
        for start in range(0, 200_000, 1000):
            yield b"".join(b"\n%d" % n for n in range(start, start + 1000))

    def statement() -> Iterator[bytes]:
        yield b"INSERT INTO t FORMAT T"
        yield b"SV"
        yield b"\n"
        for start in range(0, 200_000, 1000):
            yield b"".join(b"%d\n" % n for n in range(start, start + 1000))

    answer = web.ask(parts())
    assert answer.code == 73  # FORMAT TS does not exist: the pieces are joined, not guessed
    assert web.ask(statement()).status == 200
    assert web.value("SELECT count(), sum(a) FROM t") == "200000\t19999900000"


def test_native_compression_of_clickhouse_itself(web: Http) -> None:
    query = "SELECT number, toString(number) FROM numbers(100000) ORDER BY number FORMAT TSV"
    plain = web.ask(query).body
    answer = web.ask(query, compress=1)
    assert b"".join(native_blocks.decompressed([answer.body])) == plain
    web.ask("CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    body = b"".join(native_blocks.compressed([memoryview(plain)]))
    assert web.ask(body, query="INSERT INTO t FORMAT TSV", decompress=1).status == 200
    assert web.value("SELECT count() FROM t") == "100000"
    broken = body[:40] + bytes([body[40] ^ 1]) + body[41:]
    assert web.ask(broken, query="INSERT INTO t FORMAT TSV", decompress=1).code == 40


def test_our_block_checksums_are_those_of_the_engine(store: EmbeddedClickHouse, web: Http) -> None:
    """The engine's own column files are streams of such blocks, with checksums that it computed."""
    web.ask("CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a SETTINGS min_bytes_for_wide_part = 0")
    for count in (1, 3, 10, 100, 100_000):
        web.ask(f"INSERT INTO t SELECT number, hex(MD5(toString(number))) FROM numbers({count})")
    parts = web.value("SELECT path FROM system.parts WHERE database = currentDatabase() AND table = 't'").splitlines()
    sizes = []
    for path in parts:
        for file in Path(path).glob("*.bin"):
            sizes += [len(block) for block in native_blocks.decompressed([file.read_bytes()])]
    assert len(sizes) > 8
    assert min(sizes) < 16 < 1000 < max(sizes)


@given(st.binary(max_size=3000), st.integers(1, 999))
@settings(max_examples=100, deadline=None)
def test_blocks_survive_any_cut_of_the_stream(data: bytes, cut: int) -> None:
    stream = b"".join(native_blocks.compressed([memoryview(data)])) if data else b""
    pieces = [stream[start : start + cut] for start in range(0, len(stream), cut)]
    assert b"".join(native_blocks.decompressed(pieces)) == data
    if stream:
        with pytest.raises(ClickHouseError):
            list(native_blocks.decompressed([stream[:-1]]))


def test_a_block_that_claims_to_be_huge_is_refused() -> None:
    with pytest.raises(ClickHouseError, match="claims"):
        list(native_blocks.decompressed([os.urandom(16) + b"\x82" + b"\xff" * 8]))
