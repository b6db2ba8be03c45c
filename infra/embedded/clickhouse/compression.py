"""Compressed bodies: the HTTP content encodings that ClickHouse takes and gives."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from typing import Final, Protocol

import pyarrow as pa

from infra.embedded.clickhouse.errors import ClickHouseError

CHUNK_BYTES: Final = 1 << 20
_ARROW_CODECS: Final = {"lz4": "lz4", "zstd": "zstd", "br": "brotli", "bz2": "bz2"}
# In the order that a server prefers; brotli is taken but not given, since pyarrow's costs half a second a megabyte.
_PREFERENCE: Final = ("zstd", "lz4", "gzip", "deflate")


class Readable(Protocol):
    """A request body as it comes: `read(n)` gives at most n bytes, none at its end."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


def chosen(accept_encoding: str) -> str:
    """The encoding of the answer for this Accept-Encoding header; "" for none."""
    offered = {part.partition(";")[0].strip().lower() for part in accept_encoding.split(",")}
    return next((encoding for encoding in _PREFERENCE if encoding in offered), "")


def decoded(body: Readable, encoding: str) -> Iterator[bytes]:
    """The body's bytes in chunks, freed of its Content-Encoding.

    Raises ClickHouseError: UNKNOWN_COMPRESSION_METHOD for an encoding that is not known, CANNOT_DECOMPRESS for bytes
    that are not what the header says, CANNOT_READ_ALL_DATA for a body that ends too early.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return _plain(body)
    if name in ("gzip", "x-gzip", "deflate"):
        return _zlib(body, name)
    if name in _ARROW_CODECS:
        return _arrow(body, name)
    raise ClickHouseError("UNKNOWN_COMPRESSION_METHOD", f"Unknown HTTP content encoding '{encoding}'")


def _plain(body: Readable) -> Iterator[bytes]:
    while chunk := body.read(CHUNK_BYTES):
        yield chunk


def _zlib(body: Readable, name: str) -> Iterator[bytes]:
    # 47 = detect the gzip or zlib header.
    decoder = zlib.decompressobj(47)
    try:
        while chunk := body.read(CHUNK_BYTES):
            while chunk:
                if decoder.eof:
                    decoder = zlib.decompressobj(47)
                yield decoder.decompress(chunk, CHUNK_BYTES * 4)
                chunk = decoder.unconsumed_tail or decoder.unused_data
    except zlib.error as error:
        raise ClickHouseError("CANNOT_DECOMPRESS", f"The request body is not {name}: {error}") from None
    if not decoder.eof:
        raise ClickHouseError("CANNOT_READ_ALL_DATA", f"The {name} request body ends too early")


class _File(BufferedIOBase):
    """A `Readable` as the file object that pyarrow reads from."""

    def __init__(self, body: Readable) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        return self._body.read(CHUNK_BYTES if size is None or size < 0 else size)


def _arrow(body: Readable, name: str) -> Iterator[bytes]:
    try:
        with pa.CompressedInputStream(pa.PythonFile(_File(body), mode="r"), _ARROW_CODECS[name]) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except (OSError, ValueError) as error:
        raise ClickHouseError("CANNOT_DECOMPRESS", f"The request body is not {name}: {error}") from None


class _Collected(BufferedIOBase):
    """Collects what a compressor writes, to be taken away chunk by chunk."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        part = bytes(data)  # type: ignore[call-overload]
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        """What was written since the last call."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def encoded(chunks: Iterable[memoryview], encoding: str) -> Iterator[bytes | memoryview]:
    """The chunks in the given content encoding; "" leaves them as they are."""
    if encoding == "":
        yield from chunks
    elif encoding in _ARROW_CODECS:
        yield from _arrow_encoded(chunks, _ARROW_CODECS[encoding])
    else:
        encoder = zlib.compressobj(1, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
        for chunk in chunks:
            if part := encoder.compress(chunk):
                yield part
        yield encoder.flush()


def _arrow_encoded(chunks: Iterable[memoryview], codec: str) -> Iterator[bytes]:
    collected = _Collected()
    stream = pa.CompressedOutputStream(pa.PythonFile(collected, mode="w"), codec)
    for chunk in chunks:
        for start in range(0, len(chunk), CHUNK_BYTES):
            stream.write(chunk[start : start + CHUNK_BYTES])
            if part := collected.take():
                yield part
    stream.close()
    yield collected.take()
