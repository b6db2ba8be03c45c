"""Replay of a real request trace: a file in, batches of TokenUsage out, and every line that is no row reported.

What a replay adds to the file is fixed by the line alone, so the same file gives the same events on every machine:

- n is the number of the data row, the first is 1. A malformed row keeps its n; blank lines and the header have none.
- Tenant of row n: `tenant-%04d` of the first 8 bytes of sha256("{seed}/{n}/tenant"), as a big-endian number, modulo the
  number of tenants; model likewise `model-%02d` with "/model".
- Identity: `source` is the sha256 of the file's bytes, `id` adds the line's number. So equal rows are different
  requests, and the same file under another name is the same events.
- Time: a trace states one instant per request, which is started_at and ended_at (the event time), and no first token:
  what a trace does not say is not invented. So a request falls into the period that the file puts it in.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from infra.errors import ConfigurationError, TokenmillError
from producers.columns import constant, instants, make_batch, names
from producers.trace_formats import MalformedRow, RowParser, TraceFormat, TraceRow, recognise
from schemas.instants import END_OF_TIME_US, to_microseconds
from schemas.kinds import Kind
from schemas.source_rejects import SourceReject

DEFAULT_START = datetime(2026, 1, 1, tzinfo=UTC)
MAX_LINE = 1 << 20
"""Bytes of a line that are looked at; a longer one is malformed (the longest of the known traces has some 3 kB)."""

_LINES_TO_RECOGNISE = 1_000
_BOM = b"\xef\xbb\xbf"


class TraceError(TokenmillError):
    """The file cannot be replayed at all; a single bad row is no error but a `SourceReject`."""


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """How rows become events. `start` is where a relative clock starts; `batch_rows` is the size of the batches."""

    tenants: int = 8
    models: int = 4
    seed: int = 0
    start: datetime = DEFAULT_START
    batch_rows: int = 8_192

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be at least 1, not {value}"
            for name, value in (("tenants", self.tenants), ("models", self.models), ("batch_rows", self.batch_rows))
            if value < 1
        ]
        if self.start.utcoffset() is None:
            problems.append("start needs a time zone, such as 2026-01-01T00:00:00Z")
        if problems:
            raise ConfigurationError("trace: " + "; ".join(problems), problems=tuple(problems))


def row_number_choice(seed: int, n: int, what: str, choices: int) -> int:
    """The tenant's or model's number of row `n`: sha256 of "{seed}/{n}/{what}", its first 8 bytes, modulo `choices`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{n}/{what}".encode()).digest()[:8], "big") % choices


