"""Dead letters: what could not be counted, kept with code, reason and where it came from. One per source record.

Rejected rows of a batch travel as an Arrow batch of those rows with `_row`, `_code` and `_reason`; a record that cannot be
decoded keeps its bytes, or beyond 64 KiB their beginning, length and hash. The original headers stay under
`tokenmill-original-*`, so that what was put aside can be sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.arrow import SCHEMAS, rejected, schema_for
from schemas.batch import decode_batch, encode_batch
from schemas.errors import DecodeError
from schemas.headers import (
    ARROW_STREAM,
    CONTENT_TYPE,
    RawHeaders,
    RecordHeaders,
    header_texts,
)
from schemas.headers import TYPE as RECORD_TYPE
from schemas.kinds import Kind

CODE: Final = "tokenmill-dlq-code"
REASON: Final = "tokenmill-dlq-reason"
TOPIC: Final = "tokenmill-dlq-topic"
PARTITION: Final = "tokenmill-dlq-partition"
OFFSET: Final = "tokenmill-dlq-offset"
ROWS: Final = "tokenmill-dlq-rows"
TYPE: Final = "tokenmill-dlq-type"
LENGTH: Final = "tokenmill-dlq-length"
SHA256: Final = "tokenmill-dlq-sha256"
ORIGINAL: Final = "tokenmill-original-"

SEVERAL: Final = "several"
"""The code in the header of a dead letter whose rows have different codes; each row keeps its own."""
FUTURE_EVENT: Final = "future_event"
TOO_LATE: Final = "too_late"
CONFLICT: Final = "conflict"

MAX_BYTES: Final = 64 * 1024
_MAX_REASON: Final = 1_000

Indices = np.ndarray[tuple[int], np.dtype[np.intp]]


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where the rejected record lies."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as its headers and value say it.

    `kind` is the type of the rejected rows ("" for an undecodable record), `rows` how many events it stands for, `batch`
    the rejected rows in the schema of `schemas.arrow.rejected(kind)`, `value` the bytes of an undecodable record (its beginning
    where `length` is more), `original` the headers of the source record.
    """

    code: str
    reason: str
    source: Coordinates
    kind: str
    rows: int
    batch: Any | None
    value: bytes
    length: int
    sha256: str
    original: tuple[tuple[str, bytes], ...]


# --- writing ----------------------------------------------------------------------------------------------------------


def encode_rejected_rows(
    kind: str, batch: Any, rows: Indices | Sequence[int], codes: Sequence[str], reasons: Sequence[str]
) -> bytes:
    """The rows `rows` of a canonical batch with one code and one reason each, as an Arrow stream."""
    taken = batch.take(pa.array(rows, pa.int64()))
    columns = [
        *taken.columns,
        pa.array(np.asarray(rows, np.int32)),
        pa.array(list(codes), pa.string()).dictionary_encode(),
        pa.array([reason[:_MAX_REASON] for reason in reasons], pa.string()),
    ]
    return encode_batch(pa.RecordBatch.from_arrays(columns, schema=schema_for(rejected(kind))))


def encode_undecodable(value: bytes | None) -> tuple[bytes, RecordHeaders]:
    """The bytes to keep of a record that cannot be decoded, and headers with its full length and SHA-256."""
    whole = value or b""
    headers = [(LENGTH, b"%d" % len(whole)), (SHA256, hashlib.sha256(whole).hexdigest().encode())]
    return whole[:MAX_BYTES], headers


def dead_letter_headers(
    source: Coordinates, codes: Sequence[str], reason: str, *, kind: str = "", original: RawHeaders = None
) -> RecordHeaders:
    """The headers of a dead letter; `codes` has the code of each row (one code for an undecodable record).

    `kind` is the type of the rejected rows; "" for an undecodable record, whose headers come from `encode_undecodable` too.
    """
    distinct = set(codes)
    code = codes[0] if len(distinct) == 1 else SEVERAL
    headers: RecordHeaders = [
        (CODE, code.encode()),
        (REASON, reason[:_MAX_REASON].encode()),
        (TOPIC, source.topic.encode()),
        (PARTITION, b"%d" % source.partition),
        (OFFSET, b"%d" % source.offset),
        (ROWS, b"%d" % len(codes)),
        (RECORD_TYPE, Kind.DEAD_LETTER.encode()),
    ]
    if kind:
        headers += [(TYPE, kind.encode()), (CONTENT_TYPE, ARROW_STREAM.encode())]
    headers += [(ORIGINAL + name, text) for name, text in _pairs(original)]
    return headers


def _pairs(headers: RawHeaders) -> RecordHeaders:
    """Headers of any client as pairs of bytes, as they are: those of a bad record need not be UTF-8."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return [(name, text.encode() if isinstance(text, str) else bytes(text)) for name, text in pairs if text is not None]


# --- reading ----------------------------------------------------------------------------------------------------------


def decode_dead_letter(value: bytes | None, headers: RawHeaders) -> DeadLetter:
    """The dead letter of a Kafka record. DecodeError: it is none."""
    pairs = _pairs(headers)
    texts = header_texts([(name, text) for name, text in pairs if not name.startswith(ORIGINAL)])
    missing = [name for name in (CODE, TOPIC, PARTITION, OFFSET, ROWS) if name not in texts]
    if missing:
        raise DecodeError(f"not a dead letter: without the headers {', '.join(missing)}", {"missing": missing})
    kind, kept = texts.get(TYPE, ""), value or b""
    try:
        source = Coordinates(texts[TOPIC], int(texts[PARTITION]), int(texts[OFFSET]))
        rows, length = int(texts[ROWS]), int(texts.get(LENGTH, len(kept)))
    except ValueError as error:
        raise DecodeError(f"not a dead letter: {error}") from None
    return DeadLetter(
        code=texts[CODE],
        reason=texts.get(REASON, ""),
        source=source,
        kind=kind,
        rows=rows,
        batch=decode_rejected_rows(kind, kept) if kind else None,
        value=b"" if kind else kept,
        length=length,
        sha256=texts.get(SHA256, ""),
        original=tuple((name.removeprefix(ORIGINAL), text) for name, text in pairs if name.startswith(ORIGINAL)),
    )


def decode_rejected_rows(kind: str, data: bytes | memoryview) -> Any:
    """Rejected rows: a pyarrow.RecordBatch of the kind's columns and those of DEAD_LETTER_ROWS. DecodeError."""
    if rejected(kind) not in SCHEMAS:
        raise DecodeError(f"a dead letter of rows of the unknown type {kind[:80]!r}", {"type": kind})
    return decode_batch(rejected(kind), data)
