"""The totals of one partition and the rated records that follow from them (DESIGN D4, D5).

Lives in the flush: sums read since the last one are merged, the periods they touch are priced anew, and what came out
differently than last emitted is published as absolute totals with the revision of the flush.
"""

from collections.abc import Iterator, Mapping

import orjson

from infra.config import Settings
from infra.topics import RegisteredLog
from rating.catalog import EVERYONE, Catalog
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.usage import UsageKey
from schemas.decimals import format_decimal
from schemas.instants import format_instant
from schemas.rated import encode_rated, rated_headers, record_key
from streams.fold import Additions
from streams.outcomes import NEVER_US, TimeRules
from streams.quantities import merged, named_quantities
from streams.transactions import OutgoingRecord

_USAGE, _EMITTED = "usage", "emitted"
_REVISION_BITS = 40

PeriodKey = tuple[str, str]
"""Tenant and period of service."""
Cell = tuple[UsageKey, int, str]
"""Where usage is counted: key, window, and the period it is booked in ("" when it came before its own closed)."""
Emitted = tuple[int, str, str | None, str | None, int | None, bool]
"""What was last published under a key: revision, quantity, amount, card id, card version, provisional."""
Total = tuple[list[int], dict[str, int]]
"""The leaf meters in their smallest units, and custom meters in billionths."""


