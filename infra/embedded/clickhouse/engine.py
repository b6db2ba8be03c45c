"""chDB as an engine of many connections: one data directory, one handle per request or session, settings per handle.

chDB (4.x) allows any number of handles on one directory in one process; each has its own settings, database and
temporary tables, and calls on different handles run in parallel without Python's global lock.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from infra.embedded.clickhouse.errors import ClickHouseError, from_engine

_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")


class NativeResult(Protocol):
    """What chDB gives back for a query, or for one chunk of a streamed one."""

    def get_memview(self) -> Any:
        """The result's bytes without a copy."""

    def size(self) -> int:
        """Bytes of the result."""

    def rows_read(self) -> int:
        """Rows of the result."""

    def storage_rows_read(self) -> int:
        """Rows read from tables."""

    def storage_bytes_read(self) -> int:
        """Bytes read from tables."""

    def rows_written(self) -> int:
        """Rows inserted."""

    def bytes_written(self) -> int:
        """Bytes inserted."""


class Block:
    """Bytes of a result in the engine's own memory. They are valid only as long as this object lives.

    chDB's view does not keep the memory alive: what holds only the view reads what the engine wrote there later.
    """

    __slots__ = ("_memory", "_result", "view")

    def __init__(self, result: NativeResult) -> None:
        self._result = result
        self._memory = result.get_memview() if result.size() else None
        self.view = memoryview(b"" if self._memory is None else self._memory.view())

    def __len__(self) -> int:
        return len(self.view)


@dataclass(slots=True)
class Counts:
    """Rows and bytes that a statement read, wrote and returned, for the header X-ClickHouse-Summary."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0

    def add(self, result: NativeResult) -> None:
        """Add what one result, or one chunk of a streamed result, counted."""
        self.read_rows += result.storage_rows_read()
        self.read_bytes += result.storage_bytes_read()
        self.written_rows += result.rows_written()
        self.written_bytes += result.bytes_written()
        self.result_rows += result.rows_read()
        self.result_bytes += result.size()


def quote(text: str) -> str:
    """A string literal of SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quote_name(name: str) -> str:
    """An identifier of SQL in backquotes."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def setting_name(name: str) -> str:
    """The name itself, if a setting can be called so; else ClickHouseError UNKNOWN_SETTING, as a server answers."""
    if _SETTING_NAME.fullmatch(name) is None:
        raise ClickHouseError("UNKNOWN_SETTING", f"Unknown setting '{name}'", code=115)
    return name


class Handle:
    """One connection to the engine. Not for two threads at once."""

    def __init__(self, native: Any) -> None:
        self._native = native

    def run(self, statement: bytes, output_format: str, parameters: Mapping[str, str], counts: Counts) -> Block:
        """Run a statement and return the whole result, in the engine's memory."""
        try:
            result: NativeResult = self._native.query(statement, output_format, params=dict(parameters))
        except RuntimeError as error:
            raise from_engine(error) from None
        counts.add(result)
        return Block(result)

    def stream(
        self, statement: bytes, output_format: str, parameters: Mapping[str, str], counts: Counts
    ) -> Generator[Block]:
        """Run a query and yield its result block by block. Only for formats without a header or footer per result."""
        try:
            stream = self._native.send_query(statement, output_format, params=dict(parameters))
        except RuntimeError as error:
            raise from_engine(error) from None
        finished = False
        try:
            while True:
                try:
                    result: NativeResult | None = self._native.streaming_fetch_result(stream)
                except RuntimeError as error:
                    finished = True
                    raise from_engine(error) from None
                if result is None or (result.rows_read() == 0 and result.size() == 0):
                    finished = True
                    return
                counts.add(result)
                yield Block(result)
        finally:
            if not finished:
                self._native.streaming_cancel_query(stream)

    def insert(self, statement: bytes, data_format: str, chunks: Iterable[bytes], counts: Counts) -> None:
        """Run `INSERT INTO table (columns)` with data in a format, fed in chunks; nothing is kept back on an error."""
        try:
            stream = self._native.send_insert(statement, data_format)
        except RuntimeError as error:
            raise from_engine(error) from None
        whole = False
        try:
            for chunk in chunks:
                self._native.insert_append(stream, bytes(chunk))
            whole = True
        except RuntimeError as error:
            raise from_engine(error) from None
        finally:
            if not whole:
                self._native.insert_cancel(stream)
        try:
            counts.add(self._native.insert_done(stream))
        except RuntimeError as error:
            raise from_engine(error) from None

    def command(self, statement: str) -> bytes:
        """Run a statement of this front's own; tab-separated result."""
        return bytes(self.run(statement.encode(), "TabSeparated", {}, Counts()).view)

    def apply(self, settings: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        """Set settings, and parameters for statements that take data, for the rest of this handle's life."""
        parts = [f"{setting_name(name)} = {quote(value)}" for name, value in settings.items()]
        parts += [f"param_{setting_name(name)} = {quote(value)}" for name, value in parameters.items()]
        if parts:
            self.command("SET " + ", ".join(parts))

    def is_read_only(self, statement: bytes) -> bool:
        """Whether the statement changes nothing (SELECT, SHOW, DESCRIBE ...); unparsable ones count as changing."""
        kind = self._native.classify_query(statement)["query_class"]
        return str(kind).endswith("READ_ONLY")

    def close(self) -> None:
        """Give the connection back to the engine."""
        self._native.close()


class Engine:
    """The engine on one data directory. Opening a second one in the same process is an error of chDB's."""

    def __init__(self, directory: Path) -> None:
        # The server's time zone is that of the process, and it has to be UTC whatever the machine is set to.
        os.environ["TZ"] = "UTC"
        native = import_module("chdb._chdb")
        native.set_signal_handlers_enabled(0)
        self._open = native.connect
        self._path = str(directory)
        self._closing = threading.Lock()
        self._main = Handle(self._open(self._path))
        # Importing chDB installs handlers of its own for SIGINT and faults: the process decides about signals itself.
        native.reset_signal_handlers()
        self.version = self._main.command("SELECT version()").decode().strip()

    def handle(self) -> Handle:
        """A new connection with default settings. Costs a quarter of a millisecond."""
        return Handle(self._open(self._path))

    def close(self) -> None:
        """Close the engine; every other handle has to be closed before."""
        with self._closing:
            self._main.close()
