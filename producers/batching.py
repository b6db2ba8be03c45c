"""Packing events into batches, one stream of batches per partition. Pure: no clock of its own, no Kafka.

A row's partition is that of its tenant (of its GPU for samples). Rows keep their order within a partition, and a batch
holds rows of one partition only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from producers.columns import make_batch
from schemas.arrow import DEFAULTS, SCHEMAS
from schemas.batch import encode_batch, integers, rows_to_batch
from schemas.errors import SchemaError
from schemas.events import EVENT_TYPES, Event
from schemas.kinds import Kind
from schemas.partitioning import partition_for

EVENT_BYTES = 700
"""What an event that waits as a model is counted as; close to what its fields and Python objects take."""

KEY_COLUMNS = {Kind.TOKEN_USAGE: "tenant_id", Kind.GPU_USAGE: "tenant_id", Kind.GPU_UTILIZATION: "gpu_uuid"}
"""The column that decides on the partition, per kind."""


class Packed(NamedTuple):
    """An encoded batch: `rows` events for one partition."""

    partition: int
    rows: int
    data: bytes


@dataclass(slots=True)
class _Pending:
    """What waits for one partition: pieces of batches, then events that came one by one after them.

    `since` is when its oldest event was taken, `last` when its newest piece was.
    """

    since: float = 0.0
    last: float = 0.0
    rows: int = 0
    size: float = 0.0
    pieces: list[pa.RecordBatch] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class Packer:
    """Collects events and gives them back as encoded batches once those are full or have waited long enough."""

    def __init__(self, kind: Kind, partitions: int, max_rows: int, max_bytes: int) -> None:
        self._kind = kind
        self._model = EVENT_TYPES[kind]
        self._key = KEY_COLUMNS[kind]
        self._schema = SCHEMAS[kind]
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._pending = [_Pending() for _ in range(partitions)]
        self._columns: set[str] = set()
        """The columns that any event so far said something in."""

    @property
    def size(self) -> int:
        """About how many bytes of events wait."""
        return int(sum(each.size for each in self._pending))

    @property
    def rows(self) -> int:
        """How many events wait."""
        return sum(each.rows for each in self._pending)

    def add_event(self, event: Event, now: float) -> list[Packed]:
        """Take one event; returns the batch that it completes. TypeError: an event of another kind."""
        if not isinstance(event, self._model):
            raise TypeError(f"this emitter takes {self._model.__name__}, not {type(event).__name__}")
        partition = partition_for(getattr(event, self._key), len(self._pending))
        pending = self._pending[partition]
        pending.since = pending.since if pending.rows else now
        pending.events.append(event)
        pending.rows += 1
        pending.size += EVENT_BYTES
        if pending.rows >= self._max_rows or pending.size >= self._max_bytes * 2:
            return self._cut(partition)
        return []

    def add_batch(self, batch: pa.RecordBatch, now: float) -> list[Packed]:
        """Take a batch of events (columns in canonical types, any subset that has `id`);
        returns what it completes.

        SchemaError `invalid_batch`: a column that the kind does
        not have, or of another type; then nothing is taken.
        """
        self._check(batch)
        if batch.num_rows == 0:
            return []
        partitions = self._partitions_of(batch)
        batch = self._informative(batch)
        counts = np.bincount(partitions, minlength=len(self._pending))
        if np.count_nonzero(counts) > 1:
            batch = batch.take(pa.array(np.argsort(partitions, kind="stable")))
        row_size = batch.nbytes / batch.num_rows
        begin = 0
        for partition in np.flatnonzero(counts).tolist():
            piece = batch.slice(begin, int(counts[partition]))
            begin += piece.num_rows
            self._append(partition, piece, row_size, now)
        full = [number for number, each in enumerate(self._pending) if each.rows >= self._max_rows]
        return [packed for partition in full for packed in self._cut(partition, only_full=True)]

    def due(self, before: float) -> list[Packed]:
        """The batches whose oldest event was taken at or before this time."""
        late = [number for number, each in enumerate(self._pending) if each.rows and each.since <= before]
        return [packed for partition in late for packed in self._cut(partition)]

    def drain(self) -> list[Packed]:
        """Everything that waits."""
        return self.due(float("inf"))

    def _check(self, batch: pa.RecordBatch) -> None:
        if "id" not in batch.schema.names:
            raise SchemaError("invalid_batch", "a batch of events needs the column id", {"column": "id"})
        for column in batch.schema:
            position = self._schema.get_field_index(column.name)
            if position < 0 or self._schema.field(position).type != column.type:
                expected = "no such column" if position < 0 else f"expected {self._schema.field(position).type}"
                raise SchemaError(
                    "invalid_batch", f"column {column.name} of type {column.type}: {expected}", {"column": column.name}
                )

    def _partitions_of(self, batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
        """The partition of each row; rows without the key (which the worker will reject) go to partition 0."""
        if self._key not in batch.schema.names:
            return np.zeros(batch.num_rows, dtype=np.int64)
        keys = batch.column(self._key)
        of_entry = [partition_for(key, len(self._pending)) if key else 0 for key in keys.dictionary.to_pylist()]
        codes = keys.indices.fill_null(len(of_entry)).to_numpy(zero_copy_only=False)
        partitions: npt.NDArray[np.int64] = np.array([*of_entry, 0], dtype=np.int64)[codes]
        return partitions

    def _informative(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Without the columns that said nothing so far: moving and encoding them would be half of all the work."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name not in self._columns and _says_something(column, DEFAULTS[self._kind].get(name)):
                self._columns.add(name)
        return batch.select([name for name in batch.schema.names if name in self._columns])

    def _append(self, partition: int, piece: pa.RecordBatch, row_size: float, now: float) -> None:
        pending = self._pending[partition]
        self._settle(pending)
        pending.since = pending.since if pending.rows else now
        pending.last = now
        pending.pieces.append(piece)
        pending.rows += piece.num_rows
        pending.size += row_size * piece.num_rows

    def _settle(self, pending: _Pending) -> None:
        """Make a piece of the events that came one by one, so that they keep their place."""
        if pending.events:
            pending.pieces.append(self._informative(rows_to_batch(self._kind, pending.events)))
            pending.events = []

    def _cut(self, partition: int, *, only_full: bool = False) -> list[Packed]:
        """Encode what waits for a partition. With `only_full`, what does not fill a batch goes on waiting."""
        pending = self._pending[partition]
        self._settle(pending)
        self._pending[partition] = _Pending()
        rows = self._joined(pending.pieces)
        size = rows.num_rows - (rows.num_rows % self._max_rows if only_full else 0)
        if size < rows.num_rows:
            self._append(partition, rows.slice(size), pending.size / rows.num_rows, pending.last)
        slices = [rows.slice(begin, min(self._max_rows, size - begin)) for begin in range(0, size, self._max_rows)]
        return [packed for each in slices for packed in self._encoded(partition, each)]

    def _joined(self, pieces: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        """One batch of all pieces. Where their columns differ, the missing ones are filled in."""
        if len(pieces) == 1:
            return pieces[0]
        if all(piece.schema == pieces[0].schema for piece in pieces[1:]):
            return pa.concat_batches(pieces)
        whole = pa.concat_batches([self._filled(piece) for piece in pieces])
        # What was filled in and says nothing goes again: a rest of it would make every later piece differ.
        return whole.select([name for name in whole.schema.names if name in self._columns])

    def _filled(self, piece: pa.RecordBatch) -> pa.RecordBatch:
        return make_batch(self._kind, dict(zip(piece.schema.names, piece.columns, strict=True)), piece.num_rows)

    def _encoded(self, partition: int, rows: pa.RecordBatch) -> list[Packed]:
        """Encode, and halve as long as the result is too big for one record."""
        data = encode_batch(rows)
        if len(data) <= self._max_bytes or rows.num_rows == 1:
            return [Packed(partition, rows.num_rows, data)]
        half = rows.num_rows // 2
        return [*self._encoded(partition, rows.slice(0, half)), *self._encoded(partition, rows.slice(half))]


def _says_something(column: pa.Array, default: object) -> bool:
    """Whether a row holds anything but null and the default, as far as that can be told cheaply."""
    if column.null_count == len(column):
        return False
    if default is None or column.null_count:
        return True
    if pa.types.is_dictionary(column.type):
        return len(column.dictionary) != 1 or column.dictionary[0].as_py() != default
    if pa.types.is_int64(column.type):
        return not bool((integers(column) == default).all())
    return not pc.all(pc.equal(column, pa.scalar(default, column.type))).as_py()