@dataclass(slots=True)
class Trace:
    """One trace file, opened with `open_trace`. Iterating reads the file from its beginning, every time alike."""

    path: Path
    format: TraceFormat
    digest: str
    """sha256 of the file's bytes, in hex."""
    options: TraceOptions
    _tenant_names: list[str] = field(init=False, repr=False)
    _model_names: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._tenant_names = [f"tenant-{number:04d}" for number in range(self.options.tenants)]
        self._model_names = [f"model-{number:02d}" for number in range(self.options.models)]

    @property
    def source(self) -> str:
        """The `source` of every event: the content of the file, not its name."""
        return f"trace/{self.digest}"

    def __iter__(self) -> Iterator[pa.RecordBatch | SourceReject]:
        """Batches of TokenUsage in the order of the file, with each malformed row as it is met."""
        with self.path.open("rb") as file:
            pending = _Rows()
            for item in self._rows(file):
                if isinstance(item, SourceReject):
                    yield item
                    continue
                pending.add(*item)
                if len(pending.rows) == self.options.batch_rows:
                    yield self._batch(pending)
                    pending = _Rows()
            if pending.rows:
                yield self._batch(pending)

    def _rows(self, file: BinaryIO) -> Iterator[tuple[int, int, TraceRow] | SourceReject]:
        """(line in the file, n, row) of each data row, or its rejection."""
        parser: RowParser | None = None
        start_us = to_microseconds(self.options.start)
        if not self.format.has_header:
            parser = self.format.parser(None, start_us)
        n = 0
        for line, text in _lines(file):
            if parser is None:
                parser = self.format.parser(_text(text), start_us)
                continue
            n += 1
            try:
                yield line, n, _parsed(parser, text)
            except MalformedRow as error:
                # A file name may hold bytes that are no UTF-8 (surrogates in Python), which JSON cannot carry.
                file_name = str(self.path).encode("utf-8", "replace").decode()
                yield SourceReject(file=file_name, line=line, reason=str(error), text=_text(text))

    def _batch(self, pending: _Rows) -> pa.RecordBatch:
        rows = len(pending.rows)
        times, inputs, outputs, cached, failed, sessions = zip(*pending.rows, strict=True)
        seed = self.options.seed
        tenants = [row_number_choice(seed, n, "tenant", self.options.tenants) for n in pending.numbers]
        models = [row_number_choice(seed, n, "model", self.options.models) for n in pending.numbers]
        ids = pa.array([f"{self.digest[:32]}/{line}" for line in pending.lines], pa.string())
        time = instants(np.array(times, dtype=np.int64))
        model = names(self._model_names, np.array(models))
        failures = np.array(failed, dtype=bool)
        columns = {
            "id": ids,
            "source": constant(self.source, rows),
            "tenant_id": names(self._tenant_names, np.array(tenants)),
            "request_id": ids,
            "session_id": pa.array(sessions, pa.string()),
            "provider": constant("trace", rows),
            "operation": constant("chat", rows),
            "endpoint": constant("/v1/chat/completions", rows),
            "request_model": model,
            "response_model": model,
            "status": names(["success", "error"], failures.astype(np.int32)),
            "error_type": names(["failed"], failures.astype(np.int32) - 1),
            "input_tokens": pa.array(inputs, pa.int64()),
            "cache_read_input_tokens": pa.array(cached, pa.int64()),
            "output_tokens": pa.array(outputs, pa.int64()),
            "started_at": time,
            "ended_at": time,
        }
        return make_batch(Kind.TOKEN_USAGE, columns, rows)


@dataclass(slots=True)
class _Rows:
    """Rows that wait for their batch, with their lines in the file and their n."""

    lines: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    rows: list[TraceRow] = field(default_factory=list)

    def add(self, line: int, n: int, row: TraceRow) -> None:
        self.lines.append(line)
        self.numbers.append(n)
        self.rows.append(row)


def open_trace(path: Path | str, options: TraceOptions | None = None) -> Trace:
    """Find out the format of a trace file from its content and fix its identity (reads the file once).

    Raises TraceError when the file cannot be read, is empty, or is in none of the known formats.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            first = [_text(line) for _, line in itertools.islice(_lines(file), _LINES_TO_RECOGNISE)]
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TraceError(
            f"cannot read the trace {path}: {error.strerror}", code="trace_unreadable", exit_code=2
        ) from None
    if not first:
        raise TraceError(f"the trace {path} is empty", code="trace_empty", exit_code=2)
    trace_format = recognise(first)
    if trace_format is None:
        raise TraceError(
            f"{path} is no trace in a known format; it begins {first[0][:60]!r}. Known: Azure (CSV with TIMESTAMP, "
            "ContextTokens, GeneratedTokens), BurstGPT (CSV with Timestamp, Request tokens, Response tokens), Mooncake "
            "(JSON lines with timestamp, input_length, output_length, hash_ids)",
            code="trace_format",
            exit_code=2,
        )
    return Trace(path, trace_format, digest, options or TraceOptions())


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank with their numbers from 1: without line ending and byte order mark, cut at MAX_LINE."""
    number = 0
    while raw := file.readline(MAX_LINE + 1):
        number += 1
        piece = raw
        while len(piece) > MAX_LINE and not piece.endswith(b"\n"):
            piece = file.readline(MAX_LINE + 1)  # the rest of an overlong line belongs to it, and is not kept
        if number == 1:
            raw = raw.removeprefix(_BOM)
        if raw.strip():
            yield number, raw.rstrip(b"\r\n")


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def _parsed(parser: RowParser, line: bytes) -> TraceRow:
    if len(line) > MAX_LINE:
        raise MalformedRow(f"longer than {MAX_LINE} bytes")
    try:
        row = parser.parse(line.decode())
    except UnicodeDecodeError:
        raise MalformedRow("not UTF-8") from None
    if row.time_us >= END_OF_TIME_US:
        raise MalformedRow("its time is after the year 2199")
    return row
