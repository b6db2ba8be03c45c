"""What one HTTP request asks of ClickHouse: the parameters of the protocol apart from the engine's settings.

The names are those of ClickHouse's HTTP interface: https://clickhouse.com/docs/interfaces/http
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.embedded.clickhouse.errors import ClickHouseError

# Parameters of the protocol itself: they never reach the engine as settings.
_PROTOCOL = frozenset(
    {
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "quota_key",
        "query_id",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "compress",
        "decompress",
        "buffer_size",
        "wait_end_of_query",
        "client_protocol_version",
        "stacktrace",
        "role",
    }
)
# Settings of the server's HTTP layer: they are this front's business, the engine has nothing to do with them.
_FRONT_SETTINGS = frozenset(
    {
        "enable_http_compression",
        "http_zlib_compression_level",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "cancel_http_readonly_queries_on_client_close",
        "add_http_cors_header",
        "http_response_buffer_size",
        "http_wait_end_of_query",
        "send_timeout",
        "receive_timeout",
    }
)
_DEFAULT_SESSION_SECONDS = 60
_LONGEST_SESSION_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks. `given` is False when the request named nobody: then it is `default` with an empty password."""

    user: str
    password: str = field(repr=False)
    given: bool


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """The session that a request wants to run in; `must_exist` is the protocol's `session_check=1`."""

    id: str
    timeout_s: int
    must_exist: bool
    close: bool


@dataclass(frozen=True, slots=True)
class Request:
    """One query request. `query` is the URL's part of the statement; the body, if any, continues it.

    `settings` are the engine's settings, `parameters` the values of `{name:Type}` placeholders, both as the text that
    was sent. `read_only` is true for GET, which ClickHouse runs with readonly = 2. `wait_end`: send nothing before the
    query is through, so that every error has its status.
    """

    query: bytes
    query_id: str
    database: str
    default_format: str
    settings: Mapping[str, str]
    parameters: Mapping[str, str]
    session: SessionRequest | None
    read_only: bool
    compress_native: bool
    decompress_native: bool
    http_compression: bool
    wait_end: bool


def credentials(values: Mapping[str, str], headers: Mapping[str, str]) -> Credentials:
    """The credentials of a request: headers X-ClickHouse-User/-Key, basic authorization, or `user` and `password`.

    Raises ClickHouseError AUTHENTICATION_FAILED when two of these ways are mixed, or the header can't be understood.
    """
    by_header = headers.get("X-ClickHouse-User"), headers.get("X-ClickHouse-Key")
    authorization = headers.get("Authorization")
    by_url = values.get("user"), values.get("password")
    ways = [way for way in (any(by_header), authorization is not None, any(v is not None for v in by_url)) if way]
    if len(ways) > 1:
        raise ClickHouseError(
            "AUTHENTICATION_FAILED", "Invalid authentication: it is not allowed to use several ways simultaneously"
        )
    if any(by_header):
        return Credentials(by_header[0] or "default", by_header[1] or "", given=True)
    if authorization is not None:
        return _basic(authorization)
    return Credentials(by_url[0] or "default", by_url[1] or "", given=bool(ways))


def _basic(authorization: str) -> Credentials:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise ClickHouseError(
            "AUTHENTICATION_FAILED", f"Invalid authentication: '{scheme}' HTTP Authorization scheme is not supported"
        )
    try:
        user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise ClickHouseError(
            "AUTHENTICATION_FAILED", "Invalid authentication: the Basic credentials are not base64 of user:password"
        ) from None
    return Credentials(user or "default", password, given=True)


def read_request(method: str, values: Mapping[str, str], headers: Mapping[str, str]) -> Request:
    """The request of these URL (and form) values and headers. Raises ClickHouseError for values that make no sense."""
    settings = {
        name: value
        for name, value in values.items()
        if name not in _PROTOCOL and name not in _FRONT_SETTINGS and not name.startswith("param_")
    }
    return Request(
        query=values.get("query", "").encode(),
        query_id=_query_id(values),
        database=values.get("database") or headers.get("X-ClickHouse-Database", ""),
        default_format=values.get("default_format") or headers.get("X-ClickHouse-Format", ""),
        settings=settings,
        parameters={name[6:]: value for name, value in values.items() if name.startswith("param_")},
        session=_session(values),
        read_only=method in ("GET", "HEAD"),
        compress_native=_flag(values, "compress"),
        decompress_native=_flag(values, "decompress"),
        http_compression=_flag(values, "enable_http_compression"),
        wait_end=_flag(values, "wait_end_of_query") or _flag(values, "http_wait_end_of_query"),
    )


def _query_id(values: Mapping[str, str]) -> str:
    """The request's own id or a new one. It goes into a header of the answer, so only printable ASCII is taken."""
    query_id = values.get("query_id") or str(uuid.uuid4())
    if not (query_id.isascii() and query_id.isprintable()) or len(query_id) > 256:
        raise ClickHouseError("BAD_ARGUMENTS", "Parameter 'query_id' must be at most 256 printable ASCII characters")
    return query_id


def _flag(values: Mapping[str, str], name: str) -> bool:
    value = values.get(name, "0").lower()
    if value in ("1", "true"):
        return True
    if value in ("0", "false", ""):
        return False
    raise ClickHouseError("BAD_ARGUMENTS", f"Parameter '{name}' must be 0 or 1, not '{value}'")


def _session(values: Mapping[str, str]) -> SessionRequest | None:
    session_id = values.get("session_id", "")
    if not session_id:
        return None
    text = values.get("session_timeout", str(_DEFAULT_SESSION_SECONDS))
    if not text.isascii() or not text.isdigit():
        raise ClickHouseError("INVALID_SESSION_TIMEOUT", f"Invalid session timeout: '{text}'")
    if int(text) > _LONGEST_SESSION_SECONDS:
        raise ClickHouseError(
            "INVALID_SESSION_TIMEOUT",
            f"Session timeout '{text}' is larger than max_session_timeout: {_LONGEST_SESSION_SECONDS}",
        )
    return SessionRequest(session_id, int(text), _flag(values, "session_check"), _flag(values, "close_session"))
