"""One partition of usage: read, judge, fold; and at each flush, price and publish (DESIGN D2 to D8)."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson

from infra.config import Settings
from infra.logs import get_logger
from infra.metrics_recording import Counted, Holdings
from infra.topics import RegisteredLog
from rating.catalog import Catalog
from rating.errors import RatingError
from rating.selectors.choosing import Slot
from rating.skus import is_unpriced, slot_at, unpriced_leaves
from rating.usage import UsageKey
from schemas.control import RateCardActivated, Tick
from schemas.exclusions import Outcome
from schemas.headers import Numbering, header_texts
from schemas.instants import to_microseconds
from schemas.rerating import RerateOrdered
from schemas.wallets import WalletTransferred
from streams.balance import DEAD_LETTER, DUPLICATE, OUTCOMES, REROUTED, UNRATED, Balance, SourceBalance
from streams.columns import codes, values_of
from streams.controls import Controls, tick_source
from streams.decode import USAGE_KINDS, Control, Rows, Unusable, segments
from streams.fold import MAX_ROWS, Additions
from streams.gathering import Gathering
from streams.kernels import I64, U8, unrated_rows
from streams.meters import METERS, leaf_quantities
from streams.numbering import REPEATED, BatchNumbers, SourceNumbers
from streams.outcomes import NEVER_US, Judge, Judged
from streams.processor import SourceRecord
from streams.profiles import row_profiles, used_codes
from streams.rate_snapshot import RateSnapshot, Stretch
from streams.rated_state import RatedState
from streams.rejects import Rejects
from streams.rerating import STATE_KIND, OrderBook, Orders
from streams.restore import POSITION_KEY, describe
from streams.signals import Signals
from streams.transactions import OutgoingRecord
from streams.wallet_orders import WalletOrders, WalletRecord
from streams.wallets import WalletState

log = get_logger(__name__)

_REMEMBERED_MASKS = 100_000
_MOST_STRETCHES = 64
NO_ACCOUNT = 1 << 62
"""In a mask of meters without a price: the tenant has no account at all. No meter has this bit."""
_UNRATED_CODES = ("no_account", "no_price")


class RateProcessor:
    """Implements `Processor`: everything that can change an amount of this partition's tenants passes here in one order."""

    def __init__(self, settings: Settings, source: RegisteredLog, partition: int) -> None:
        """`source`: the log of the usage events."""
        self._settings = settings
        self._source = source
        self._partition = partition
        self._judge = Judge(settings, partition)
        self._controls = Controls(settings, self._judge.rules, partition)
        self._reratings = OrderBook(settings, self._judge.rules, partition)
        self._numbers = BatchNumbers()
        self._balance = Balance()
        self._state = RatedState(settings, source, partition, self._judge.rules)
        self._wallet_orders = WalletOrders(settings, self._judge.rules, partition)
        self._signals = Signals(settings, source, partition)
        self._rejects = Rejects(settings, source, partition)
        self._additions: dict[str, Additions] = {}
        self._stretches: list[Stretch] = []
        self._cut_watermark_us = NEVER_US
        """The watermark at the end of the last stretch."""
        self._masks: dict[tuple[UsageKey, bool, int, Slot], int] = {}
        self._cards: dict[tuple[str, int], tuple[bool, int, Slot]] = {}
        """By tenant and window: whether there is no account, and which card prices."""
        self._masks_generation = -1

    @property
    def heavy(self) -> bool:
        """True when so much is pending that a flush should not wait for the clock."""
        many = len(self._stretches) > _MOST_STRETCHES
        return many or self._rejects.heavy or any(table.rows > MAX_ROWS // 2 for table in self._additions.values())

    def restore(self, state: Iterable[tuple[bytes, bytes]], position: bytes | None) -> int | None:
        """Take over the committed state; the event-id window is learnt again from the log."""
        gaps: list[tuple[str, int, SourceNumbers]] = []
        wallets: list[tuple[str, list[str], list[Any]]] = []
        for key, value in state:
            kind, *key_parts = orjson.loads(key)
            _, *payload = orjson.loads(value)
            if kind == "source":
                contiguous, highest, ranges, unknown_to, given_up = payload
                restored = SourceNumbers(
                    contiguous, highest, [(first, last) for first, last in ranges], unknown_to, given_up
                )
                self._numbers.restore(key_parts[0], key_parts[1], restored)
                gaps.append((key_parts[0], key_parts[1], restored.copy()))
            elif kind == "balance":
                self._balance.restore(key_parts[0], SourceBalance(*payload))
            elif kind in WalletOrders.KINDS:
                self._wallet_orders.restore(kind, key_parts, payload)
            elif kind in WalletState.KINDS:
                wallets.append((kind, key_parts, payload))
            elif kind in self._controls.KINDS:
                self._controls.restore(kind, payload)
            elif kind == STATE_KIND:
                self._reratings.restore(key_parts, payload)
            else:
                self._state.restore(kind, key_parts, payload)
        if position is None:
            return None
        _, _, watermark_us, window_from, oldest_minute, evicted, begun = orjson.loads(position)
        self._judge.restore(watermark_us, oldest_minute, evicted)
        self._cut_watermark_us = watermark_us
        self._signals.restored(gaps, evicted)
        self._state.wallets.begin(self._wallet_orders.known(), wallets)
        self._state.restored(self._controls.catalog, watermark_us, begun, self._reratings.orders)
        return None if window_from is None else int(window_from)

    def relearn(self, records: Sequence[SourceRecord]) -> None:
        """Remember the identities of events that were read before."""
        for segment in segments(records, USAGE_KINDS, control=True):
            if isinstance(segment, Rows):
                self._judge.relearn(segment)

    def apply(self, records: Sequence[SourceRecord]) -> None:
        """Read records in the order of the log."""
        for segment in segments(records, USAGE_KINDS, control=True):
            if isinstance(segment, Rows):
                self._read(segment)
            elif isinstance(segment, Control):
                self._control(segment)
            else:
                self._refuse(segment)

    def snapshot(self, position: int) -> RateSnapshot:
        """Cut everything loose that the flush needs."""
        window = self._judge.window
        self._end_stretch(position, self._controls.catalog, self._reratings.orders)
        snapshot = RateSnapshot(
            position,
            self._judge.watermark_us,
            self._stretches,
            self._controls.take_state(position, self._partition)
            + self._reratings.take_state(position)
            + self._wallet_orders.take_state(position),
            self._numbers.take_changed(),
            self._balance.take_changed(),
            self._balance.take_tally(),
            self._rejects,
            window.first_offset,
            window.oldest_minute,
            window.evicted_minutes,
        )
        self._stretches = []
        self._rejects = Rejects(self._settings, self._source, self._partition)
        return snapshot

    def outgoing(self, snapshot: RateSnapshot) -> list[OutgoingRecord]:
        """Rated records, signals, rejects, changed state, and last the position."""
        position = snapshot.position
        records: list[OutgoingRecord] = []
        for stretch in snapshot.stretches:
            records += self._state.advance(
                stretch.position,
                stretch.watermark_us,
                stretch.catalog,
                stretch.additions,
                stretch.begun,
                stretch.orders,
                stretch.wallets,
            )
        for source, reason in self._state.wallets.take_refused():
            self._refuse_order(source, reason, snapshot.rejects)
        records[:0] = snapshot.rejects.outgoing()
        records += snapshot.controls
        records += self._source_state(snapshot)
        records += self._signals.outgoing(snapshot, self._state.take_unpriced())
        records += self._signals.wallets(snapshot, self._state.wallets.take_reports())
        value = orjson.dumps(
            [
                position,
                describe(self._source),
                snapshot.watermark_us,
                snapshot.window_from,
                snapshot.window_oldest_minute,
                snapshot.evicted_minutes,
                self._state.begun,
            ]
        )
        records.append(OutgoingRecord(self._settings.topics.state, self._partition, POSITION_KEY, value))
        return records

    def counted(self, snapshot: RateSnapshot) -> Counted:
        """The tally of the flush."""
        tally, rejects = snapshot.tally, snapshot.rejects
        unrated = {code: tally.codes[code] for code in _UNRATED_CODES if code in tally.codes}
        return Counted(
            dict(zip(OUTCOMES, tally.outcomes, strict=True)), unrated, rejects.dead_letters, rejects.exclusions
        )

    def holdings(self) -> Holdings:
        """Totals, duplicate window, watermark and gaps."""
        window, watermark_us = self._judge.window, self._judge.watermark_us
        return Holdings(
            watermark_us if watermark_us != NEVER_US else None,
            self._state.cells,
            window.bytes,
            len(window),
            window.evicted_minutes,
            self._signals.missing_batches,
        )

    def _source_state(self, snapshot: RateSnapshot) -> Iterable[OutgoingRecord]:
        topic = self._settings.topics.state
        for (source, epoch), numbers in snapshot.numbers.items():
            known = [numbers.contiguous, numbers.highest, numbers.gaps, numbers.unknown_to, numbers.given_up]
            value = orjson.dumps([snapshot.position, *known])
            yield OutgoingRecord(topic, self._partition, orjson.dumps(["source", source, epoch]), value)
        for source, balance in snapshot.balance.items():
            value = orjson.dumps([snapshot.position, balance.outcomes, balance.codes])
            yield OutgoingRecord(topic, self._partition, orjson.dumps(["balance", source]), value)

    def _read(self, rows: Rows) -> None:
        # The number counts also of a batch without rows: or it would be missing.
        repeated = self._is_repeated(rows)
        if rows.batch.num_rows == 0:
            return
        judged = self._judge.judge_repeated(rows) if repeated else self._judge.judge(rows)
        unpriced = self._fold(rows, judged)
        source = rows.batch.column("source")
        names, source_codes = values_of(source), codes(source)
        reasons = ((row, code) for row, (code, _) in judged.reasons.items())
        self._balance.count_rows(names, source_codes, judged.outcomes, reasons)
        for code, positions in unpriced.items():
            self._balance.count_code(names, source_codes, positions, code)
        self._reject(rows, judged)

    def _is_repeated(self, rows: Rows) -> bool:
        numbered = rows.numbered
        if numbered is None:
            return False
        contiguous = numbered.numbering == Numbering.SEQUENCE
        return self._numbers.accept(numbered.source, numbered.epoch, numbered.number, contiguous=contiguous) == REPEATED

    def _fold(self, rows: Rows, judged: Judged) -> dict[str, I64]:
        """Add the accepted rows to their usage keys; returns those that use a meter without a price, by code."""
        unrated: dict[str, I64] = {}
        if not judged.booked:
            return unrated
        quantities = leaf_quantities(rows.kind, rows.batch)
        profiles = row_profiles(rows.kind, rows.batch, self._settings.context_edges)
        tenants = rows.batch.column("tenant_id")
        names, tenant_codes = values_of(tenants), codes(tenants)
        asked, window_us = self._controls.catalog.gathered_from, self._judge.rules.window.microseconds
        gathering = Gathering(rows.kind, rows.batch, judged.hours, asked, window_us)
        for booked, wanted in judged.booked.items():
            table = self._additions.get(booked)
            if table is None:
                table = self._additions[booked] = Additions(METERS)
            by_code = np.zeros(len(names) + 1, dtype=np.int64)
            for code in used_codes(tenant_codes, wanted, len(names)):
                by_code[code] = table.tenant_code(names[code] or "")
            profile_codes = profiles.codes(table, wanted)
            slots = table.slots(by_code[tenant_codes], profile_codes, judged.hours, wanted, self._unpriced)
            table.add(slots, quantities)
            unpriced = np.zeros(len(slots), dtype=np.uint8)
            unrated_rows(slots, quantities, table.unpriced, unpriced)
            gathering.leaves(wanted, slots, quantities, table)
            self._price_units(gathering.units(wanted, slots, table), table, slots, unpriced)
            if unpriced.any():
                self._note_unrated(judged, table, slots, np.flatnonzero(unpriced), unrated)
        return unrated

    def _price_units(self, units: dict[int, dict[str, int]], table: Additions, slots: np.ndarray, unpriced: U8) -> None:
        """Mark the rows that use a custom meter without a price."""
        known: dict[tuple[int, str], bool] = {}
        for row, meters in units.items():
            slot = int(slots[row])
            for name, quantity in meters.items():
                place = (slot, name)
                if place not in known:
                    known[place] = is_unpriced(self._controls.catalog, *table.key(slot), name)
                if quantity and known[place]:
                    unpriced[row] = 1

    @staticmethod
    def _note_unrated(
        judged: Judged, table: Additions, slots: np.ndarray, positions: I64, unrated: dict[str, I64]
    ) -> None:
        judged.outcomes[positions] = UNRATED
        without_account = (table.unpriced[slots[positions]] & NO_ACCOUNT) != 0
        for code, chosen in zip(_UNRATED_CODES, (without_account, ~without_account), strict=True):
            if chosen.any():
                known = unrated.get(code, np.empty(0, dtype=np.int64))
                unrated[code] = np.concatenate([known, positions[chosen]])

    def _unpriced(self, key: UsageKey, hour: int) -> int:
        catalog = self._controls.catalog
        if catalog.generation != self._masks_generation or len(self._masks) + len(self._cards) > _REMEMBERED_MASKS:
            self._masks, self._cards, self._masks_generation = {}, {}, catalog.generation
        place = (key.tenant_id, hour)
        priced_by = self._cards.get(place)
        if priced_by is None:
            account = catalog.assignment_at(*place)
            card = catalog.card_at(*place)
            priced_by = self._cards[place] = (account is None, id(card), slot_at(card, hour, catalog.window))
        # One card prices all hours of its span with one slot alike, so the answer is remembered by card and slot.
        mask = self._masks.get((key, *priced_by))
        if mask is None:
            mask = unpriced_leaves(catalog, key, hour) | (NO_ACCOUNT if priced_by[0] else 0)
            self._masks[(key, *priced_by)] = mask
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
        if not unusable.control:
            self._balance.count(unusable.source, DEAD_LETTER, 1, {unusable.code: 1})
        self._rejects.add_unusable(unusable)

    def _control(self, control: Control) -> None:
        record = control.record
        if isinstance(record, Tick):
            self._tick(control.source, to_microseconds(record.time))
            return
        before, orders = self._controls.catalog, self._reratings.orders
        try:
            if isinstance(record, RateCardActivated):
                self._controls.activate(record, self._judge.watermark_us)
            elif isinstance(record, WalletOrders.RECORDS):
                self._order_credits(record, control.source)
            elif isinstance(record, RerateOrdered):
                self._reratings.order(record, before, self._judge.watermark_us)
            else:
                self._controls.assign(record, self._judge.watermark_us)
        except RatingError as error:
            self._refuse_order(control.source, str(error), self._rejects)
            return
        changed = self._controls.catalog is not before or self._reratings.orders is not orders
        if changed and (self._additions or self._judge.watermark_us != self._cut_watermark_us):
            # What was read before is priced by the catalog of its time first: where a flush falls must not show.
            self._end_stretch(control.source.offset - 1, before, orders)

    def _refuse_order(self, source: SourceRecord, reason: str, rejects: Rejects) -> None:
        log.error("control.refused", partition=self._partition, offset=source.offset, reason=reason)
        rejects.add_unusable(Unusable(source, "", "invalid_control", reason, control=True))

    def _order_credits(self, record: WalletRecord, source: SourceRecord) -> None:
        """Take in an order about prepaid credits. A transfer is decided by what is left here: so a stretch ends before it."""
        if isinstance(record, WalletTransferred):
            self._end_stretch(source.offset - 1, self._controls.catalog, self._reratings.orders)
        self._wallet_orders.order(record, self._judge.watermark_us, source)

    def _tick(self, source: SourceRecord, time_us: int) -> None:
        """Let time go on, no further ahead of the log than an event may be.

        A worker's own tick does not begin a partition's time: before the first event nothing can close, and a deployment
        that waited for its first events may be given those of an earlier year.
        """
        own = header_texts(source.headers).get("ce_source") == tick_source(self._settings)
        if not own or self._judge.watermark_us != NEVER_US:
            self._judge.tick(min(time_us, source.log_time_us + self._judge.rules.future_us))

    def _end_stretch(self, position: int, catalog: Catalog, orders: Orders) -> None:
        self._cut_watermark_us = self._judge.watermark_us
        self._stretches.append(
            Stretch(
                position,
                self._judge.watermark_us,
                catalog,
                self._additions,
                self._judge.take_begun(),
                orders,
                self._wallet_orders.take(),
            )
        )
        self._additions = {}