class RatedState:
    """Everything a flush needs to know about the partition's past. Used by one flush at a time."""

    def __init__(self, settings: Settings, source: RegisteredLog, partition: int, rules: TimeRules) -> None:
        """`source`: the log of usage events; its epoch begins every revision."""
        self._settings = settings
        self._source = source
        self._partition = partition
        self._rules = rules
        self._totals: dict[PeriodKey, dict[Cell, Total]] = {}
        self._emitted: dict[PeriodKey, dict[bytes, Emitted]] = {}
        self._periods: dict[PeriodKey, TenantPeriod] = {}
        self._generation = -1
        self._watermark_us = NEVER_US
        self._unpriced: list[RatedLine] = []

    def restore(self, kind: str, key: list[object], payload: list[object]) -> None:
        """Put back one state entry, as `advance` wrote it."""
        if kind == _USAGE:
            *key_parts, hour, booked = key
            meters, custom = payload
            usage_key = UsageKey(*key_parts)  # type: ignore[arg-type]
            self._merge(usage_key, int(hour), str(booked), list(meters), dict(custom))  # type: ignore[call-overload]
        elif kind == _EMITTED:
            tenant, period, text = key
            self._emitted.setdefault((str(tenant), str(period)), {})[str(text).encode()] = tuple(payload)  # type: ignore[assignment]

    def restored(self, catalog: Catalog, watermark_us: int) -> None:
        """The state is whole again; what was closed and priced before stays so."""
        self._generation = catalog.generation
        self._watermark_us = watermark_us
        for (_, period), state in self._periods.items():
            # From here on only what differs from this comes out: also a line that a later card makes vanish.
            state.lines(catalog, closed=watermark_us >= self._rules.period_closes_us(period))

    def advance(
        self, position: int, watermark_us: int, catalog: Catalog, additions: Mapping[str, Additions]
    ) -> list[OutgoingRecord]:
        """Take in what was read up to `position`; returns rated records and changed state."""
        records: list[OutgoingRecord] = []
        touched = set(self._add(position, additions, records))
        touched |= self._newly_due(watermark_us, catalog)
        revision = (self._source.epoch << _REVISION_BITS) + position
        for key in sorted(touched):
            closed = watermark_us >= self._rules.period_closes_us(key[1])
            for line in self._period(key).lines(catalog, closed=closed):
                records.extend(self._emit(key, line, position, revision))
        records.extend(self._forget(watermark_us))
        self._generation, self._watermark_us = catalog.generation, watermark_us
        return records

    def take_unpriced(self) -> list[RatedLine]:
        """The lines of usage without a price that were published since the last call."""
        unpriced, self._unpriced = self._unpriced, []
        return unpriced

    def _add(
        self, position: int, additions: Mapping[str, Additions], records: list[OutgoingRecord]
    ) -> Iterator[PeriodKey]:
        topic = self._settings.topics.state
        for booked, table in additions.items():
            for added in table:
                key, total = self._merge(added.key, added.hour, booked, added.meters, added.custom)
                state_key = orjson.dumps([_USAGE, *added.key, added.hour, booked])
                records.append(OutgoingRecord(topic, self._partition, state_key, orjson.dumps([position, *total])))
                yield key

    def _merge(
        self, usage_key: UsageKey, hour: int, booked: str, meters: list[int], custom: dict[str, int]
    ) -> tuple[PeriodKey, Total]:
        key = (usage_key.tenant_id, self._rules.window.period(hour))
        cells = self._totals.setdefault(key, {})
        cell = (usage_key, hour, booked)
        cells[cell] = total = merged(cells.get(cell), (meters, custom))
        self._period(key).add(usage_key, hour, booked or None, named_quantities(meters, custom))
        return key, total

    def _period(self, key: PeriodKey) -> TenantPeriod:
        period = self._periods.get(key)
        if period is None:
            period = self._periods[key] = TenantPeriod(*key, window=self._rules.window)
        return period

    def _newly_due(self, watermark_us: int, catalog: Catalog) -> set[PeriodKey]:
        """Periods to price again although no usage came: prices changed, a period closed, or a fee is owed."""
        due: set[PeriodKey] = set()
        if watermark_us == NEVER_US:
            return due
        new_period = self._watermark_us == NEVER_US or self._rules.open_period(
            self._watermark_us
        ) != self._rules.open_period(watermark_us)
        if catalog.generation != self._generation or new_period:
            due.update(self._owed(watermark_us, catalog))
        if catalog.generation != self._generation:
            due |= self._periods.keys()
        for key in self._periods:
            closes = self._rules.period_closes_us(key[1])
            if self._watermark_us < closes <= watermark_us:
                due.add(key)
        return due

    def _owed(self, watermark_us: int, catalog: Catalog) -> Iterator[PeriodKey]:
        """The periods of assigned tenants, from the assignment on up to the watermark, as far as state is kept."""
        window = self._rules.window
        now = window.index_of_us(watermark_us)
        oldest = max(self._rules.oldest_kept_hour(watermark_us), 0)
        for assignment in catalog.assignments():
            if assignment.tenant_id == EVERYONE:
                continue
            hour = max(assignment.effective_from_hour, oldest)
            end = now + 1 if assignment.effective_to_hour is None else min(assignment.effective_to_hour, now + 1)
            while hour < end:
                period = window.period(hour)
                yield assignment.tenant_id, period
                hour = window.last(period) + 1

    def _emit(self, key: PeriodKey, line: RatedLine, position: int, revision: int) -> Iterator[OutgoingRecord]:
        start = format_instant(line.window_start)
        text = record_key(line.tenant_id, line.sku, line.kind, line.window_kind, start, line.service_period)
        emitted = self._emitted.setdefault(key, {})
        last = emitted.get(text)
        quantity = format_decimal(line.quantity)
        amount = None if line.amount is None else format_decimal(line.amount)
        if last is None and not line.quantity and not line.amount:
            return
        now: Emitted = (revision, quantity, amount, line.card_id, line.card_version, line.provisional)
        if last is not None and last[1:] == now[1:]:
            return
        emitted[text] = now
        if line.kind == "unrated":
            self._unpriced.append(line)
        previous = None if last is None else {"revision": last[0], "quantity": last[1], "amount": last[2]}
        value = encode_rated(_content(line, start, quantity, amount, revision, previous))
        headers = rated_headers(text, revision, f"{self._settings.deployment}/{self._source.topic}/{self._partition}")
        yield OutgoingRecord(self._settings.topics.usage_rated, self._partition, text, value, headers)
        state_key = orjson.dumps([_EMITTED, *key, text.decode()])
        yield OutgoingRecord(self._settings.topics.state, self._partition, state_key, orjson.dumps([position, *now]))

    def _forget(self, watermark_us: int) -> Iterator[OutgoingRecord]:
        """Delete the state of periods that closed long ago; usage for them is refused as too late."""
        topic = self._settings.topics.state
        for key in [key for key in self._periods if self._is_gone(key, watermark_us)]:
            for usage_key, hour, booked in self._totals.pop(key, {}):
                state_key = orjson.dumps([_USAGE, *usage_key, hour, booked])
                yield OutgoingRecord(topic, self._partition, state_key, None)
            for text in self._emitted.pop(key, {}):
                yield OutgoingRecord(topic, self._partition, orjson.dumps([_EMITTED, *key, text.decode()]), None)
            del self._periods[key]

    def _is_gone(self, key: PeriodKey, watermark_us: int) -> bool:
        return watermark_us >= self._rules.period_closes_us(key[1]) + self._rules.kept_us


def _content(
    line: RatedLine,
    start: str,
    quantity: str,
    amount: str | None,
    revision: int,
    previous: Mapping[str, object] | None,
) -> dict[str, object]:
    content: dict[str, object] = {
        "tenant_id": line.tenant_id,
        "sku": line.sku,
        "meter": line.meter,
        "kind": line.kind,
        "window_kind": line.window_kind,
        "window_start": start,
        "window_end": format_instant(line.window_end),
        "billing_period": line.billing_period,
        "service_period": line.service_period,
        "quantity": quantity,
        "unit": line.unit,
        "provisional": line.provisional,
        "dimensions": dict(line.dimensions),
        "revision": revision,
    }
    optional = {
        "amount": amount,
        "currency": line.currency,
        "card_id": line.card_id,
        "card_version": line.card_version,
        "seller_id": line.seller_id,
        "previous": previous,
    }
    content.update((name, value) for name, value in optional.items() if value is not None)
    return content
