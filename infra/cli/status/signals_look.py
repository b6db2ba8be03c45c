"""What the signals say that hold now: gaps, usage without a price, the balance. From ClickHouse, or from the topic itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from infra.cli.status.look import BalanceLook, Gap, PartitionBalance, Signals, Unpriced
from infra.clickhouse import store_errors
from infra.config import Settings
from infra.kafka import read_all
from schemas.errors import SchemaError
from schemas.signals import decode_signal
from sinks.balance import OUTCOMES

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

EPOCH_BITS = 40
"""A revision is the epoch of the log times 2**40 plus an offset (DESIGN D4)."""
_OFFSETS = (1 << EPOCH_BITS) - 1
_NOT_RATED = ("duplicate", "dead_letter", "quarantined", "rerouted")
"""Outcomes of rows that stand in the exclusions or the dead letters."""


class Said(NamedTuple):
    """The latest word of one policy."""

    tenant: str
    policy: str
    kind: str
    time: datetime
    revision: int
    data: Mapping[str, Any]


def stored_signals(client: Client) -> list[Said]:
    """The latest word of every policy, as ClickHouse has it."""
    with store_errors("reading the signals"):
        rows = client.query(
            "SELECT tenant_id, policy, argMax((kind, time, data), (revision, kafka_offset)) AS word, max(revision) "
            "FROM signals GROUP BY tenant_id, policy"
        ).result_rows
    return [
        Said(tenant, policy, kind, _utc(time), int(revision), _object(data))
        for tenant, policy, (kind, time, data), revision in rows
    ]


def topic_signals(settings: Settings) -> list[Said]:
    """The latest word of every policy, as the topic has it. Reads all of the topic."""
    latest: dict[tuple[str, str], Said] = {}
    for message in read_all(settings, settings.topics.usage_signals):
        value = message.value()
        if value is None:
            continue
        try:
            signal = decode_signal(value)
        except SchemaError:
            continue  # somebody else's record: the sink reports it among the unreadable ones
        key = (signal.tenant_id, signal.policy)
        known = latest.get(key)
        if known is None or signal.revision >= known.revision:
            latest[key] = Said(*key, signal.kind, signal.time, signal.revision, signal.data)
    return list(latest.values())


def interpret(said: Iterable[Said]) -> Signals:
    """Gaps, unpriced usage and the balance of what was said; of an earlier log only what is about tenants still holds."""
    words = list(said)
    epoch = max((word.revision >> EPOCH_BITS for word in words), default=0)
    present = [word for word in words if word.revision >> EPOCH_BITS == epoch]
    gaps = [_gap(word) for word in present if word.kind == "gap" and word.policy.startswith("missing_batches/")]
    unpriced = [
        Unpriced(
            word.tenant,
            str(word.data.get("meter", word.policy)),
            str(word.data.get("quantity", "")),
            _int(word.data.get("windows")),
        )
        for word in words
        if word.kind == "raised" and word.policy.startswith("unpriced_usage/")
    ]
    cut = sorted(_int(word.data.get("partition")) for word in present if word.policy.startswith("event_window/"))
    balances = [word for word in present if word.kind == "balance" and word.policy.startswith("balance/")]
    return Signals(
        tuple(sorted(gaps, key=lambda gap: (gap.partition, gap.source, gap.epoch))),
        tuple(sorted(unpriced, key=lambda each: (each.tenant, each.meter))),
        tuple(cut),
        _balance(balances) if balances else None,
    )


def _gap(word: Said) -> Gap:
    ranges = word.data.get("ranges")
    pairs = [(_int(pair[0]), _int(pair[1])) for pair in ranges] if isinstance(ranges, list) else []
    return Gap(
        _int(word.data.get("partition")),
        str(word.data.get("source", "")),
        _int(word.data.get("epoch")),
        _int(word.data.get("missing_batches")),
        tuple(pairs),
        word.time if word.time.timestamp() > 0 else None,
    )


def _balance(words: list[Said]) -> BalanceLook:
    outcomes = dict.fromkeys(OUTCOMES, 0)
    codes: dict[str, int] = {}
    found: dict[int, list[int]] = {}
    for word in words:
        counts = {name: _int(word.data.get(name)) for name in OUTCOMES}
        for name, number in counts.items():
            outcomes[name] += number
        for code, number in _pairs(word.data.get("by_code")):
            codes[code] = codes.get(code, 0) + number
        sums = found.setdefault(_int(word.data.get("partition")), [0, 0, 0, 0])
        sums[0] = max(sums[0], word.revision & _OFFSETS)
        sums[1] += _int(word.data.get("read"))
        sums[2] += sum(counts.values())
        sums[3] += sum(counts[name] for name in _NOT_RATED)
    partitions = tuple(
        PartitionBalance(partition, sums[0], sums[1], sums[2], sums[3], None, None)
        for partition, sums in sorted(found.items())
    )
    return BalanceLook(
        sum(each.read for each in partitions),
        outcomes,
        dict(sorted(codes.items(), key=lambda item: -item[1])),
        partitions,
    )


def epoch_of(said: Iterable[Said]) -> int:
    """The epoch of the log that the signals are about."""
    return max((word.revision >> EPOCH_BITS for word in said), default=0)


def _pairs(value: object) -> list[tuple[str, int]]:
    return [(str(name), _int(number)) for name, number in value.items()] if isinstance(value, dict) else []


def _object(text: str) -> Mapping[str, Any]:
    value = orjson.loads(text)
    return value if isinstance(value, dict) else {}


def _int(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
