"""One partition of GPU samples: what each GPU's owners used, derived as usage for the tenants' own partitions."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa

from infra.config import Settings
from infra.metrics_recording import Counted
from infra.topics import RegisteredLog
from schemas.arrow import GPU_USAGE
from schemas.batch import encode_batch
from schemas.events import EVENT_TIME_COLUMN
from schemas.exclusions import Outcome
from schemas.headers import BatchHeaders, Numbering
from schemas.kinds import Kind
from schemas.partitioning import partition_for
from schemas.validation import validate
from streams.columns import codes, integers, mixed_codes, values_of
from streams.decode import SAMPLE_KINDS, Rows, Unusable, segments
from streams.gpu_intervals import LastSample, OwnedTime, Samples, integrate, newest_first_seen
from streams.kernels import I64
from streams.processor import SourceRecord
from streams.rejects import Rejects
from streams.restore import POSITION_KEY, describe
from streams.sizes import encoded_parts
from streams.transactions import OutgoingRecord

IDLE = "_idle"
"""The owner of a GPU that nobody owns: capacity that is measured and never charged."""

_SIGNALS = ("engine_active_ratio", "sm_active_ratio", "gpu_util_ratio")
"""Where a sample's busy ratio is taken from, best first: the engine's share works for MIG instances too."""
_ATTRIBUTES = ("gpu_type", "node", "cluster", "region", "site")
_PROFILE = "mig_profile"
_FUTURE = "future_event"
_MIG_PROFILE = re.compile(r"([1-7])g\.", re.ASCII)
_LONGEST_NAME, _LONGEST_ID = 256, 512

GpuKey = tuple[str, str]
"""GPU uuid and MIG instance id ("" for a whole GPU)."""


@dataclass(slots=True)
class GpuSnapshot:
    """What a flush of the GPU meter writes."""

    position: int
    changed: dict[GpuKey, LastSample]
    derived: list[OutgoingRecord]
    rejects: Rejects
    metered: int
    """How many samples were counted."""


class GpuProcessor:
    """The GPU meter's state is each GPU's newest sample; see `gpu_intervals` for what is made of two of them."""

    def __init__(self, settings: Settings, source: RegisteredLog, partition: int) -> None:
        """`source`: the log of the samples."""
        self._settings = settings
        self._source = source
        self._partition = partition
        self._window_us = settings.window_minutes * 60_000_000
        self._last: dict[GpuKey, LastSample] = {}
        self._changed: set[GpuKey] = set()
        self._derived: list[OutgoingRecord] = []
        self._rejects = self._new_rejects()
        self._metered = 0

    @property
    def heavy(self) -> bool:
        """True when so much is pending that a flush should not wait."""
        return len(self._derived) > 2_000 or self._rejects.heavy

    def restore(self, state: Iterable[tuple[bytes, bytes]], position: bytes | None) -> int | None:
        """Take over the newest sample of each GPU; the log is not needed again."""
        for key, value in state:
            _, uuid, mig = orjson.loads(key)
            _, time_us, owner, energy_mj = orjson.loads(value)
            self._last[uuid, mig] = LastSample(time_us, owner, energy_mj)
        return None

    def relearn(self, records: Sequence[SourceRecord]) -> None:
        """Nothing is learnt from records that were read before."""

    def apply(self, records: Sequence[SourceRecord]) -> None:
        """Read samples; each record's derived usage depends on it and on the state before it alone."""
        for record in records:
            for segment in segments([record], SAMPLE_KINDS):
                if isinstance(segment, Rows):
                    self._meter(segment)
                elif isinstance(segment, Unusable):
                    self._rejects.add_unusable(segment)

    def snapshot(self, position: int) -> GpuSnapshot:
        """Cut what changed loose."""
        changed = {key: self._last[key] for key in self._changed}
        snapshot = GpuSnapshot(position, changed, self._derived, self._rejects, self._metered)
        self._changed, self._derived, self._rejects, self._metered = set(), [], self._new_rejects(), 0
        return snapshot

    def outgoing(self, snapshot: GpuSnapshot) -> list[OutgoingRecord]:
        """Derived usage, rejected samples, state, position."""
        records = [*snapshot.derived, *snapshot.rejects.outgoing()]
        topic = self._settings.topics.gpu_state
        for (uuid, mig), last in snapshot.changed.items():
            value = orjson.dumps([snapshot.position, last.time_us, last.owner, last.energy_mj])
            records.append(OutgoingRecord(topic, self._partition, orjson.dumps(["gpu", uuid, mig]), value))
        position = orjson.dumps([snapshot.position, describe(self._source)])
        records.append(OutgoingRecord(topic, self._partition, POSITION_KEY, position))
        return records

    def counted(self, snapshot: GpuSnapshot) -> Counted:
        """The samples of the flush by where they ended."""
        rejects = snapshot.rejects
        quarantined = rejects.dead_letters[_FUTURE]
        refused = sum(rejects.dead_letters.values()) - quarantined
        outcomes = {"metered": snapshot.metered, "dead_letter": refused, "quarantined": quarantined}
        return Counted(outcomes | rejects.exclusions, {}, rejects.dead_letters, rejects.exclusions)

    def holdings(self) -> None:
        """Nothing that grows with usage."""

    def _new_rejects(self) -> Rejects:
        return Rejects(self._settings, self._source, self._partition)

    def _meter(self, rows: Rows) -> None:
        batch = rows.batch
        times = integers(batch.column(EVENT_TIME_COLUMN[rows.kind]))
        usable = self._usable(rows, times)
        derived: list[dict[str, object]] = []
        ratios, intervals, energy = _busy_ppm(batch), _interval_us(batch), _energy_mj(batch)
        said = _Said.of(batch, usable)
        for key, chosen in _by_gpu(rows, usable):
            last = self._last.get(key)
            fresh = newest_first_seen(times[chosen], last.time_us if last else -(1 << 62))
            stale = np.setdiff1d(np.arange(len(chosen)), fresh, assume_unique=True)
            if len(stale):
                self._rejects.add_excluded(rows, chosen[stale], Outcome.STALE_SAMPLE)
            chosen = chosen[fresh]
            self._metered += len(chosen)
            if not len(chosen):
                continue
            samples = Samples(
                times[chosen],
                [owner or IDLE for owner in _names(batch.column("tenant_id"), chosen)],
                ratios[chosen],
                intervals[chosen],
                energy[chosen],
                *said.slices(key, chosen),
                said.index[chosen],
            )
            owned, newest = integrate(last, samples, self._window_us)
            if newest is not None:
                self._last[key] = newest
                self._changed.add(key)
            derived.extend(self._usage(said.about(key, piece.about), piece) for piece in owned)
        self._publish(derived, int(rows.offsets[0]) if len(rows.offsets) else 0)

    def _usable(self, rows: Rows, times: I64) -> I64:
        verdict = validate(rows.kind, rows.batch)
        reasons = {row: verdict.reason(row) for row in np.flatnonzero(verdict.codes != 0).tolist()}
        future = (verdict.codes == 0) & (times > rows.log_times_us + self._settings.future_limit_s * 1_000_000)
        for row in np.flatnonzero(future).tolist():
            reasons[row] = (_FUTURE, "the sample's time is ahead of the log")
        if reasons:
            self._rejects.add_rows(rows, reasons)
        usable = (verdict.codes == 0) & ~future
        return np.flatnonzero(usable & ~self._misrouted(rows, usable))

    def _misrouted(self, rows: Rows, usable: np.ndarray) -> np.ndarray:
        """Send samples of GPUs of other partitions there: time that two partitions integrate would be charged twice."""
        gpus, here = rows.batch.column("gpu_uuid"), self._partition
        owners = [partition_for(gpu, self._settings.partitions) if gpu else here for gpu in values_of(gpus)]
        targets = np.array([*owners, here], dtype=np.int32)[codes(gpus)]
        misrouted: np.ndarray = usable & (targets != here)
        if misrouted.any():
            chosen = np.flatnonzero(misrouted)
            self._rejects.add_excluded(rows, chosen, Outcome.REROUTED)
            self._rejects.add_rerouted(rows, chosen, targets)
        return misrouted

    def _usage(self, about: dict[str, object], piece: OwnedTime) -> dict[str, object]:
        return about | {
            "id": f"{about['instance']}@{piece.start_us}",
            "source": f"gpu-meter/{self._partition}",
            "tenant_id": piece.owner,
            "start": piece.start_us,
            "end": piece.end_us,
            "allocated_gpu_seconds": piece.allocated_us,
            "busy_gpu_seconds": piece.busy_us,
            "energy_joules": piece.energy_uj,
            "unobserved_seconds": piece.unobserved_us,
        }

    def _publish(self, usage: list[dict[str, object]], offset: int) -> None:
        by_partition: dict[int, list[dict[str, object]]] = {}
        for row in usage:
            target = partition_for(str(row["tenant_id"]), self._settings.partitions)
            by_partition.setdefault(target, []).append(row)
        topic, kind = self._settings.topics.usage_events, str(Kind.GPU_USAGE)
        for target, rows in sorted(by_partition.items()):
            for part, value in enumerate(encoded_parts(_gpu_usage_batch(rows), encode_batch)):
                # Each part is a source of its own: a number may come only once, or the second part would be a duplicate.
                source = f"gpu-meter/{self._partition}/{part}" if part else f"gpu-meter/{self._partition}"
                headers = BatchHeaders(kind, source, self._source.epoch, offset, Numbering.OFFSET).encode()
                self._derived.append(OutgoingRecord(topic, target, None, value, headers))


