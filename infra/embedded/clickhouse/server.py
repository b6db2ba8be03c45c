"""ClickHouse's HTTP interface over the executor: requests in threads, keep-alive, compressed bodies both ways."""

from __future__ import annotations

import hmac
import secrets
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from socketserver import TCPServer
from urllib.parse import parse_qsl

from infra.embedded.clickhouse import compression
from infra.embedded.clickhouse.bodies import ChunkedBody, SizedBody
from infra.embedded.clickhouse.errors import ClickHouseError, from_engine
from infra.embedded.clickhouse.execution import Body, Executor, Result
from infra.embedded.clickhouse.formats import content_type
from infra.embedded.clickhouse.forms import form_values
from infra.embedded.clickhouse.request import Request, credentials, read_request
from infra.logs import get_logger

_IDLE_SECONDS = 600
_DRAINED_BYTES = 64 << 20
_HELP = b"There is no such handle. Use / with a query (POST, or GET /?query=...), /ping or /replicas_status.\n"


@dataclass(frozen=True, slots=True)
class Access:
    """The one user that may ask. An empty password lets everybody in who can reach the port."""

    user: str = "default"
    password: str = ""


class ClickHouseServer(ThreadingHTTPServer):
    """The listening socket; one thread for each connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], executor: Executor, access: Access, *, version: str) -> None:
        self.executor = executor
        self.access = access
        self.version = version
        self.in_flight = _InFlight()
        self.stopping = False
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking a name server who this machine is."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news; anything else is written to the log with its traceback."""
        get_logger("clickhouse").warning("a connection ended in an error", client=str(client_address), exc_info=True)


class _InFlight:
    """How many requests are being answered, so that stopping can wait for them."""

    def __init__(self) -> None:
        self._number = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._number += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._number -= 1
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until none is left; False if some still are after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._number == 0, timeout_s)


