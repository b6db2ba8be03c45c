"""The prepaid credits of a partition's tenants: which debits follow from its rated records (docs/decisions/009-wallets.md).

Lives in the flush, after the rated records of a stretch: they come in by `note`, and `settle` publishes the debits that
came out differently than last time, as absolute totals with the revision of the stretch.
"""

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

import orjson

from infra.config import Settings
from infra.topics import RegisteredLog
from rating.errors import WalletError
from rating.rated import RatedLine
from rating.wallets import GrantSums, Wallet, WalletReport, reports
from rating.windows import period_of
from schemas.decimals import format_decimal
from schemas.instants import format_instant, from_microseconds
from schemas.rated import encode_rated, rated_headers, record_key
from streams.outcomes import NEVER_US, TimeRules
from streams.processor import SourceRecord
from streams.transactions import OutgoingRecord
from streams.wallet_orders import Granted, Transferred, Voided, WalletOrder, gone_through
from streams.wallet_records import line_document, line_of, receivers_grants
from streams.wallet_signals import Told

_CREDIT, _WALLET, _OWED, _MOVED = "credit", "wallet", "owed", "moved"
PeriodKey = tuple[str, str]
"""A tenant, and the period whose rating gave a record."""
Emitted = tuple[int, str, str, bool, dict[str, str], str | None, int | None]
"""What was last published as a debit: revision, quantity, amount, provisional, dimensions, card id, card version."""
Load = Callable[[str], Iterable[tuple[PeriodKey, Iterable[RatedLine]]]]
"""Every rated record of a tenant, as it stands, by the period whose rating gave it."""


