"""What a stage of the stream has to offer so that a partition can be run exactly once (DESIGN D3, D4)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from infra.metrics_recording import Counted, Holdings
from streams.transactions import OutgoingRecord

SnapshotT = TypeVar("SnapshotT")


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One record of the source log, as the broker gave it; `log_time_us` is the record's own timestamp in microseconds."""

    offset: int
    log_time_us: int
    key: bytes | None
    value: bytes
    headers: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class StateRecord:
    """One record of the state topic: `position` is the source offset whose prefix it belongs to; `value` None deletes."""

    key: bytes
    value: bytes | None


class Processor(Protocol[SnapshotT]):
    """A deterministic function of a log prefix: restored, fed with records in offset order, and asked for its changes.

    `apply` and `snapshot` run on the event loop, `outgoing` in a thread, one call at a time, in the order of the snapshots.
    """

    def restore(self, state: Iterable[tuple[bytes, bytes]], position: bytes | None) -> int | None:
        """Take over the committed state: entries as key and value, and the position record's value.

        Returns the first offset from which `relearn` wants to see the log again, None if from nowhere.
        """

    def relearn(self, records: Sequence[SourceRecord]) -> None:
        """See records at or below the position again, for what is not kept in the state."""

    def apply(self, records: Sequence[SourceRecord]) -> None:
        """Read the next records of the log; nothing that one of them holds may raise."""

    def snapshot(self, position: int) -> SnapshotT:
        """Everything that changed since the last snapshot, cut loose from what `apply` goes on changing."""

    def outgoing(self, snapshot: SnapshotT) -> list[OutgoingRecord]:
        """The records that a flush writes: results, state, and last the position record."""

    def counted(self, snapshot: SnapshotT) -> Counted:
        """Where the rows of a flush ended, for the metrics."""

    def holdings(self) -> Holdings | None:
        """What the partition holds, for the metrics; called on the event loop, and never beside `outgoing`."""

    @property
    def heavy(self) -> bool:
        """True when so much is pending that a flush should not wait for the clock."""


@dataclass(frozen=True, slots=True)
class Pending(Generic[SnapshotT]):
    """A snapshot under way to the broker."""

    snapshot: SnapshotT
    position: int