@dataclass(frozen=True, slots=True)
class _Said:
    """What the samples of a batch say about their GPUs beside measurements: the distinct sets, and each row's index."""

    distinct: list[dict[str, str | None]]
    index: I64

    @classmethod
    def of(cls, batch: pa.RecordBatch, usable: I64) -> "_Said":
        """Read off the usable rows; the others have index 0."""
        names = (*_ATTRIBUTES, _PROFILE)
        parts = [(codes(batch.column(name))[usable], values_of(batch.column(name))) for name in names]
        mixed = mixed_codes([(column, len(values)) for column, values in parts])
        _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
        distinct = [
            {
                name: values[column[row]] if column[row] >= 0 else None
                for name, (column, values) in zip(names, parts, strict=True)
            }
            for row in first.tolist()
        ]
        index = np.zeros(batch.num_rows, dtype=np.int64)
        index[usable] = inverse
        return cls(distinct, index)

    def slices(self, key: GpuKey, rows: I64) -> tuple[I64, I64]:
        """For each row, how many of how many slices of its board the GPU is: its share of the board's energy."""
        shares = [_slices(said) if key[1] else (1, 1) for said in self.distinct]
        each = np.array(shares, dtype=np.int64)[self.index[rows]]
        return each[:, 0], each[:, 1]

    def about(self, key: GpuKey, index: int) -> dict[str, object]:
        """What usage says about its GPU. A MIG instance is a GPU type of its own."""
        uuid, mig = key
        said = self.distinct[index]
        about: dict[str, object] = {name: said[name] for name in _ATTRIBUTES}
        instance = f"{uuid}/{mig}" if mig else uuid
        about.update(gpu_uuid=uuid, mig_instance_id=mig or None, instance=_bounded(instance, _LONGEST_ID - 20))
        if mig and said[_PROFILE]:
            about["gpu_type"] = _bounded(f"{said['gpu_type']}/{said[_PROFILE]}", _LONGEST_NAME)
        return about


