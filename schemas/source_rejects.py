"""A row that its source could not read, such as a malformed line of a trace file: sent on, so that it is counted.

It travels in `usage.events.v1` with the content type REJECTED_JSON; the worker makes a dead letter of it.
"""

from __future__ import annotations

from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import DecodeError
from schemas.headers import CONTENT_TYPE, REJECTED_JSON, RecordHeaders

_MAX_TEXT = 4_096


class SourceReject(BaseModel):
    """File and line (from 1), why, and the text of the line, at most 4,096 characters of it."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    file: Annotated[str, Field(strict=True)]
    """The file that could not be read."""
    line: Annotated[int, Field(strict=True, ge=0)]
    """The number of the line, from 1."""
    reason: Annotated[str, Field(strict=True)]
    """Why."""
    text: Annotated[str, Field(strict=True)] = ""
    """The line, at most 4,096 characters of it."""


def encode_source_reject(reject: SourceReject) -> tuple[bytes, RecordHeaders]:
    """Value and headers of the Kafka record."""
    data = {"file": reject.file, "line": reject.line, "reason": reject.reason, "text": reject.text[:_MAX_TEXT]}
    return orjson.dumps(data), [(CONTENT_TYPE, REJECTED_JSON.encode())]


def decode_source_reject(value: bytes | None) -> SourceReject:
    """The rejected row of a Kafka value. DecodeError: not JSON or not this contract."""
    try:
        return SourceReject.model_validate(orjson.loads(value or b""))
    except ValueError as error:  # JSONDecodeError and pydantic's ValidationError are both
        text = " ".join(str(error).split())[:300]
        raise DecodeError(f"not a row rejected at its source: {text}") from None
