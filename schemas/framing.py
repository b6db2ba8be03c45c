"""A look at an Arrow IPC stream before any of it is built: how many batches, rows, and bytes once decompressed.

Arrow's reader trusts the lengths it reads: a small record may ask for terabytes. So the messages of the stream are walked
first, with nothing allocated. Format: https://arrow.apache.org/docs/format/Columnar.html (encapsulated messages) and the
flatbuffers of Message.fbs; field numbers below are those of that file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from schemas.errors import DecodeError

MAX_MESSAGES: Final = 512
MAX_BYTES: Final = 64 * 1024 * 1024
"""Bytes that the buffers of one stream may take once decompressed."""

_CONTINUATION: Final = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _RECORD_BATCH = 1, 2, 3

_PREFIX: Final = struct.Struct("<Ii").unpack_from
_U16: Final = struct.Struct("<H").unpack_from
_U32: Final = struct.Struct("<I").unpack_from
_I32: Final = struct.Struct("<i").unpack_from
_I64: Final = struct.Struct("<q").unpack_from
_TWO_I64: Final = struct.Struct("<qq").unpack_from


@dataclass(frozen=True, slots=True)
class StreamShape:
    """What a stream holds. `schema` are the bytes of its schema message: equal bytes, equal schema."""

    schema: bytes
    rows: int
    decompressed_bytes: int


def inspect_stream(data: memoryview) -> StreamShape:
    """The shape of a stream with one schema, any dictionaries and exactly one record batch. DecodeError for all else."""
    try:
        return _walk(data)
    except (struct.error, IndexError, OverflowError):
        raise DecodeError(
            f"not an Arrow stream: cut off or damaged ({len(data)} bytes)", {"bytes": len(data)}
        ) from None


def _walk(data: memoryview) -> StreamShape:
    position, total, rows, schema = 0, 0, -1, b""
    for _ in range(MAX_MESSAGES):
        if position == len(data):
            break  # a stream may end without its end marker
        marker, size = _PREFIX(data, position)
        if marker != _CONTINUATION or size < 0:
            raise DecodeError(f"not an Arrow stream: no message at byte {position}", {"position": position})
        if size == 0:
            break
        start = position + 8
        body = start + size
        table = start + _U32(data, start)[0]
        header_type = data[_field(data, table, 1)]
        length_at = _field(data, table, 3)
        length = _I64(data, length_at)[0] if length_at else 0
        if length < 0 or body + length > len(data):
            raise DecodeError(f"not an Arrow stream: cut off at byte {len(data)}", {"bytes": len(data)})
        header = _follow(data, _field(data, table, 2))
        if header_type == _SCHEMA and not schema:
            schema = bytes(data[position:body])
        elif header_type == _DICTIONARY and schema and rows < 0:
            total += _decompressed(data, _follow(data, _field(data, header, 1)), body, length)
        elif header_type == _RECORD_BATCH and schema and rows < 0:
            rows_at = _field(data, header, 0)
            rows = _I64(data, rows_at)[0] if rows_at else 0
            total += _decompressed(data, header, body, length)
        else:
            raise DecodeError("an Arrow stream must hold one schema, then dictionaries, then one batch")
        if total > MAX_BYTES:
            raise DecodeError(f"the batch has more than {MAX_BYTES} bytes once decompressed", {"bytes": total})
        position = body + length
    else:
        raise DecodeError(f"an Arrow stream of more than {MAX_MESSAGES} messages")
    if rows < 0:
        raise DecodeError("an Arrow stream without a record batch")
    return StreamShape(schema, rows, total)


def _field(data: memoryview, table: int, number: int) -> int:
    """Where a field of a flatbuffers table lies; 0 where it is absent."""
    vtable = table - _I32(data, table)[0]
    slot = 4 + 2 * number
    if slot >= _U16(data, vtable)[0]:
        return 0
    offset: int = _U16(data, vtable + slot)[0]
    return table + offset if offset else 0


def _follow(data: memoryview, position: int) -> int:
    """The table or vector that the offset at `position` points to."""
    if not position:
        raise IndexError(position)
    return position + int(_U32(data, position)[0])


def _decompressed(data: memoryview, batch: int, body: int, length: int) -> int:
    """Bytes of a message's buffers after decompression: each compressed buffer starts with its own plain length."""
    if not _field(data, batch, 3):
        return length
    vector = _field(data, batch, 2)
    if not vector:
        return length
    vector = _follow(data, vector)
    total = 0
    for index in range(min(_U32(data, vector)[0], length + 1)):
        offset, size = _TWO_I64(data, vector + 4 + 16 * index)
        if size:
            if offset < 0 or size < 0 or offset + size > length:
                raise IndexError(offset)
            plain = _I64(data, body + offset)[0]
            total += plain if plain >= 0 else size
    return total