def _bounded(name: str, length: int) -> str:
    """A name that is made of two may be longer than events allow; its end is then replaced by a hash of the whole."""
    if len(name) <= length:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: length - len(digest) - 1]}#{digest}"


def _by_gpu(rows: Rows, usable: I64) -> list[tuple[GpuKey, I64]]:
    """The usable rows of each GPU, in their order."""
    uuids, migs = _names(rows.batch.column("gpu_uuid"), usable), _names(rows.batch.column("mig_instance_id"), usable)
    groups: dict[GpuKey, list[int]] = {}
    for row, uuid, mig in zip(usable.tolist(), uuids, migs, strict=True):
        groups.setdefault((uuid, mig), []).append(row)
    return [(key, np.array(chosen, dtype=np.int64)) for key, chosen in groups.items()]


def _names(column: pa.DictionaryArray, rows: I64) -> list[str]:
    """The text of each chosen row, "" for null; a dictionary may name a value twice."""
    names = [value or "" for value in values_of(column)] + [""]
    return [names[code] for code in codes(column)[rows].tolist()]


def _busy_ppm(batch: pa.RecordBatch) -> I64:
    """The busy ratio in millionths: a measurement turned into an integer once, before anything is computed with it."""
    ratio = np.full(batch.num_rows, np.nan)
    for name in reversed(_SIGNALS):
        values = batch.column(name).to_numpy(zero_copy_only=False)
        ratio = np.where(np.isnan(values), ratio, values)
    return _millionths(ratio, 1.0)


def _interval_us(batch: pa.RecordBatch) -> I64:
    return _millionths(batch.column("interval_s").to_numpy(zero_copy_only=False), 86_400.0)


def _millionths(values: np.ndarray, most: float) -> I64:
    """Measurements as whole millionths; 0 for none, and for what validation refused."""
    good = (values >= 0) & (values <= most)
    scaled: I64 = np.rint(np.where(good, values, 0.0) * 1_000_000).astype(np.int64)
    return scaled


def _energy_mj(batch: pa.RecordBatch) -> I64:
    return integers(batch.column("energy_mj_counter").fill_null(-1))


def _slices(said: Mapping[str, str | None]) -> tuple[int, int]:
    """How many of how many compute slices a MIG profile such as 2g.20gb has: power is measured per board.

    Boards have seven slices, the A30 four (NVIDIA's MIG user guide). A profile that says nothing gets the whole board.
    """
    board = 4 if "A30" in (said["gpu_type"] or "") else 7
    found = _MIG_PROFILE.match(said[_PROFILE] or "")
    return (min(int(found[1]), board), board) if found else (1, 1)


def _gpu_usage_batch(rows: list[dict[str, object]]) -> pa.RecordBatch:
    """Rows with quantities in millionths as a canonical batch."""
    columns = []
    for column in GPU_USAGE:
        values = [row[column.name] for row in rows]
        if pa.types.is_decimal(column.type):
            columns.append(_decimals(values, column.type))
        elif pa.types.is_dictionary(column.type):
            columns.append(pa.array(values, pa.string()).dictionary_encode().cast(column.type))
        else:
            columns.append(pa.array(values, column.type))
    return pa.RecordBatch.from_arrays(columns, schema=GPU_USAGE)


def _decimals(millionths: list[object], kind: pa.DataType) -> pa.Array:
    words = np.zeros((len(millionths), 2), dtype=np.int64)
    words[:, 0] = np.array(millionths, dtype=np.int64)
    return pa.Array.from_buffers(kind, len(millionths), [None, pa.py_buffer(words.tobytes())])
