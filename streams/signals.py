"""What the stream tells people: the balance, missing batches, usage without a price, an event window cut short."""

import hashlib
from collections.abc import Iterable, Iterator

from infra.config import Settings
from infra.topics import RegisteredLog
from schemas.decimals import format_decimal
from schemas.instants import from_microseconds
from schemas.signals import PolicySignal, encode_signal
from streams.numbering import SourceNumbers
from streams.outcomes import NEVER_US
from streams.rate_snapshot import RateSnapshot
from streams.transactions import OutgoingRecord
from streams.unpriced import UnpricedUsage
from streams.wallet_signals import Told, balance_data, low_balance

OPERATOR = "_operator"
"""The tenant of signals that concern the operator and no tenant."""
_REVISION_BITS = 40
_SHOWN_GAPS = 100


class Signals:
    """Makes the signals of a flush. Each is an absolute statement: the one with the highest revision holds."""

    def __init__(self, settings: Settings, source: RegisteredLog, partition: int) -> None:
        self._settings = settings
        self._source = source
        self._partition = partition
        self._evicted_minutes = 0
        self._missing: dict[tuple[str, int], SourceNumbers] = {}
        """The gaps that were told and stand, by source and epoch."""

    def restored(self, numbers: Iterable[tuple[str, int, SourceNumbers]], evicted_minutes: int) -> None:
        """Take over what an earlier owner told."""
        self._evicted_minutes = evicted_minutes
        self._missing = {(source, epoch): state for source, epoch, state in numbers if state.missing()}

    @property
    def missing_batches(self) -> int:
        """How many batches are known to exist and were not read."""
        return sum(numbers.missing() for numbers in self._missing.values())

    def outgoing(self, snapshot: RateSnapshot, unpriced: list[UnpricedUsage]) -> Iterator[OutgoingRecord]:
        """The records of one flush."""
        for source, balance in snapshot.balance.items():
            data = {"partition": self._partition, "source": source, **balance.as_data()}
            yield self._signal(snapshot, OPERATOR, f"balance/{self._partition}/{_short(source)}", "balance", data)
        yield from self._missing_batches(snapshot)
        for usage in unpriced:
            yield self._unpriced(snapshot, usage)
        if snapshot.evicted_minutes > self._evicted_minutes:
            self._evicted_minutes = snapshot.evicted_minutes
            data = {"partition": self._partition, "evicted_minutes": snapshot.evicted_minutes}
            yield self._signal(snapshot, OPERATOR, f"event_window/{self._partition}", "evicted", data)

    def wallets(self, snapshot: RateSnapshot, told: Iterable[Told]) -> Iterator[OutgoingRecord]:
        """The balance of each wallet that changed, and whether it is low now."""
        for each in told:
            unit, data = each.report.unit.lower(), balance_data(each.report, self._settings.window_minutes)
            yield self._signal(snapshot, each.tenant_id, f"wallet/{unit}", "balance", data)
            kind = low_balance(each)
            if kind is not None:
                yield self._signal(snapshot, each.tenant_id, f"low_balance/{unit}", kind, data)

    def _unpriced(self, snapshot: RateSnapshot, usage: UnpricedUsage) -> OutgoingRecord:
        data = {
            "meter": usage.meter,
            "quantity": format_decimal(usage.quantity),
            "windows": usage.windows,
            "first_window": usage.first_window,
        }
        kind = "raised" if usage.quantity else "cleared"
        return self._signal(snapshot, usage.tenant_id, f"unpriced_usage/{_short(usage.meter)}", kind, data)

    def _missing_batches(self, snapshot: RateSnapshot) -> Iterator[OutgoingRecord]:
        for (source, epoch), numbers in snapshot.numbers.items():
            told = self._missing.get((source, epoch))
            if (told.gaps, told.given_up) == (numbers.gaps, numbers.given_up) if told else not numbers.missing():
                continue
            if numbers.missing():
                self._missing[source, epoch] = numbers
            else:
                del self._missing[source, epoch]
            data = {
                "partition": self._partition,
                "source": source,
                "epoch": epoch,
                "missing_batches": numbers.missing(),
                "ranges": numbers.gaps[:_SHOWN_GAPS],
            }
            kind = "gap" if numbers.missing() else "cleared"
            policy = f"missing_batches/{self._partition}/{_short(f'{source}/{epoch}')}"
            yield self._signal(snapshot, OPERATOR, policy, kind, data)

    def _signal(
        self, snapshot: RateSnapshot, tenant: str, policy: str, kind: str, data: dict[str, object]
    ) -> OutgoingRecord:
        time_us = snapshot.watermark_us if snapshot.watermark_us != NEVER_US else 0
        signal = PolicySignal(
            tenant_id=tenant,
            policy=policy,
            kind=kind,
            time=from_microseconds(time_us),
            revision=(self._source.epoch << _REVISION_BITS) + snapshot.position,
            data=data,
        )
        value, headers = encode_signal(signal, f"{self._settings.deployment}/{self._source.topic}/{self._partition}")
        return OutgoingRecord(self._settings.topics.usage_signals, self._partition, signal.key, value, headers)


def _short(name: str) -> str:
    """A name that may hold anything, as a part of a policy's name; the signal's data holds it in full."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]
