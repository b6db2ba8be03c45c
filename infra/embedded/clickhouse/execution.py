"""One request on the engine: from the statement and the body to a result that can be sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from tempfile import NamedTemporaryFile

from infra.embedded.clickhouse import sql
from infra.embedded.clickhouse.engine import Block, Counts, Engine, Handle, quote, quote_name
from infra.embedded.clickhouse.errors import ClickHouseError
from infra.embedded.clickhouse.guard import refuse_local_access
from infra.embedded.clickhouse.request import Request
from infra.embedded.clickhouse.sessions import Session, Sessions

DEFAULT_FORMAT = "TabSeparated"
# Formats whose result is the plain concatenation of its blocks: they can be sent while the query still runs.
_STREAMED = frozenset({"Native", "RowBinary", "CSV", "TSV", "TabSeparated", "TabSeparatedRaw", "TSVRaw", "JSONEachRow"})
# Statements whose result has parts beside its rows, which streaming would lose.
_NOT_STREAMED = frozenset({b"TOTALS", b"EXTREMES"})
_FIRST_BYTES = 1 << 20
_HEAD_BYTES = 64 << 10
_LONGEST_STATEMENT = 16 << 20


@dataclass(slots=True)
class Result:
    """What a request gives back. `first` is ready; `rest` still runs, and may raise ClickHouseError on the way."""

    format: str
    first: list[Block]
    rest: Generator[Block]
    counts: Counts
    started: float = field(default_factory=time.perf_counter)
    complete: bool = True

    def summary(self) -> str:
        """The value of X-ClickHouse-Summary: numbers as strings, as a server writes them."""
        counts = self.counts
        elapsed_ns = round((time.perf_counter() - self.started) * 1e9)
        numbers = {
            "read_rows": counts.read_rows,
            "read_bytes": counts.read_bytes,
            "written_rows": counts.written_rows,
            "written_bytes": counts.written_bytes,
            "total_rows_to_read": counts.read_rows,
            "result_rows": counts.written_rows or counts.result_rows,
            "result_bytes": counts.written_bytes or counts.result_bytes,
            "elapsed_ns": elapsed_ns,
        }
        return json.dumps({name: str(number) for name, number in numbers.items()}, separators=(",", ":"))


class Body:
    """A request body that is read once: a part at its head to find the statement in, then the rest."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.held = b""

    def more(self) -> bool:
        """Hold one chunk more; False at the end of the body."""
        for chunk in self._chunks:
            if chunk:
                self.held += chunk
                return True
        return False

    def rest(self, start: int) -> Iterator[bytes]:
        """What follows the first `start` bytes, held or still to come."""
        return chain([self.held[start:]] if start < len(self.held) else [], self._chunks)


class Executor:
    """Runs requests on one engine, at most `concurrency` at once; the others wait in the order they came."""

    def __init__(self, engine: Engine, concurrency: int) -> None:
        self._engine = engine
        self._sessions = Sessions(engine)
        self._slots = threading.BoundedSemaphore(concurrency)

    @contextmanager
    def run(self, request: Request, user: str, body: Body) -> Iterator[Result]:
        """The result of a request, valid inside the `with` block. Raises ClickHouseError.

        Session and connection are given back as soon as the result is complete, before its last byte is sent: a
        client that has its answer may ask again at once.
        """
        started = time.perf_counter()
        statement, data = _statement(request.query, body)
        refuse_local_access(statement.text)
        with ExitStack() as stack:
            stack.enter_context(self._slots)
            session: Session | None = None
            if request.session is not None:
                session = stack.enter_context(self._sessions.hold(user, request.session))
                handle = session.handle
                _prepare_session(session, request, statement)
            else:
                handle = self._engine.handle()
                stack.callback(handle.close)
                _prepare_handle(handle, request)
            result = _run(handle, request, statement, data)
            result.started = started
            if session is not None and statement.kind is sql.Kind.USE:
                session.used()
            if result.complete:
                stack.close()
            else:
                running = result.rest
                stack.callback(running.close)
                result.rest = _and_then(running, stack.close)
            yield result

    def close(self) -> None:
        """Close the idle sessions."""
        self._sessions.close()


