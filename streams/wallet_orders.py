"""Orders about prepaid credits, applied in the order of the log: what is granted, voided, transferred (DESIGN D2, D4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from infra.config import Settings
from rating.errors import MoneyError, WalletError
from rating.money import to_scaled
from rating.wallets import Coverage, Grant, decimals_of
from rating.windows import previous_period
from schemas.instants import from_microseconds, to_microseconds
from schemas.partitioning import partition_for
from schemas.wallets import WalletGranted, WalletTransferred, WalletVoided
from streams.outcomes import NEVER_US, TimeRules
from streams.processor import SourceRecord
from streams.transactions import OutgoingRecord

WalletRecord = WalletGranted | WalletVoided | WalletTransferred
_GRANT, _VOID, _TRANSFER = "grant", "void", "transfer"
_WHO = {"ordered_at", "ordered_by", "reason"}
"""Fields that decide nothing: an order is the same whoever gives it again."""
Identity = tuple[str, str]
"""A tenant, and the id of a grant or a transfer."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant, as the tenant's wallet takes it, and the last period whose state was gone at its place in the log."""

    grant: Grant
    gone: str = ""


@dataclass(frozen=True, slots=True)
class Voided:
    """A grant pays no more from a window on."""

    tenant_id: str
    grant_id: str
    hour: int


@dataclass(frozen=True, slots=True)
class Transferred:
    """A transfer to decide: `hour` is the latest time that is known at its place in the log, `source` that place."""

    record: WalletTransferred
    amount: int
    hour: int
    source: SourceRecord


WalletOrder = Granted | Voided | Transferred


