"""One partition of usage: read, judge, fold; and at each flush, price and publish (DESIGN D2 to D8)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from infra.config import Settings
from infra.logs import get_logger
from infra.topics import RegisteredLog
from rating.catalog import Catalog
from rating.errors import RatingError
from rating.skus import is_unpriced, unpriced_leaves
from rating.usage import UsageKey
from schemas.control import AccountAssigned, RateCardActivated, Tick
from schemas.exclusions import Outcome
from schemas.headers import Numbering
from schemas.instants import to_microseconds
from streams.balance import DEAD_LETTER, DUPLICATE, REROUTED, UNRATED, Balance, SourceBalance
from streams.columns import codes, values_of
from streams.controls import Controls
from streams.custom_units import custom_units
from streams.decode import USAGE_KINDS, Control, Rows, Unusable, segments
from streams.fold import MAX_ROWS, Additions
from streams.kernels import U8, unrated_rows
from streams.meters import METERS, leaf_quantities
from streams.numbering import REPEATED, BatchNumbers, SourceNumbers
from streams.outcomes import NEVER_US, Judge, Judged
from streams.processor import SourceRecord
from streams.profiles import row_profiles
from streams.rated_state import RatedState
from streams.rejects import Rejects
from streams.restore import POSITION_KEY, describe
from streams.signals import Signals
from streams.transactions import OutgoingRecord

log = get_logger(__name__)

_REMEMBERED_MASKS = 100_000


@dataclass(slots=True)
class RateSnapshot:
    """What was read since the last flush, cut loose from what reading goes on changing."""

    position: int
    watermark_us: int
    catalog: Catalog
    controls: list[OutgoingRecord]
    additions: dict[str, Additions]
    """By the period the usage is booked in; "" for usage that came before its period closed."""
    numbers: dict[tuple[str, int], SourceNumbers]
    balance: dict[str, SourceBalance]
    rejects: Rejects
    window_from: int | None
    window_oldest_hour: int
    evicted_hours: int


class RateProcessor:
    """Implements `Processor`: everything that can change an amount of this partition's tenants passes here in one order."""

    def __init__(self, settings: Settings, source: RegisteredLog, partition: int) -> None:
        """`source`: the log of the usage events."""
        self._settings = settings
        self._source = source
        self._partition = partition
        self._judge = Judge(settings, partition)
        self._controls = Controls(settings, self._judge.rules)
        self._numbers = BatchNumbers()
        self._balance = Balance()
        self._state = RatedState(settings, source, partition, self._judge.rules)
        self._signals = Signals(settings, source, partition)
        self._rejects = Rejects(settings, source, partition)
        self._additions: dict[str, Additions] = {}
        self._masks: dict[tuple[UsageKey, int], int] = {}
        self._masks_generation = -1

    @property
    def heavy(self) -> bool:
        """True when so much is pending that a flush should not wait for the clock."""
        return self._rejects.heavy or any(table.rows > MAX_ROWS // 2 for table in self._additions.values())

    def restore(self, state: Iterable[tuple[bytes, bytes]], position: bytes | None) -> int | None:
        """Take over the committed state; the event-id window is learnt again from the log."""
        for key, value in state:
            kind, *key_parts = orjson.loads(key)
            _, *payload = orjson.loads(value)
            if kind == "source":
                contiguous, highest, gaps = payload
                restored = SourceNumbers(contiguous, highest, [(first, last) for first, last in gaps])
                self._numbers.restore(key_parts[0], key_parts[1], restored)
            elif kind == "balance":
                self._balance.restore(key_parts[0], SourceBalance(*payload))
            elif kind in self._controls.KINDS:
                self._controls.restore(kind, payload)
            else:
                self._state.restore(kind, key_parts, payload)
        if position is None:
            return None
        _, _, watermark_us, window_from, oldest_hour, evicted = orjson.loads(position)
        if watermark_us != NEVER_US:
            self._judge.advance(watermark_us)
        self._judge.window.forget_before(oldest_hour)
        self._judge.window.evicted_hours = evicted
        self._state.restored(self._controls.catalog, watermark_us)
        return None if window_from is None else int(window_from)

    def relearn(self, records: Sequence[SourceRecord]) -> None:
        """Remember the identities of events that were read before."""
        for segment in segments(records, USAGE_KINDS):
            if isinstance(segment, Rows):
                self._judge.relearn(segment)

    def apply(self, records: Sequence[SourceRecord]) -> None:
        """Read records in the order of the log."""
        for segment in segments(records, USAGE_KINDS):
            if isinstance(segment, Rows):
                self._read(segment)
            elif isinstance(segment, Control):
                self._control(segment)
            else:
                self._refuse(segment)

    def snapshot(self, position: int) -> RateSnapshot:
        """Cut everything loose that the flush needs."""
        window = self._judge.window
        snapshot = RateSnapshot(
            position,
            self._judge.watermark_us,
            self._controls.catalog,
            self._controls.take_state(position, self._partition),
            self._additions,
            self._numbers.take_changed(),
            self._balance.take_changed(),
            self._rejects,
            window.first_offset,
            window.oldest_hour,
            window.evicted_hours,
        )
        self._additions = {}
        self._rejects = Rejects(self._settings, self._source, self._partition)
        return snapshot

    def outgoing(self, snapshot: RateSnapshot) -> list[OutgoingRecord]:
        """Rated records, signals, rejects, changed state, and last the position."""
        position = snapshot.position
        records = list(snapshot.rejects.outgoing())
        records += self._state.advance(position, snapshot.watermark_us, snapshot.catalog, snapshot.additions)
        records += snapshot.controls
        records += self._source_state(snapshot)
        records += self._signals.outgoing(snapshot, self._state.take_unpriced())
        value = orjson.dumps(
            [
                position,
                describe(self._source),
                snapshot.watermark_us,
                snapshot.window_from,
                snapshot.window_oldest_hour,
                snapshot.evicted_hours,
            ]
        )
        records.append(OutgoingRecord(self._settings.topics.state, self._partition, POSITION_KEY, value))
        return records

    def _source_state(self, snapshot: RateSnapshot) -> Iterable[OutgoingRecord]:
        topic = self._settings.topics.state
        for (source, epoch), numbers in snapshot.numbers.items():
            value = orjson.dumps([snapshot.position, numbers.contiguous, numbers.highest, numbers.gaps])
            yield OutgoingRecord(topic, self._partition, orjson.dumps(["source", source, epoch]), value)
        for source, balance in snapshot.balance.items():
            value = orjson.dumps([snapshot.position, balance.outcomes, balance.codes])
            yield OutgoingRecord(topic, self._partition, orjson.dumps(["balance", source]), value)

    def _read(self, rows: Rows) -> None:
        if rows.batch.num_rows == 0:
            return
        if self._is_repeated(rows):
            self._exclude_all(rows)
            return
        judged = self._judge.judge(rows)
        self._fold(rows, judged)
        source = rows.batch.column("source")
        self._balance.count_rows(
            values_of(source),
            codes(source),
            judged.outcomes,
            ((row, code) for row, (code, _) in judged.reasons.items()),
        )
        self._reject(rows, judged)

    def _is_repeated(self, rows: Rows) -> bool:
        numbered = rows.numbered
        if numbered is None:
            return False
        contiguous = numbered.numbering == Numbering.SEQUENCE
        return self._numbers.accept(numbered.source, numbered.epoch, numbered.number, contiguous=contiguous) == REPEATED

    def _exclude_all(self, rows: Rows) -> None:
        every = np.arange(rows.batch.num_rows)
        source = rows.batch.column("source")
        outcomes = np.full(len(every), DUPLICATE, dtype=np.uint8)
        self._balance.count_rows(values_of(source), codes(source), outcomes, ())
        self._rejects.add_excluded(rows, every, Outcome.DUPLICATE)

    def _fold(self, rows: Rows, judged: Judged) -> None:
        """Add the accepted rows to their usage keys, and tell which of them use a meter without a price."""
        if not judged.booked:
            return
        quantities = leaf_quantities(rows.kind, rows.batch)
        profiles = row_profiles(rows.kind, rows.batch, self._settings.context_edges)
        tenants = rows.batch.column("tenant_id")
        names, tenant_codes = values_of(tenants), codes(tenants)
        units = custom_units(rows.kind, rows.batch)
        for booked, wanted in judged.booked.items():
            table = self._additions.get(booked)
            if table is None:
                table = self._additions[booked] = Additions(METERS)
            by_code = np.array([table.tenant_code(name or "") for name in names] + [0], dtype=np.int64)
            slots = table.slots(by_code[tenant_codes], profiles.codes(table), judged.hours, wanted, self._unpriced)
            table.add(slots, quantities)
            unpriced = np.zeros(len(slots), dtype=np.uint8)
            unrated_rows(slots, quantities, table.unpriced, unpriced)
            self._fold_units(units, table, slots, unpriced)
            judged.outcomes[unpriced != 0] = UNRATED

    def _fold_units(self, units: dict[int, dict[str, int]], table: Additions, slots: np.ndarray, unpriced: U8) -> None:
        for row, meters in units.items():
            slot = int(slots[row])
            if slot < 0:
                continue
            key, hour = table.key(slot)
            for name, quantity in meters.items():
                table.add_custom(slot, name, quantity)
                if quantity and is_unpriced(self._controls.catalog, key, hour, name):
                    unpriced[row] = 1

    def _unpriced(self, key: UsageKey, hour: int) -> int:
        catalog = self._controls.catalog
        if catalog.generation != self._masks_generation or len(self._masks) > _REMEMBERED_MASKS:
            self._masks, self._masks_generation = {}, catalog.generation
        # One card prices all hours of its span alike, so the answer is remembered by card.
        priced_by = (key, id(catalog.card_at(key.tenant_id, hour)))
        mask = self._masks.get(priced_by)
        if mask is None:
            mask = self._masks[priced_by] = unpriced_leaves(catalog, key, hour)
        return mask

    def _reject(self, rows: Rows, judged: Judged) -> None:
        duplicates = np.flatnonzero(judged.outcomes == DUPLICATE)
        if len(duplicates):
            self._rejects.add_excluded(rows, duplicates, Outcome.DUPLICATE)
        if judged.targets is not None:
            rerouted = np.flatnonzero(judged.outcomes == REROUTED)
            self._rejects.add_excluded(rows, rerouted, Outcome.REROUTED)
            self._rejects.add_rerouted(rows, rerouted, judged.targets)
        if judged.reasons:
            self._rejects.add_rows(rows, judged.reasons)

    def _refuse(self, unusable: Unusable) -> None:
        self._balance.count(unusable.source or "unknown", DEAD_LETTER, 1, {unusable.code: 1})
        self._rejects.add_unusable(unusable)

    def _control(self, control: Control) -> None:
        record = control.record
        try:
            if isinstance(record, RateCardActivated):
                self._controls.activate(record, self._judge.watermark_us)
            elif isinstance(record, AccountAssigned):
                self._controls.assign(record, self._judge.watermark_us)
            elif isinstance(record, Tick):
                self._tick(control, to_microseconds(record.time))
                return
        except RatingError as error:
            log.error("control.refused", partition=self._partition, offset=control.source.offset, reason=str(error))
            self._rejects.add_unusable(Unusable(control.source, "control", "invalid_control", str(error)))
            return
        for table in self._additions.values():
            table.refresh_prices(self._unpriced)

    def _tick(self, control: Control, time_us: int) -> None:
        """A tick moves time, but no further ahead of the log than an event may be."""
        self._judge.advance(min(time_us, control.source.log_time_us + self._judge.rules.future_us))
