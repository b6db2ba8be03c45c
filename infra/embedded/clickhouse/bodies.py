"""Request bodies as a connection brings them: with a length, or in HTTP chunks."""

from __future__ import annotations

from io import BufferedIOBase

from infra.embedded.clickhouse.errors import ClickHouseError


class SizedBody:
    """A body of a known number of bytes. `complete` says whether it was read to its end."""

    def __init__(self, stream: BufferedIOBase, length: int) -> None:
        self._stream = stream
        self._left = length

    @property
    def complete(self) -> bool:
        """Whether every byte of the body was read."""
        return self._left == 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end. Raises CANNOT_READ_ALL_DATA when the connection ends before it."""
        if self._left == 0:
            return b""
        chunk = self._stream.read(min(size, self._left))
        if not chunk:
            raise ClickHouseError("CANNOT_READ_ALL_DATA", f"The request body ended {self._left} bytes early")
        self._left -= len(chunk)
        return chunk


class ChunkedBody:
    """A body in `Transfer-Encoding: chunked`."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream
        self._left = 0
        self.complete = False

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end. Raises CANNOT_READ_ALL_DATA when the chunks are broken off."""
        if self.complete:
            return b""
        if self._left == 0:
            self._left = self._next_length()
            if self._left == 0:
                self._end()
                return b""
        chunk = self._stream.read(min(size, self._left))
        if not chunk:
            raise ClickHouseError("CANNOT_READ_ALL_DATA", "The chunked request body ended inside a chunk")
        self._left -= len(chunk)
        if self._left == 0 and self._stream.readline(3) != b"\r\n":
            raise ClickHouseError("CANNOT_READ_ALL_DATA", "A chunk of the request body does not end where it says")
        return chunk

    def _next_length(self) -> int:
        line = self._stream.readline(1024)
        digits = line.partition(b";")[0].strip()
        try:
            return int(digits, 16)
        except ValueError:
            raise ClickHouseError(
                "CANNOT_READ_ALL_DATA", "The chunked request body ended before its last chunk"
            ) from None

    def _end(self) -> None:
        while self._stream.readline(65537) not in (b"\r\n", b"\n", b""):
            pass
        self.complete = True
