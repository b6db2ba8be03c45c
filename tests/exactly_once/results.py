"""What came out, read back from all topics, and the laws that it must keep whatever happened."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

import orjson
from confluent_kafka import Message

from infra.config import Settings
from infra.kafka import Isolation, end_offsets, read_all
from schemas.dead_letters import DeadLetter, decode_dead_letter
from schemas.exclusions import decode_exclusions
from tests.exactly_once.oracle import Place, Totals

_SETTLE_S = 20.0
"""Longer than a transaction that nobody ends is left open."""


@dataclass(frozen=True)
class RatedRecord:
    """One record of the rated topic, and where it lies."""

    key: bytes
    content: Mapping[str, Any]
    partition: int
    offset: int

    @property
    def revision(self) -> int:
        return int(self.content["revision"])

    @property
    def stable(self) -> bytes:
        """Its content without what depends on how the log was cut into flushes, in canonical form."""
        kept = {name: value for name, value in self.content.items() if name not in ("revision", "previous")}
        return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)


def records_of(settings: Settings, topic: str, isolation: Isolation = "read_committed") -> Iterator[Message]:
    """Everything in a topic. A commit returns before everybody can read what it wrote: waits until no transaction is open."""
    deadline = time.monotonic() + _SETTLE_S
    while end_offsets(settings, topic) != end_offsets(settings, topic, isolation="read_committed"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"a transaction on {topic} does not end")
    yield from read_all(settings, topic, isolation=isolation)


def rated_records(settings: Settings, isolation: Isolation = "read_committed") -> list[RatedRecord]:
    """All rated records in the order of the log of each partition."""
    return [
        RatedRecord(message.key() or b"", orjson.loads(message.value() or b""), message.partition(), message.offset())
        for message in records_of(settings, settings.topics.usage_rated, isolation)
    ]


def last_records(settings: Settings) -> dict[bytes, bytes]:
    """The last record of each key, without revision and previous: what must not depend on anything but the events."""
    return {record.key: record.stable for record in rated_records(settings)}


def check_revisions(settings: Settings) -> None:
    """A revision determines the content, also of what was aborted; revisions only rise; no link of a chain is missing."""
    content: dict[tuple[bytes, int], bytes] = {}
    for record in rated_records(settings, "read_uncommitted"):
        first = content.setdefault((record.key, record.revision), record.stable)
        assert first == record.stable, f"two contents of {record.key!r} revision {record.revision}"
    last: dict[bytes, RatedRecord] = {}
    for record in rated_records(settings):
        where = f"{record.key!r} at {record.partition}/{record.offset}"
        before, previous = last.get(record.key), record.content.get("previous")
        if before is None:
            assert previous is None, f"{where}: names a previous record {previous}, and there is none"
        else:
            assert before.partition == record.partition, f"{where}: two partitions write this key"
            assert before.revision < record.revision, f"{where}: revision {record.revision} after {before.revision}"
            expected = {name: before.content.get(name) for name in ("revision", "quantity", "amount")}
            assert previous == expected, f"{where}: previous is {previous}, but the last one was {expected}"
        last[record.key] = record


def totals_of(records: Iterable[RatedRecord]) -> Totals:
    """Quantity and amount of the last record of each key of token usage."""
    found: Totals = {}
    for record in {record.key: record for record in records}.values():
        content = record.content
        if content["meter"].startswith("gpu_"):
            continue
        assert content["kind"] == "usage", f"not expected here: {content}"
        start = datetime.fromisoformat(content["window_start"])
        place = Place(content["tenant_id"], content["sku"], round(start.timestamp()) * 1_000_000)
        assert place not in found, f"two keys for {place}"
        found[place] = int(content["quantity"]), Fraction(content["amount"])
    return found


def check_totals(settings: Settings, expected: Totals) -> None:
    """Every total is what it should be, to the last digit, and there is no other."""
    found = totals_of(rated_records(settings))
    wrong = [
        f"{place}: {found.get(place)} instead of {expected.get(place)}"
        for place in sorted(found.keys() | expected.keys())
        if found.get(place) != expected.get(place)
    ]
    assert not wrong, f"{len(wrong)} of {len(expected)} totals are wrong: " + "; ".join(wrong[:5])


def signals(settings: Settings) -> dict[bytes, dict[str, Any]]:
    """The last signal of each policy; revisions only rise."""
    last: dict[bytes, dict[str, Any]] = {}
    for message in records_of(settings, settings.topics.usage_signals):
        key, signal = message.key() or b"", orjson.loads(message.value() or b"")
        assert key not in last or last[key]["revision"] <= signal["revision"], f"{key!r} goes back"
        last[key] = signal
    return last


def balance(settings: Settings, sources: tuple[str, ...] = ()) -> Counter[str]:
    """Where the events ended, summed over partitions and over `sources` (default: all)."""
    counts: Counter[str] = Counter()
    for signal in signals(settings).values():
        if signal["policy"].startswith("balance/") and (not sources or signal["data"]["source"] in sources):
            counts.update({name: number for name, number in signal["data"].items() if isinstance(number, int)})
    del counts["partition"]
    return counts


def excluded(settings: Settings) -> Counter[str]:
    """Excluded rows by outcome; no row is excluded twice."""
    rows: Counter[tuple[object, ...]] = Counter()
    for message in records_of(settings, settings.topics.usage_excluded):
        for row in decode_exclusions(message.value() or b"").to_pylist():
            rows[row["log_epoch"], row["partition"], row["offset"], row["row"], row["outcome"]] += 1
    assert not rows or max(rows.values()) == 1, "a row is excluded twice"
    outcomes: Counter[str] = Counter()
    for row in rows:
        outcomes[str(row[-1])] += 1
    return outcomes


def dead_letters(settings: Settings) -> dict[tuple[int, int], DeadLetter]:
    """Dead letters by partition and offset of the record they are of; one per record."""
    letters: dict[tuple[int, int], list[DeadLetter]] = defaultdict(list)
    for message in records_of(settings, settings.topics.usage_dlq):
        letter = decode_dead_letter(message.value(), message.headers())
        letters[letter.source.partition, letter.source.offset].append(letter)
    several = {place: len(each) for place, each in letters.items() if len(each) > 1}
    assert not several, f"more than one dead letter of one record: {several}"
    return {place: each[0] for place, each in letters.items()}