class WalletOrders:
    """The orders of one partition as of its position, and what of it is new since the last stretch and the last flush.

    What reaches back into a closed period takes effect where the open ones begin: a closed period's debits stay.
    """

    KINDS = frozenset({_GRANT, _VOID, _TRANSFER})
    RECORDS = (WalletGranted, WalletVoided, WalletTransferred)

    def __init__(self, settings: Settings, rules: TimeRules, partition: int) -> None:
        """`partition`: the one that the tenants must belong to."""
        self._settings = settings
        self._rules = rules
        self._partition = partition
        self._grants: dict[Identity, tuple[Grant, object]] = {}
        """With the order's content."""
        self._voids: dict[Identity, int] = {}
        self._transfers: dict[Identity, object] = {}
        self._pending: list[WalletOrder] = []
        self._changed: dict[bytes, list[object]] = {}

    def known(self) -> Iterator[WalletOrder]:
        """Every grant, then every void, for a state that is put back."""
        for grant, _ in self._grants.values():
            yield Granted(grant)
        for (tenant_id, grant_id), hour in self._voids.items():
            yield Voided(tenant_id, grant_id, hour)

    def take(self) -> tuple[WalletOrder, ...]:
        """What came since the last call, in the order of the log."""
        taken, self._pending = tuple(self._pending), []
        return taken

    def order(self, record: WalletRecord, watermark_us: int, source: SourceRecord) -> None:
        """Take in an order. RatingError for one that cannot be followed: the wrong partition, other content, nonsense."""
        target = partition_for(record.tenant_id, self._settings.partitions)
        if target != self._partition:
            raise WalletError(
                f"the order about credits of {record.tenant_id} came to partition {self._partition}, the tenant's is "
                f"{target}: write it there, by `tokenmill wallet`"
            )
        if isinstance(record, WalletGranted):
            self._grant(record, watermark_us)
        elif isinstance(record, WalletVoided):
            self._void(record, watermark_us)
        else:
            self._transfer(record, watermark_us, source)

    def _grant(self, record: WalletGranted, watermark_us: int) -> None:
        identity, content = (record.tenant_id, record.grant_id), _content(record)
        known = self._grants.get(identity)
        if known is not None:
            if known[1] != content:
                raise WalletError(f"{record.tenant_id} has another grant {record.grant_id}: give this one another id")
            return
        ordered_us = to_microseconds(record.ordered_at)
        grant = self._made(record, ordered_us, self._not_closed(to_microseconds(record.effective_from), watermark_us))
        self._grants[identity] = grant, content
        self._pending.append(Granted(grant, gone_through(self._rules, watermark_us)))
        self._changed[orjson.dumps([_GRANT, *identity])] = [content, ordered_us, grant.first]

    def _made(self, record: WalletGranted, ordered_us: int, first: int) -> Grant:
        window, unit = self._rules.window, record.unit
        end = None if record.expires_at is None else -(-to_microseconds(record.expires_at) // window.microseconds)
        if end is not None and record.moved_from is not None:
            end = max(end, first + 1)  # what was given away is never lost between two tenants
        return Grant(
            tenant_id=record.tenant_id,
            id=record.grant_id,
            unit=unit,
            amount=scaled(record.amount, unit),
            first=first,
            created_us=ordered_us,
            end=end,
            priority=record.priority,
            every=record.every,
            rollover=scaled(record.rollover or Decimal(0), unit),
            covers=tuple(Coverage(each.skus, each.credits, each.per) for each in record.covers),
            overage=record.overage,
            low_balance=None if record.low_balance is None else scaled(record.low_balance, unit),
            moved_from=record.moved_from,
        )

    def _void(self, record: WalletVoided, watermark_us: int) -> None:
        identity = record.tenant_id, record.grant_id
        if identity not in self._grants:
            raise WalletError(f"{record.tenant_id} has no grant {record.grant_id}")
        hour = self._not_closed(to_microseconds(record.effective_from), watermark_us)
        if hour < self._voids.get(identity, hour + 1):
            self._voids[identity] = hour
            self._pending.append(Voided(*identity, hour))
            self._changed[orjson.dumps([_VOID, *identity])] = [hour]

    def _transfer(self, record: WalletTransferred, watermark_us: int, source: SourceRecord) -> None:
        identity, content = (record.tenant_id, record.transfer_id), _content(record)
        known = self._transfers.get(identity)
        if known is not None:
            if known != content:
                raise WalletError(
                    f"{record.tenant_id} has another transfer {record.transfer_id}: give this one another id"
                )
            return
        latest_us = max(to_microseconds(record.effective_from), watermark_us)
        amount = scaled(record.amount, record.unit)
        self._transfers[identity] = content
        self._pending.append(Transferred(record, amount, self._rules.window.index_of_us(latest_us), source))
        self._changed[orjson.dumps([_TRANSFER, *identity])] = [content]

    def _not_closed(self, instant_us: int, watermark_us: int) -> int:
        """The window of an instant, or the first one that is not closed."""
        hour = self._rules.window.index_of_us(instant_us)
        return hour if watermark_us == NEVER_US else max(hour, self._rules.first_open_hour(watermark_us))

    def restore(self, kind: str, key: list[str], payload: list[Any]) -> None:
        """Put back one entry of the state; they may come in any order."""
        identity = key[0], key[1]
        if kind == _GRANT:
            content, ordered_us, first = payload
            record = {**content, "ordered_at": from_microseconds(ordered_us), "ordered_by": "state"}
            self._grants[identity] = self._made(WalletGranted.model_validate(record), ordered_us, first), content
        elif kind == _VOID:
            self._voids[identity] = payload[0]
        else:
            self._transfers[identity] = payload[0]

    def take_state(self, position: int) -> list[OutgoingRecord]:
        """The state records of what changed since the last call."""
        changed, self._changed = self._changed, {}
        topic = self._settings.topics.state
        return [
            OutgoingRecord(topic, self._partition, key, orjson.dumps([position, *payload]))
            for key, payload in changed.items()
        ]


def gone_through(rules: TimeRules, watermark_us: int) -> str:
    """The last period whose state is gone at a watermark; nothing where there is none."""
    return "" if watermark_us == NEVER_US else previous_period(rules.oldest_kept_period(watermark_us))


def scaled(amount: Decimal, unit: str) -> int:
    """An amount in the smallest part of its unit. WalletError: it has more decimals than the unit."""
    try:
        return to_scaled(amount, decimals_of(unit))
    except MoneyError as error:
        raise WalletError(f"{amount} {unit}: {error}") from None


def _content(record: WalletRecord) -> object:
    content = record.model_dump(mode="json", exclude=_WHO, exclude_none=True)
    return orjson.loads(orjson.dumps(content))
