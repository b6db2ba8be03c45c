"""Errors as a ClickHouse server reports them: code, name, text, and the HTTP status that goes with the code.

Codes are those of ClickHouse's `src/Common/ErrorCodes.cpp`, statuses those of
`src/Server/HTTP/exceptionCodeToHTTPStatus.cpp`.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

CODES: Final = {
    "UNSUPPORTED_METHOD": 1,
    "CANNOT_READ_ALL_DATA": 33,
    "BAD_ARGUMENTS": 36,
    "CHECKSUM_DOESNT_MATCH": 40,
    "NOT_IMPLEMENTED": 48,
    "SYNTAX_ERROR": 62,
    "UNKNOWN_COMPRESSION_METHOD": 89,
    "READONLY": 164,
    "TOO_MANY_SIMULTANEOUS_QUERIES": 202,
    "QUERY_IS_TOO_LARGE": 229,
    "CANNOT_DECOMPRESS": 271,
    "INTO_OUTFILE_NOT_ALLOWED": 358,
    "SESSION_NOT_FOUND": 372,
    "SESSION_IS_LOCKED": 373,
    "INVALID_SESSION_TIMEOUT": 374,
    "AUTHENTICATION_FAILED": 516,
    "STD_EXCEPTION": 1001,
}

_BAD_REQUEST = frozenset(
    {6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 427, 441, 675, 676}
)
_NOT_FOUND = frozenset({46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511})
_STATUS = {
    48: HTTPStatus.NOT_IMPLEMENTED,
    76: HTTPStatus.SERVICE_UNAVAILABLE,
    159: HTTPStatus.REQUEST_TIMEOUT,
    192: HTTPStatus.FORBIDDEN,
    193: HTTPStatus.FORBIDDEN,
    194: HTTPStatus.UNAUTHORIZED,
    209: HTTPStatus.SERVICE_UNAVAILABLE,
    229: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    381: HTTPStatus.LENGTH_REQUIRED,
    439: HTTPStatus.SERVICE_UNAVAILABLE,
    497: HTTPStatus.FORBIDDEN,
    512: HTTPStatus.FORBIDDEN,
    516: HTTPStatus.FORBIDDEN,
}

_ENGINE_TEXT = re.compile(r"Code: (\d+)\. DB::Exception: (.*)", re.DOTALL)
_NAME_AT_END = re.compile(r"\s*\(([A-Z0-9_]+)\)(?: \(version [^)]*\))?\s*$")


def http_status(code: int) -> HTTPStatus:
    """The HTTP status that a ClickHouse server answers an exception of this code with."""
    if code in _BAD_REQUEST:
        return HTTPStatus.BAD_REQUEST
    if code in _NOT_FOUND:
        return HTTPStatus.NOT_FOUND
    return _STATUS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)


class ClickHouseError(Exception):
    """An exception of ClickHouse: numeric `code`, its `name` (such as SYNTAX_ERROR) and the `text` of the message.

    `status` is the HTTP status; `close` says that the rest of the request was not read, so that the connection has to
    be closed after the answer.
    """

    def __init__(self, name: str, text: str, *, code: int | None = None, status: HTTPStatus | None = None) -> None:
        super().__init__(text)
        self.name = name
        self.code = CODES[name] if code is None else code
        self.text = text
        self.status = http_status(self.code) if status is None else status

    def body(self, version: str) -> bytes:
        """The answer's body, as a server of that version writes it: one line with code, text, name and version."""
        return f"Code: {self.code}. DB::Exception: {self.text} ({self.name}) (version {version})\n".encode()


def from_engine(error: BaseException) -> ClickHouseError:
    """The engine's exception as a `ClickHouseError`; a text without a code becomes STD_EXCEPTION (1001)."""
    text = str(error).strip()
    found = _ENGINE_TEXT.search(text)
    if found is None:
        return ClickHouseError("STD_EXCEPTION", text or type(error).__name__)
    code, message = int(found[1]), found[2]
    name = _NAME_AT_END.search(message)
    if name is None:
        return ClickHouseError("UNKNOWN", message.strip(), code=code)
    return ClickHouseError(name[1], message[: name.start()].rstrip(), code=code)