def _statement(query: bytes, body: Body) -> tuple[sql.Statement, Iterator[bytes]]:
    """The statement, and the data that follows it (from the URL's query and the body)."""
    prefix = query + b"\n" if query.strip() else b""
    while len(body.held) < _HEAD_BYTES and body.more():
        pass
    inserting = _insert_at_head(prefix + body.held)
    if inserting is None:
        while body.more():
            if len(body.held) > _LONGEST_STATEMENT:
                raise ClickHouseError("QUERY_IS_TOO_LARGE", f"A statement may have at most {_LONGEST_STATEMENT} bytes")
        inserting = sql.parse(prefix + body.held)
    if not inserting.takes_data:
        return inserting, iter(())
    if inserting.data_at < len(prefix):
        # Only the rest of the URL's query, if it is more than white space, is data too.
        tail = prefix[inserting.data_at :]
        return inserting, chain([tail] if tail.strip() else [], body.rest(0))
    return inserting, body.rest(inserting.data_at - len(prefix))


def _insert_at_head(head: bytes) -> sql.Statement | None:
    """The INSERT that this head of the source holds completely, so that its data can be passed on unread."""
    try:
        statement = sql.parse(head)
    except ClickHouseError:
        return None
    return statement if statement.takes_data and statement.data_at < len(head) else None


def _prepare_handle(handle: Handle, request: Request) -> None:
    if request.database:
        handle.command(f"USE {quote_name(request.database)}")
    settings = dict(request.settings)
    if request.read_only and settings.get("readonly", "0") == "0":
        settings["readonly"] = "2"
    handle.apply(settings, {})


def _prepare_session(session: Session, request: Request, statement: sql.Statement) -> None:
    # A handle can't leave readonly mode again, so in a session this front enforces it itself.
    settings = {name: value for name, value in request.settings.items() if name != "readonly"}
    read_only = request.read_only or request.settings.get("readonly", "0") != "0"
    changing = statement.takes_data or not session.handle.is_read_only(statement.text)
    if read_only and changing and statement.kind not in (sql.Kind.SETTING, sql.Kind.USE):
        raise ClickHouseError("READONLY", "Cannot execute query in readonly mode")
    session.prepare(request.database, {} if statement.kind is sql.Kind.SETTING else settings, {})


def _run(handle: Handle, request: Request, statement: sql.Statement, data: Iterator[bytes]) -> Result:
    counts = Counts()
    if statement.kind is sql.Kind.INSERT_DATA:
        handle.apply({}, request.parameters)
        handle.insert(statement.text, statement.format, data, counts)
        return Result("", [], _nothing(), counts)
    output_format = statement.format or request.default_format or DEFAULT_FORMAT
    if statement.kind is sql.Kind.INSERT_INPUT:
        _insert_input(handle, request, statement, data, counts)
        return Result("", [], _nothing(), counts)
    if statement.kind is sql.Kind.INSERT_SELECT:
        handle.run(statement.text, DEFAULT_FORMAT, request.parameters, counts)
        return Result("", [], _nothing(), counts)
    extremes = request.settings.get("extremes", "0") != "0" or not _NOT_STREAMED.isdisjoint(statement.words)
    if statement.kind is sql.Kind.SELECT and output_format in _STREAMED and not extremes:
        blocks = handle.stream(statement.text, output_format, request.parameters, counts)
        return _started(output_format, blocks, counts, None if request.wait_end else _FIRST_BYTES)
    whole = handle.run(statement.text, output_format, request.parameters, counts)
    return Result(output_format, [whole], _nothing(), counts)


def _insert_input(
    handle: Handle, request: Request, statement: sql.Statement, data: Iterator[bytes], counts: Counts
) -> None:
    """`INSERT ... SELECT ... FROM input(structure) FORMAT x`: the engine reads the data as a file, chDB has no input()."""
    with NamedTemporaryFile(prefix="tokenmill-insert-") as file:
        for chunk in data:
            file.write(chunk)
        file.flush()
        function, arguments = statement.input
        source = f"file({quote(file.name)}, {quote(statement.format)}, ".encode()
        text = statement.text[:function] + source + statement.text[arguments:]
        handle.run(text, DEFAULT_FORMAT, request.parameters, counts)


def _started(output_format: str, blocks: Generator[Block], counts: Counts, enough: int | None) -> Result:
    """A streamed result, run until it is complete or `enough` bytes are there: most errors come before the first byte."""
    first: list[Block] = []
    held = 0
    for block in blocks:
        first.append(block)
        held += len(block)
        if enough is not None and held >= enough:
            return Result(output_format, first, blocks, counts, complete=False)
    return Result(output_format, first, blocks, counts)


def _and_then(blocks: Generator[Block], done: Callable[[], None]) -> Generator[Block]:
    try:
        yield from blocks
    finally:
        done()


def _nothing() -> Generator[Block]:
    yield from ()
