"""Rated records and signals as lines: aligned columns, the longest last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase

import orjson
from confluent_kafka import Message

from infra.cli.tail.line import Shown
from schemas.decimals import format_decimal
from schemas.errors import SchemaError
from schemas.instants import format_instant
from schemas.rated import RatedUsage, decode_rated
from schemas.signals import PolicySignal, decode_signal


def place(message: Message) -> dict[str, object]:
    """Where a record lies: the same names in every topic."""
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "logged_at": format_instant(log_time(message)),
    }


def log_time(message: Message) -> datetime:
    """When the log got it."""
    return datetime.fromtimestamp(max(message.timestamp()[1], 0) / 1000, UTC)


def stamp(message: Message) -> str:
    """The log time at the beginning of each line."""
    return f"{log_time(message):%Y-%m-%d %H:%M:%S}"


def unreadable(message: Message, reason: str) -> Shown:
    """A record that is not what its topic holds."""
    where = f"partition {message.partition()}, offset {message.offset()}"
    return Shown([f"{stamp(message)}  cannot be read ({where}): {reason}"], {**place(message), "unreadable": reason})


class RatedLines:
    """Rated records of a tenant, of SKUs like a pattern, of a kind."""

    def __init__(self, tenant: str | None, sku: str | None, kind: str | None) -> None:
        """None: all of them."""
        self._tenant, self._sku, self._kind = tenant, sku, kind

    def read(self, message: Message) -> Shown | None:
        """One record, when it is wanted."""
        value = message.value()
        if value is None:  # a tombstone says nothing about usage
            return None
        try:
            record = decode_rated(value)
        except SchemaError as error:
            return unreadable(message, error.message)
        if not self._wanted(record):
            return None
        return Shown([_rated(message, record)], {**place(message), **orjson.loads(value)})

    def _wanted(self, record: RatedUsage) -> bool:
        return (
            self._tenant in (None, record.tenant_id)
            and self._kind in (None, record.kind)
            and (self._sku is None or fnmatchcase(record.sku, self._sku))
        )


def _rated(message: Message, record: RatedUsage) -> str:
    hour = record.window_kind == "hour"
    window = f"{record.window_start:%Y-%m-%d %H:%M}" if hour else f"{record.service_period} (period)"
    money = "no price" if record.amount is None else f"{format_decimal(record.amount)} {record.currency or ''}".strip()
    kind = "" if record.kind == "usage" else f"  {record.kind}"
    if record.kind == "adjustment":
        kind += f" billed in {record.billing_period}"
    return (
        f"{stamp(message)}  {record.tenant_id:<16} {window:<16} {_grouped(record.quantity):>15} {record.unit:<8} "
        f"{money:>18}{_difference(record):<14}  {record.sku}{kind}{'  provisional' if record.provisional else ''}"
    )


def _difference(record: RatedUsage) -> str:
    """What the record changed, in money where both have an amount, else nothing."""
    before = record.previous
    if before is None or before.amount is None or record.amount is None or before.amount == record.amount:
        return ""
    difference = record.amount - before.amount
    return f" ({'+' if difference > 0 else ''}{format_decimal(difference)})"


def _grouped(quantity: Decimal) -> str:
    whole, dot, part = format_decimal(quantity).partition(".")
    return f"{int(whole):,}{dot}{part}"


class SignalLines:
    """Signals of a tenant, of a kind, of policies like a pattern."""

    def __init__(self, tenant: str | None, kind: str | None, policy: str | None) -> None:
        """None: all of them."""
        self._tenant, self._kind, self._policy = tenant, kind, policy

    def read(self, message: Message) -> Shown | None:
        """One signal, when it is wanted."""
        value = message.value()
        if value is None:
            return None
        try:
            signal = decode_signal(value)
        except SchemaError as error:
            return unreadable(message, error.message)
        if not self._wanted(signal):
            return None
        line = f"{stamp(message)}  {signal.tenant_id:<16} {signal.kind:<8} {signal.policy:<44}  {_said(signal.data)}"
        return Shown([line], {**place(message), **orjson.loads(value)})

    def _wanted(self, signal: PolicySignal) -> bool:
        return (
            self._tenant in (None, signal.tenant_id)
            and self._kind in (None, signal.kind)
            and (self._policy is None or fnmatchcase(signal.policy, self._policy))
        )


def _said(data: Mapping[str, object]) -> str:
    """The data without zeros and empty parts: those say nothing."""
    return " ".join(f"{name}={_value(value)}" for name, value in data.items() if value not in (0, "", None, {}, []))


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