class WalletState:
    """The wallets of one partition. Used by one flush at a time."""

    KINDS = frozenset({_CREDIT, _WALLET, _OWED, _MOVED})

    def __init__(self, settings: Settings, source: RegisteredLog, partition: int, rules: TimeRules) -> None:
        """`source`: the log of usage events."""
        self._settings = settings
        self._partition = partition
        self._rules = rules
        self._event_source = f"{settings.deployment}/{source.topic}/{partition}"
        self._wallets: dict[str, Wallet] = {}
        self._new: dict[str, str] = {}
        """Tenants whose first grant came: their records are not in their wallets yet. With the period gone by then."""
        self._touched: set[str] = set()
        self._next: dict[str, int] = {}
        """By tenant: when to look again although nothing came, in microseconds: a grant begins or ends, a period closes."""
        self._late: dict[PeriodKey, dict[object, RatedLine]] = {}
        """Records that stand in a later billing period than that whose rating gave them."""
        self._emitted: dict[tuple[str, str], dict[bytes, Emitted]] = {}
        """By tenant and billing period."""
        self._owed: dict[str, dict[bytes, RatedLine]] = {}
        """By tenant: records of forgotten periods that stand in billing periods which are kept, by state key."""
        self._reports: dict[tuple[str, str], WalletReport] = {}
        """By tenant and unit, as told last."""
        self._changed: dict[tuple[str, str], WalletReport] = {}
        self._refused: list[tuple[SourceRecord, str]] = []
        self._gone = ""
        """The last period whose state was forgotten by all wallets."""

    # --- putting back ---------------------------------------------------------------------------------------------

    def _restore(self, kind: str, key: list[str], payload: list[Any]) -> None:
        if kind == _CREDIT:
            tenant_id, period, text = key
            emitted: Emitted = tuple(payload)
            self._emitted.setdefault((tenant_id, period), {})[text.encode()] = emitted
        elif kind == _OWED:
            self._owed.setdefault(key[0], {})[orjson.dumps([_OWED, *key])] = line_of(payload[0])
        elif kind == _MOVED:
            for grant_id, amount in payload[0]:
                self._wallets[key[0]].move(grant_id, int(amount))
        else:
            period, sums = payload
            found = {grant_id: GrantSums(*(int(each) for each in numbers)) for grant_id, numbers in sums.items()}
            self._wallets[key[0]].reopen(period, found)

    def begin(self, orders: Iterable[WalletOrder], state: Iterable[tuple[str, list[str], list[Any]]] = ()) -> None:
        """Make the wallets with the grants and voids that are known; then put back their state: kind, key and payload."""
        for order in orders:
            if isinstance(order, Granted):
                self._wallet(order).grant(order.grant)
            elif isinstance(order, Voided):
                self._wallets[order.tenant_id].void(order.grant_id, order.hour)
        self._new.clear()
        for kind, key, payload in state:
            self._restore(kind, key, payload)

    def restored(self, watermark_us: int) -> None:
        """All records were noted again: what was told and published before is not told again."""
        for tenant_id, lines in self._owed.items():
            for line in lines.values():
                self._wallets[tenant_id].note(line)
        for tenant_id, wallet in self._wallets.items():
            wallet.lines(self._open_from(watermark_us))
            self._report(tenant_id, watermark_us)
        self._reports |= self._changed
        self._changed = {}
        self._touched = set()

    # --- a stretch of the log -------------------------------------------------------------------------------------

    def apply(self, orders: Iterable[WalletOrder], position: int) -> Iterator[OutgoingRecord]:
        """Follow the orders with which a stretch begins; transfers are decided by what is left here."""
        for order in orders:
            if isinstance(order, Granted):
                self._wallet(order).grant(order.grant)
                self._touched.add(order.grant.tenant_id)
            elif isinstance(order, Voided):
                self._wallets[order.tenant_id].void(order.grant_id, order.hour)
                self._touched.add(order.tenant_id)
            else:
                yield from self._transfer(order, position)

    def _wallet(self, order: Granted) -> Wallet:
        tenant_id = order.grant.tenant_id
        wallet = self._wallets.get(tenant_id)
        if wallet is None:
            wallet = self._wallets[tenant_id] = Wallet(tenant_id, self._rules.window)
            self._new[tenant_id] = order.gone
        return wallet

    def _transfer(self, order: Transferred, position: int) -> Iterator[OutgoingRecord]:
        record, wallet = order.record, self._wallets.get(order.record.tenant_id)
        try:
            if wallet is None:
                raise WalletError(f"{record.tenant_id} has no prepaid credits")
            pieces = wallet.transfer(record.unit, order.amount, order.hour, record.grant_id)
        except WalletError as error:
            self._refused.append((order.source, f"transfer {record.transfer_id}: {error}"))
            return
        self._touched.add(record.tenant_id)
        key = orjson.dumps([_MOVED, record.tenant_id, record.transfer_id])
        value = orjson.dumps([position, [[piece.grant.id, str(piece.amount)] for piece in pieces]])
        yield OutgoingRecord(self._settings.topics.state, self._partition, key, value)
        yield from receivers_grants(self._settings, self._event_source, record, pieces, self._rules.window, order.hour)

    def take_refused(self) -> list[tuple[SourceRecord, str]]:
        """The transfers that could not be followed since the last call, and why."""
        refused, self._refused = self._refused, []
        return refused

    def note(self, key: PeriodKey, lines: Iterable[RatedLine]) -> None:
        """Rated records that changed; `key` is the tenant and the period whose rating gave them."""
        wallet = self._wallets.get(key[0])
        if wallet is None or key[0] in self._new:
            return
        for line in lines:
            wallet.note(line)
            if line.billing_period > key[1]:
                self._late.setdefault(key, {})[line.key] = line
        self._touched.add(key[0])

    def settle(self, position: int, watermark_us: int, revision: int, load: Load) -> Iterator[OutgoingRecord]:
        """The debits that changed, and changed state; call it after each stretch. `load`: the records of a tenant."""
        new, self._new = self._new, {}
        for tenant_id, gone in sorted(new.items()):
            for key, lines in load(tenant_id):
                if key[1] > gone:
                    self.note(key, lines)
        self._due(watermark_us)
        open_from = self._open_from(watermark_us)
        for tenant_id in sorted(self._touched):
            for line in self._wallets[tenant_id].lines(open_from):
                yield from self._emit(line, position, revision)
            self._report(tenant_id, watermark_us)
        yield from self._forget(watermark_us, position)
        self._touched = set()

    def _due(self, watermark_us: int) -> None:
        """Tenants for whom only time went on: a grant begins or ends, or a period closes."""
        if watermark_us != NEVER_US:
            self._touched.update(tenant_id for tenant_id, due_us in self._next.items() if due_us <= watermark_us)

    def _report(self, tenant_id: str, watermark_us: int) -> None:
        if watermark_us == NEVER_US:
            self._next[tenant_id] = NEVER_US
            return
        wallet, hour = self._wallets[tenant_id], self._rules.window.index_of_us(watermark_us)
        for report in reports(wallet, hour):
            place = tenant_id, report.unit
            if self._reports.get(place) != report:
                self._changed[place] = report
        window = self._rules.window
        event, ends = wallet.next_event(hour), window.last(window.period(hour)) + 1
        closes_us = self._rules.period_closes_us(self._open_from(watermark_us))
        self._next[tenant_id] = min(closes_us, window.microseconds * min(ends, ends if event is None else event))

    def take_reports(self) -> list[Told]:
        """The wallets that changed since the last call, by tenant and unit."""
        changed, self._changed = self._changed, {}
        found = [
            Told(place[0], self._reports.get(place), report)
            for place, report in sorted(changed.items(), key=lambda item: item[0])
            if self._reports.get(place) != report
        ]
        self._reports |= changed
        return found

    def _open_from(self, watermark_us: int) -> str:
        if watermark_us == NEVER_US:
            return "0000-00"
        return period_of(from_microseconds(watermark_us) - self._rules.grace)

    # --- what goes out --------------------------------------------------------------------------------------------

    def _emit(self, line: RatedLine, position: int, revision: int) -> Iterator[OutgoingRecord]:
        place = line.tenant_id, line.billing_period
        start = format_instant(line.window_start)
        text = record_key(line.tenant_id, line.sku, line.kind, line.window_kind, start, line.service_period)
        emitted = self._emitted.setdefault(place, {})
        last = emitted.get(text)
        amount = format_decimal(line.amount or Decimal(0))
        if last is None and not line.amount:
            return
        card = line.card_id, line.card_version
        now: Emitted = (revision, format_decimal(line.quantity), amount, line.provisional, dict(line.dimensions), *card)
        if last is not None and last[1:] == now[1:]:
            return
        emitted[text] = now
        content: dict[str, object] = {
            **{name: value for name, value in line_document(line).items() if value is not None},
            "revision": revision,
        }
        if last is not None:
            content["previous"] = {"revision": last[0], "quantity": last[1], "amount": last[2]}
        headers = rated_headers(text, revision, self._event_source)
        yield OutgoingRecord(self._settings.topics.usage_rated, self._partition, text, encode_rated(content), headers)
        yield self._state([_CREDIT, *place, text.decode()], [position, *now])

    def _forget(self, watermark_us: int, position: int) -> Iterator[OutgoingRecord]:
        """Keep what grants came to at the end of a period whose state goes, and delete what was published in it."""
        gone = gone_through(self._rules, watermark_us)
        everyone = gone > self._gone
        for tenant_id in sorted(self._wallets.keys() if everyone else self._touched):
            wallet = self._wallets[tenant_id]
            if wallet.forgotten < gone:
                sums = {grant_id: [str(each) for each in found] for grant_id, found in wallet.forget(gone).items()}
                yield self._state([_WALLET, tenant_id], [position, gone, sums])
        if not everyone:
            return
        self._gone = gone
        for key in sorted(key for key in self._late if key[1] <= gone):
            yield from self._keep(key, self._late.pop(key), gone, position)
        for place in sorted(place for place in self._emitted if place[1] <= gone):
            for text in self._emitted.pop(place):
                yield self._state([_CREDIT, *place, text.decode()], None)
        for lines in self._owed.values():
            for state_key in [state_key for state_key, line in lines.items() if line.billing_period <= gone]:
                del lines[state_key]
                yield OutgoingRecord(self._settings.topics.state, self._partition, state_key, None)

    def _keep(
        self, key: PeriodKey, lines: dict[object, RatedLine], gone: str, position: int
    ) -> Iterator[OutgoingRecord]:
        for line in lines.values():
            if line.billing_period > gone and line.amount:
                text = record_key(
                    line.tenant_id, line.sku, line.kind, line.window_kind, line.window_start, line.service_period
                )
                record = self._state([_OWED, key[0], text.decode()], [position, line_document(line)])
                self._owed.setdefault(key[0], {})[record.key or b""] = line
                yield record

    def _state(self, key: list[str], value: list[object] | None) -> OutgoingRecord:
        return OutgoingRecord(
            self._settings.topics.state,
            self._partition,
            orjson.dumps(key),
            None if value is None else orjson.dumps(value),
        )
