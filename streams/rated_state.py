"""The totals of one partition and the rated records that follow from them (DESIGN D4, D5).

Lives in the flush: sums read since the last one are merged, the periods they touch are priced anew, and what came out
differently than last emitted is published as absolute totals with the revision of the flush.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from heapq import heappop, heappush

import orjson

from infra.config import Settings
from infra.topics import RegisteredLog
from rating.catalog import EVERYONE, Catalog
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.terms.opening import CARRIED_IN
from schemas.decimals import format_decimal
from schemas.instants import format_instant
from schemas.rated import encode_rated, rated_headers, record_key
from streams.fold import Additions
from streams.levels import LEVEL, LevelBook
from streams.openings import OPENING, Openings
from streams.outcomes import NEVER_US, TimeRules
from streams.rerating import NO_ORDERS, Corrections, Orders
from streams.totals import Totals
from streams.transactions import OutgoingRecord
from streams.unpriced import UnpricedTotals, UnpricedUsage
from streams.wallet_orders import WalletOrder
from streams.wallets import WalletState

_EMITTED = "emitted"
_REVISION_BITS = 40

PeriodKey = tuple[str, str]
"""Tenant and period of service."""
Emitted = tuple[int, str, str | None, str | None, int | None, bool, str | None]
"""What was last published under a key: revision, quantity, amount, card id, card version, provisional, and the allowance
that its line took over from the period before."""


class RatedState:
    """Everything a flush needs to know about the partition's past. Used by one flush at a time."""

    def __init__(self, settings: Settings, source: RegisteredLog, partition: int, rules: TimeRules) -> None:
        """`source`: the log of usage events; its epoch begins every revision."""
        self._settings = settings
        self._source = source
        self._partition = partition
        self._state_topic, self._rated_topic = settings.topics.state, settings.topics.usage_rated
        self._event_source = f"{settings.deployment}/{source.topic}/{partition}"
        self._rules = rules
        self._totals = Totals(rules.window, self._state_topic, partition)
        self._levels = LevelBook()
        self._emitted: dict[PeriodKey, dict[bytes, Emitted]] = {}
        self._periods: dict[PeriodKey, TenantPeriod] = {}
        self._begun: set[str] = set()
        self._generation = -1
        self._watermark_us = NEVER_US
        self._unpriced = UnpricedTotals()
        self._openings = Openings()
        self._corrections = Corrections()
        self.wallets = WalletState(settings, source, partition, rules)

    @property
    def cells(self) -> int:
        """How many totals are held."""
        return self._totals.cells

    @property
    def begun(self) -> list[str]:
        """The kept periods in which the partition's time has stood, for the position record."""
        return sorted(self._begun)

    def restore(self, kind: str, key: list[object], payload: list[object]) -> None:
        """Put back one state entry, as `advance` wrote it."""
        if kind == _EMITTED:
            tenant, period, text = key
            # Written before allowances could go on: no line took over any.
            emitted: Emitted = tuple([*payload, None][:7])  # type: ignore[assignment]
            self._emitted.setdefault((str(tenant), str(period)), {})[str(text).encode()] = emitted
            self._unpriced.note(str(text).encode(), emitted[1])
            return
        if kind == OPENING:
            self._openings.restore(key, payload)
            return
        if kind == LEVEL:
            self._levels.restore(key, payload)
            return
        self._totals.restore(kind, key, payload, self._period)

    def restored(self, catalog: Catalog, watermark_us: int, begun: Iterable[str], orders: Orders = NO_ORDERS) -> None:
        """The state is whole again; what was closed and priced before stays so."""
        self._generation = catalog.generation
        self._watermark_us = watermark_us
        self._begun = set(begun)
        self._unpriced.take_changed()
        self._totals.finish(self._period)
        self._levels.restored(self._periods)
        self._levels.follow(catalog)
        for key in self._emitted:
            self._period(key)
        for key in self._periods:
            # From here on only what differs from this comes out: also a line that a later card makes vanish.
            self.wallets.note(key, self._lines(key, catalog, watermark_us))
        for key in self._corrections.changed(orders):
            self.wallets.note(key, self._corrections.lines(key, self._period(key), catalog))
        self.wallets.restored(watermark_us)

    def advance(
        self,
        position: int,
        watermark_us: int,
        catalog: Catalog,
        additions: Mapping[str, Additions],
        begun: Iterable[str] = (),
        orders: Orders = NO_ORDERS,
        wallets: Iterable[WalletOrder] = (),
    ) -> list[OutgoingRecord]:
        """Take in what was read up to `position`; returns rated records and changed state.

        `begun`: the periods in which the partition's time has stood since the last call. `orders`: the closed months
        that are priced again. `wallets`: what was ordered about prepaid credits.
        """
        records: list[OutgoingRecord] = list(self.wallets.apply(wallets, position))
        self._levels.follow(catalog)
        ordered = self._corrections.changed(orders)
        touched = set(self._add(position, additions, records)) | self._due(watermark_us, catalog, begun) | ordered
        revision = (self._source.epoch << _REVISION_BITS) + position
        queue = sorted(touched)
        while queue:
            key = heappop(queue)
            lines = self._lines(key, catalog, watermark_us)
            if lines or key in ordered:
                lines.extend(self._corrections.lines(key, self._period(key), catalog))
            self.wallets.note(key, lines)
            for line in lines:
                records.extend(self._emit(key, line, position, revision))
            following = self._openings.hand_over(key, self._period(key).handover())
            if following is not None:
                records.append(self._opening_record(following, position))
                if following in self._periods and following not in touched:
                    touched.add(following)
                    heappush(queue, following)
        load = partial(self._all_lines, catalog, watermark_us)
        records.extend(self.wallets.settle(position, watermark_us, revision, load))
        records.extend(self._forget(watermark_us, position))
        self._generation, self._watermark_us = catalog.generation, watermark_us
        return records

    def _opening_record(self, key: PeriodKey, position: int) -> OutgoingRecord:
        """The state record of what a period takes over."""
        state_key, value = self._openings.state(key, position)
        return OutgoingRecord(self._state_topic, self._partition, state_key, value)

    def _lines(self, key: PeriodKey, catalog: Catalog, watermark_us: int, only_changed: bool = True) -> list[RatedLine]:
        """What changed in a period since the last call, with what it takes over from those before it."""
        period = self._period(key)
        period.open_with(self._openings.of(key))
        period.carry(self._levels.opening(key))
        closed = watermark_us >= self._rules.period_closes_us(key[1])
        now = self._rules.window.index_of_us(watermark_us)
        return period.lines(catalog, closed=closed, now=now, only_changed=only_changed)

    def _all_lines(
        self, catalog: Catalog, watermark_us: int, tenant_id: str
    ) -> Iterator[tuple[PeriodKey, list[RatedLine]]]:
        """Every record of a tenant, by period, after the changed ones were taken."""
        for key in [key for key in self._periods if key[0] == tenant_id]:
            lines = self._lines(key, catalog, watermark_us, only_changed=False)
            yield key, [*lines, *self._corrections.lines(key, self._period(key), catalog)]

    def take_unpriced(self) -> list[UnpricedUsage]:
        """The usage without a price of the tenants and meters where it changed since the last call."""
        return self._unpriced.take_changed()

    def _add(
        self, position: int, additions: Mapping[str, Additions], records: list[OutgoingRecord]
    ) -> Iterator[PeriodKey]:
        for booked, table in additions.items():
            for each in table:
                key = (each.key.tenant_id, self._rules.window.period(each.hour))
                records.extend(self._totals.add(each, booked, position, self._period(key)))
                yield key
                if each.custom and self._levels.add(each, key[1], booked):
                    # The level goes on in the periods after this one.
                    yield from ((key[0], later) for later in self._begun if later > key[1])

    def _period(self, key: PeriodKey) -> TenantPeriod:
        period = self._periods.get(key)
        if period is None:
            period = self._periods[key] = TenantPeriod(*key, window=self._rules.window)
        return period

    def _due(self, watermark_us: int, catalog: Catalog, begun: Iterable[str]) -> set[PeriodKey]:
        """Periods to price again although no usage came: prices changed, a period closed, or a fee is owed."""
        repriced = catalog.generation != self._generation
        new = set(begun) - self._begun
        self._begun |= new
        due = set(self._owed(self._begun if repriced else new, catalog)) if repriced or new else set()
        due.update(self._levels_due(watermark_us, everywhere=repriced or bool(new)))
        if repriced:
            return due | self._periods.keys()
        closing = {period for period in {each for _, each in self._periods} if self._closes(period, watermark_us)}
        if closing:
            due.update(key for key in self._periods if key[1] in closing)
        return due

    def _levels_due(self, watermark_us: int, *, everywhere: bool) -> Iterator[PeriodKey]:
        """The periods in which levels go on into windows that have begun since the last call; all periods if `everywhere`."""
        window = self._rules.window
        before, now = window.index_of_us(self._watermark_us), window.index_of_us(watermark_us)
        if now == before and not everywhere:
            return
        reached = [
            each for each in self._begun if everywhere or (window.first(each) <= now and window.last(each) > before)
        ]
        for tenant in self._levels.tenants():
            for period in reached:
                key = (tenant, period)
                if key in self._periods or self._levels.opening(key):
                    yield key

    def _closes(self, period: str, watermark_us: int) -> bool:
        return self._watermark_us < self._rules.period_closes_us(period) <= watermark_us

    def _owed(self, periods: Iterable[str], catalog: Catalog) -> Iterator[PeriodKey]:
        """Of these periods, those of the tenants assigned in them: fees are owed also without usage."""
        window = self._rules.window
        spans = [(period, window.first(period), window.last(period)) for period in periods]
        for assignment in catalog.assignments():
            tenant, begins, ends = assignment.tenant_id, assignment.effective_from_hour, assignment.effective_to_hour
            if tenant == EVERYONE:
                continue
            for period, first, last in spans:
                if begins <= last and (ends is None or first < ends):
                    yield tenant, period

    def _emit(self, key: PeriodKey, line: RatedLine, position: int, revision: int) -> Iterator[OutgoingRecord]:
        start = _instant(line.window_start)
        text = record_key(line.tenant_id, line.sku, line.kind, line.window_kind, start, line.service_period)
        emitted = self._emitted.setdefault(key, {})
        last = emitted.get(text)
        quantity = format_decimal(line.quantity)
        amount = None if line.amount is None else format_decimal(line.amount)
        if last is None and not line.quantity and not line.amount:
            return
        card: tuple[str | None, int | None] = line.card_id, line.card_version
        if not line.quantity and not line.amount:
            # Which card a record had before it fell to nothing goes by when it was last published, not by the log.
            card = None, None
        carried_in = line.dimensions.get(CARRIED_IN) if line.quantity or line.amount else None
        now: Emitted = (revision, quantity, amount, *card, line.provisional, carried_in)
        if last is not None and last[1:] == now[1:]:
            return
        emitted[text] = now
        self._unpriced.note(text, quantity)
        previous = None if last is None else {"revision": last[0], "quantity": last[1], "amount": last[2]}
        value = encode_rated(_content(line, start, now, previous))
        headers = rated_headers(text, revision, self._event_source)
        yield OutgoingRecord(self._rated_topic, self._partition, text, value, headers)
        state_key = orjson.dumps([_EMITTED, *key, text.decode()])
        yield OutgoingRecord(self._state_topic, self._partition, state_key, orjson.dumps([position, *now]))

    def _forget(self, watermark_us: int, position: int) -> Iterator[OutgoingRecord]:
        """Delete the state of periods that closed long ago; usage for them is refused as too late."""
        periods = {period for _, period in self._periods} | self._begun | self._openings.periods()
        gone = {period for period in periods if self._is_gone(period, watermark_us)}
        if not gone:
            return
        self._begun -= gone
        topic = self._state_topic
        for key in [key for key in self._periods if key[1] in gone]:
            for state_key in self._state_keys(key):
                yield OutgoingRecord(topic, self._partition, state_key, None)
        for state_key in self._openings.forget(gone):
            yield OutgoingRecord(topic, self._partition, state_key, None)
        for period in sorted(gone):
            for state_key, left in self._levels.forget(period):
                value = None if left is None else orjson.dumps([position, *left])
                yield OutgoingRecord(topic, self._partition, state_key, value)

    def _state_keys(self, key: PeriodKey) -> Iterator[bytes]:
        """The keys of everything kept about a tenant's period, which is forgotten here."""
        yield from self._totals.forget(key, self._periods.pop(key))
        yield from self._corrections.forget(key)
        for text in self._emitted.pop(key, {}):
            self._unpriced.forget(text)
            yield orjson.dumps([_EMITTED, *key, text.decode()])

    def _is_gone(self, period: str, watermark_us: int) -> bool:
        return watermark_us >= self._rules.period_closes_us(period) + self._rules.kept_us


def _content(line: RatedLine, start: str, now: Emitted, previous: Mapping[str, object] | None) -> dict[str, object]:
    revision, quantity, amount, card_id, card_version, provisional, _ = now
    content: dict[str, object] = {
        "tenant_id": line.tenant_id,
        "sku": line.sku,
        "meter": line.meter,
        "kind": line.kind,
        "window_kind": line.window_kind,
        "window_start": start,
        "window_end": _instant(line.window_end),
        "billing_period": line.billing_period,
        "service_period": line.service_period,
        "quantity": quantity,
        "unit": line.unit,
        "provisional": provisional,
        "dimensions": dict(line.dimensions),
        "revision": revision,
    }
    if amount is not None:
        content["amount"] = amount
    if line.currency is not None:
        content["currency"] = line.currency
    if card_id is not None:
        content["card_id"] = card_id
    if card_version is not None:
        content["card_version"] = card_version
    if line.seller_id is not None:
        content["seller_id"] = line.seller_id
    if previous is not None:
        content["previous"] = previous
    return content


_instant = lru_cache(maxsize=4096)(format_instant)
"""All lines of an hour share its instants."""