class _Handler(BaseHTTPRequestHandler):
    """One connection: its requests one after the other."""

    protocol_version = "HTTP/1.1"
    server: ClickHouseServer
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    _begun = False

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def handle_one_request(self) -> None:
        """One request; a client that breaks off the connection ends it without noise."""
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        get_logger("clickhouse").debug("http", message=format % args)

    def version_string(self) -> str:
        return f"ClickHouse/{self.server.version} (embedded)"

    def end_headers(self) -> None:
        """The end of the headers: from here on an error can't have a status of its own any more."""
        super().end_headers()
        self._begun = True

    def _answer(self) -> None:
        self._begun = False
        path, _, query = self.path.partition("?")
        with self.server.in_flight:
            body = self._body()
            if self.server.stopping or body is None:
                self.close_connection = True
                status = HTTPStatus.BAD_REQUEST if body is None else HTTPStatus.SERVICE_UNAVAILABLE
                self._send_plain(status, f"{status.phrase}\n".encode())
                return
            if path in ("/ping", "/replicas_status") or (path == "/" and self._is_bare(query)):
                self._send_plain(HTTPStatus.OK, b"Ok.\n")
            elif path != "/":
                self._send_plain(HTTPStatus.NOT_FOUND, _HELP)
            else:
                self._answer_query(query, body)
            self._drain(body)

    def _is_bare(self, query: str) -> bool:
        return self.command in ("GET", "HEAD") and not query and "X-ClickHouse-User" not in self.headers

    def _body(self) -> SizedBody | ChunkedBody | None:
        """The request's body; None when its length can't be understood."""
        if (encoding := self.headers.get("Transfer-Encoding")) is not None:
            return ChunkedBody(self.rfile) if encoding.strip().lower() == "chunked" else None
        length = self.headers.get("Content-Length", "0").strip()
        return SizedBody(self.rfile, int(length)) if length.isascii() and length.isdigit() else None

    def _drain(self, body: SizedBody | ChunkedBody) -> None:
        """Read what is left of the request, so that the connection can carry the next one."""
        left = _DRAINED_BYTES
        with suppress(ClickHouseError):
            while left > 0 and (chunk := body.read(compression.CHUNK_BYTES)):
                left -= len(chunk)
        if left <= 0 or not body.complete:
            self.close_connection = True

    def _answer_query(self, url_query: str, body: SizedBody | ChunkedBody) -> None:
        query_id = ""
        try:
            values = dict(parse_qsl(url_query, keep_blank_values=True, errors="strict"))
            user = self._authenticate(values)
            request, chunks = self._read(values, body)
            query_id = request.query_id
            with self.server.executor.run(request, user, Body(chunks)) as result:
                self._send_result(request, result)
        except UnicodeError:
            self._send_error(ClickHouseError("BAD_ARGUMENTS", "The request's parameters are not UTF-8"), query_id)
        except ClickHouseError as error:
            self._send_error(error, query_id)
        except RuntimeError as error:
            self._send_error(from_engine(error), query_id)

    def _read(self, values: dict[str, str], body: SizedBody | ChunkedBody) -> tuple[Request, Iterator[bytes]]:
        """What is asked, and the body freed of its compression."""
        encoding = self.headers.get("Content-Encoding", "")
        values, chunks = form_values(values, self.headers.get("Content-Type", ""), encoding, body)
        request = read_request(self.command, values, self.headers)  # type: ignore[arg-type]
        if chunks is None:
            chunks = compression.decoded(body, encoding)
        if request.decompress_native:
            from infra.embedded.clickhouse import native_blocks  # compiles its checksum: only where it is needed

            chunks = native_blocks.decompressed(chunks)
        return request, chunks

    def _authenticate(self, values: dict[str, str]) -> str:
        asked = credentials(values, self.headers)  # type: ignore[arg-type]
        access = self.server.access
        same_user = hmac.compare_digest(asked.user.encode(), access.user.encode())
        same_password = hmac.compare_digest(asked.password.encode(), access.password.encode())
        if same_user and same_password:
            return asked.user
        raise ClickHouseError(
            "AUTHENTICATION_FAILED",
            f"{asked.user}: Authentication failed: password is incorrect, or there is no user with such name.",
            status=HTTPStatus.FORBIDDEN if asked.given else HTTPStatus.UNAUTHORIZED,
        )

    def _send_plain(self, status: HTTPStatus, text: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=UTF-8")
        self._send_body(text)

    def _send_body(self, body: bytes | memoryview) -> None:
        """Finish the headers and send a body whose length is known."""
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Keep-Alive", f"timeout={_IDLE_SECONDS}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _common_headers(self, query_id: str) -> None:
        self.send_header("X-ClickHouse-Server-Display-Name", "tokenmill-embedded")
        if query_id:
            self.send_header("X-ClickHouse-Query-Id", query_id)
        self.send_header("X-ClickHouse-Timezone", "UTC")

    def _send_error(self, error: ClickHouseError, query_id: str) -> None:
        if self._begun:
            raise ConnectionAbortedError from error
        self.send_response(error.status)
        if error.status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="ClickHouse server HTTP API"')
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self._common_headers(query_id)
        self.send_header("X-ClickHouse-Exception-Code", str(error.code))
        self._send_body(error.body(self.server.version))

    def _send_result(self, request: Request, result: Result) -> None:
        encoding = ""
        if request.http_compression and not request.compress_native:
            encoding = compression.chosen(self.headers.get("Accept-Encoding", ""))
        tag = secrets.token_hex(8)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type(result.format))
        self._common_headers(request.query_id)
        if result.format:
            self.send_header("X-ClickHouse-Format", result.format)
        self.send_header("X-ClickHouse-Summary", result.summary())
        size = sum(len(block) for block in result.first)
        if result.complete and not request.compress_native and (not encoding or size == 0):
            self.send_header("Content-Length", str(size))
            self.end_headers()
            if self.command != "HEAD":
                for block in result.first:
                    self.wfile.write(block.view)
            return
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.send_header("X-ClickHouse-Exception-Tag", tag)
        marked = _Marked(result, tag, self.server.version)
        blocks: Iterable[memoryview] = marked
        if request.compress_native:
            from infra.embedded.clickhouse import native_blocks

            blocks = native_blocks.compressed(blocks)
        self._send_chunks(compression.encoded(blocks, encoding), marked)

    def _send_chunks(self, chunks: Iterable[bytes | memoryview], marked: _Marked) -> None:
        chunked = self.request_version != "HTTP/1.0"
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        for chunk in chunks:
            if len(chunk) and chunked:
                self.wfile.write(b"%x\r\n" % len(chunk))
                self.wfile.write(chunk)
                self.wfile.write(b"\r\n")
            elif len(chunk):
                self.wfile.write(chunk)
        if marked.failed:
            # Without its last chunk the result looks incomplete also to clients that know nothing of the tag.
            self.close_connection = True
        elif chunked:
            self.wfile.write(b"0\r\n\r\n")


class _Marked:
    """A result's blocks, and if the query fails on the way, its exception in the form that newer clients recognise.

    The form is that of ClickHouse 25.11 and later: `__exception__`, the tag of the header, text, length, tag.
    `failed` is true after the exception was given out.
    """

    def __init__(self, result: Result, tag: str, version: str) -> None:
        self._result = result
        self._tag = tag.encode()
        self._version = version
        self.failed = False

    def __iter__(self) -> Iterator[memoryview]:
        try:
            for block in chain(self._result.first, self._result.rest):
                yield block.view  # this frame keeps the block while its view is used
        except ClickHouseError as error:
            self.failed = True
            text = error.body(self._version)
            marker = b"\r\n__exception__\r\n"
            yield memoryview(marker + self._tag + b"\r\n" + text + b"%d %s" % (len(text), self._tag) + marker)
