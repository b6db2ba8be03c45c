"""Driving the processors without Kafka: a log as a list, a state topic as a dict, flushes and restarts where a test says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa

from infra.config import Settings
from infra.kafka import MAX_MESSAGE_BYTES, LogIdentity
from infra.topics import RegisteredLog
from schemas.batch import decode_batch, encode_batch, rows_to_batch
from schemas.cloudevents import encode_binary, encode_structured
from schemas.control import AccountAssigned, ControlRecord, RateCardActivated, Tick, encode_control
from schemas.dead_letters import DeadLetter, decode_dead_letter
from schemas.events import Event, GpuUsage, GpuUtilization, TokenUsage
from schemas.exclusions import decode_exclusions
from schemas.headers import BatchHeaders, Numbering
from schemas.instants import to_microseconds
from schemas.kinds import Kind
from streams.gpu_processor import GpuProcessor
from streams.processor import SourceRecord
from streams.rate_processor import RateProcessor
from streams.restore import POSITION_KEY
from streams.transactions import OutgoingRecord

START = datetime(2026, 1, 10, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
LATER_US = to_microseconds(datetime(2030, 1, 1, tzinfo=UTC))
"""A log time after everything: nothing is in the future."""
Processor = RateProcessor | GpuProcessor


def settings(**changes: Any) -> Settings:
    return replace(Settings(partitions=1, dedup_bytes=1 << 20), **changes)


def log_of(made: Settings, topic: str | None = None) -> RegisteredLog:
    return RegisteredLog(topic or made.topics.usage_events, LogIdentity("cluster", "topic", made.partitions), 1)


# --- events and records -----------------------------------------------------------------------------------------------


def usage(name: str, at: datetime | timedelta = timedelta(0), **changes: Any) -> TokenUsage:
    """A token usage; `at` is when it ended, a duration counts from START."""
    ended = START + at if isinstance(at, timedelta) else at
    fields: dict[str, Any] = {
        "id": name,
        "source": "gateway/1",
        "tenant_id": "acme",
        "request_id": f"request-{name}",
        "provider": "vllm",
        "operation": "chat",
        "endpoint": "/v1/chat/completions",
        "request_model": "llama",
        "response_model": "llama",
        "status": "success",
        "input_tokens": 100,
        "output_tokens": 10,
        "started_at": ended,
        "ended_at": ended,
    }
    return TokenUsage.model_validate(fields | changes)


def sample(at: float, **changes: Any) -> GpuUtilization:
    """A sample of one GPU, `at` seconds after START."""
    time = START + timedelta(seconds=at)
    fields: dict[str, Any] = {
        "id": f"{changes.get('gpu_uuid', 'GPU-1')}/{changes.get('mig_instance_id', '')}/{at}",
        "source": "agent/node-a",
        "time": time,
        "gpu_uuid": "GPU-1",
        "gpu_type": "H100",
        "node": "node-a",
        "tenant_id": "acme",
        "interval_s": 30.0,
        "engine_active_ratio": 0.5,
        "source_kind": "dcgm",
    }
    return GpuUtilization.model_validate(fields | changes)


def batch_of(events: Sequence[Event]) -> pa.RecordBatch:
    return rows_to_batch(str(events[0].kind), list(events))


@dataclass(repr=False)
class Log:
    """A partition's log under construction."""

    log_time_us: int = LATER_US
    records: list[SourceRecord] = field(default_factory=list)
    _numbers: Counter[str] = field(default_factory=Counter)

    def append(
        self,
        value: bytes,
        headers: Iterable[tuple[str, bytes]],
        key: bytes | None = None,
        log_time_us: int | None = None,
    ) -> SourceRecord:
        time_us = self.log_time_us if log_time_us is None else log_time_us
        record = SourceRecord(len(self.records), time_us, key, value, dict(headers))
        self.records.append(record)
        return record

    def batch(
        self,
        rows: pa.RecordBatch | Sequence[Event],
        *,
        source: str = "gateway/1",
        number: int | None = None,
        epoch: int = 1,
        kind: str | None = None,
        log_time_us: int | None = None,
    ) -> SourceRecord:
        if not isinstance(rows, pa.RecordBatch):
            kind = kind or str(rows[0].kind)
            rows = batch_of(rows)
        if number is None:
            self._numbers[source] += 1
            number = self._numbers[source]
        headers = BatchHeaders(kind or str(Kind.TOKEN_USAGE), source, epoch, number, Numbering.SEQUENCE)
        return self.append(encode_batch(rows), headers.encode(), log_time_us=log_time_us)

    def single(self, event: Any, *, structured: bool = False, log_time_us: int | None = None) -> SourceRecord:
        value, headers = encode_structured(event) if structured else encode_binary(event)
        return self.append(value, headers, log_time_us=log_time_us)

    def control(self, record: ControlRecord) -> SourceRecord:
        value, headers = encode_control(record, f"control-{len(self.records)}", "test", START)
        return self.append(value, headers)

    def card(self, document: Mapping[str, Any]) -> SourceRecord:
        return self.control(RateCardActivated(card=dict(document), published_at=START, published_by="test"))

    def assign(
        self,
        tenant: str = "*",
        card: str = "card",
        since: datetime = datetime(2020, 1, 1, tzinfo=UTC),
        until: datetime | None = None,
        overrides: dict[str, dict[str, Any]] | None = None,
    ) -> SourceRecord:
        record = AccountAssigned(
            tenant_id=tenant, card_id=card, effective_from=since, effective_to=until, overrides=overrides
        )
        return self.control(record)

    def tick(self, time: datetime) -> SourceRecord:
        return self.control(Tick(time=time))


def per_unit(sku: str, meter: str, price: str, per: int = 1, **match: Any) -> dict[str, Any]:
    return {"sku": sku, "meter": meter, "match": match, "charge": {"model": "per_unit", "price": price, "per": per}}


def card_document(*skus: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    default = (
        per_unit("{model}/input", "input", "0.15", 1_000_000),
        per_unit("{model}/output", "output", "0.60", 1_000_000),
        per_unit("requests", "requests", "0.1", 1000),
    )
    return {
        "id": "card",
        "version": 1,
        "currency": "USD",
        "effective_from": "2020-01-01T00:00:00Z",
        "skus": list(skus or default),
        **changes,
    }


# --- running ----------------------------------------------------------------------------------------------------------


@dataclass(repr=False)
class Run:
    """A processor fed with a log, its state topic, and everything it wrote."""

    made: Settings
    make: Callable[[], Processor]
    records: Sequence[SourceRecord]
    written: list[OutgoingRecord] = field(default_factory=list)
    state: dict[bytes, bytes] = field(default_factory=dict)
    position: int = -1
    read: int = 0

    def __post_init__(self) -> None:
        self.processor = self.make()

    def feed(self, count: int) -> None:
        """Read the next `count` records at once."""
        taken = self.records[self.read : self.read + count]
        if taken:
            self.processor.apply(taken)
            self.read += len(taken)

    def flush(self) -> list[OutgoingRecord]:
        """Write what was read; what belongs to the state topics replaces what was there."""
        if not self.read or self.records[self.read - 1].offset == self.position:
            return []
        position = self.records[self.read - 1].offset
        snapshot: Any = self.processor.snapshot(position)
        outgoing = self.processor.outgoing(snapshot)
        for record in outgoing:
            if record.topic not in (self.made.topics.state, self.made.topics.gpu_state):
                continue
            assert record.key is not None
            if record.value is None:
                self.state.pop(record.key, None)
            else:
                assert orjson.loads(record.value)[0] <= position
                self.state[record.key] = record.value
        assert outgoing[-1].key == POSITION_KEY
        self.written += outgoing
        self.position = position
        return outgoing

    def restart(self) -> None:
        """Another owner takes over from the last flush; what was read after it is read again."""
        self.processor = self.make()
        entries = {key: value for key, value in self.state.items() if key != POSITION_KEY}
        first = self.processor.restore(entries.items(), self.state.get(POSITION_KEY))
        if first is not None:
            known = [record for record in self.records if first <= record.offset <= self.position]
            for start in range(0, len(known), 3):
                self.processor.relearn(known[start : start + 3])
        self.read = sum(record.offset <= self.position for record in self.records)

    def all(self, step: int = 10**9) -> Run:
        """Read and flush to the end, `step` records at a time."""
        while self.read < len(self.records):
            self.feed(step)
            self.flush()
        return self

    def to(self, topic: str) -> list[OutgoingRecord]:
        """What was written to a topic."""
        return [record for record in self.written if record.topic == topic]

    def rated(self) -> list[dict[str, Any]]:
        """Every rated record."""
        return [orjson.loads(record.value or b"") for record in self.to(self.made.topics.usage_rated)]

    def last(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """The last rated record of each key, without revision and previous, leaving out those that fell to nothing."""
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        for record in self.rated():
            found[key_of(record)] = record
        return {
            key: {name: value for name, value in record.items() if name not in ("revision", "previous")}
            for key, record in found.items()
            if record["quantity"] != "0" or record.get("amount", "0") != "0"
        }

    def amounts(self) -> dict[str, str]:
        """Quantity and amount of the last records by `sku window_start service_period`."""
        return {
            " ".join((record["sku"], record["window_start"], record["service_period"])): " ".join(
                (record["quantity"], str(record.get("amount")))
            )
            for record in self.last().values()
        }

    def signals(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The last signal of each policy."""
        signals = [orjson.loads(record.value or b"") for record in self.to(self.made.topics.usage_signals)]
        return {(signal["tenant_id"], signal["policy"]): signal for signal in signals}

    def balance(self) -> dict[str, dict[str, Any]]:
        """The last balance of each source."""
        return {
            signal["data"]["source"]: signal["data"]
            for signal in self.signals().values()
            if signal["kind"] == "balance"
        }

    def outcomes(self) -> Counter[str]:
        """The balance over all sources."""
        total: Counter[str] = Counter()
        for data in self.balance().values():
            total.update({name: value for name, value in data.items() if name in OUTCOMES and value})
        return total

    def dead_letters(self) -> list[DeadLetter]:
        return [
            decode_dead_letter(record.value, list(record.headers)) for record in self.to(self.made.topics.usage_dlq)
        ]

    def dead_codes(self) -> Counter[str]:
        """Dead letters by code, row by row."""
        counted: Counter[str] = Counter()
        for letter in self.dead_letters():
            if letter.batch is None:
                counted[letter.code] += 1
            else:
                counted.update(letter.batch.column("_code").to_pylist())
        return counted

    def excluded(self) -> list[dict[str, Any]]:
        return [
            row
            for record in self.to(self.made.topics.usage_excluded)
            for row in decode_exclusions(record.value or b"").to_pylist()
        ]


OUTCOMES = ("rated", "unrated", "duplicate", "dead_letter", "quarantined", "rerouted")


def rate(records: Sequence[SourceRecord], partition: int = 0, **changes: Any) -> Run:
    """A run of the rating stage, not begun."""
    made = settings(**changes)
    return Run(made, lambda: RateProcessor(made, log_of(made), partition), records)


def meter(records: Sequence[SourceRecord], partition: int = 0, **changes: Any) -> Run:
    """A run of the GPU meter, not begun."""
    made = settings(**changes)
    return Run(made, lambda: GpuProcessor(made, log_of(made, made.topics.gpu_samples), partition), records)


def derived(run: Run) -> list[GpuUsage]:
    """The usage that the GPU meter derived."""
    events = []
    for record in run.to(run.made.topics.usage_events):
        batch = decode_batch(Kind.GPU_USAGE, record.value or b"")
        events += [GpuUsage.model_validate(row) for row in batch.to_pylist()]
    return events


def key_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The key of a rated record."""
    names = ("tenant_id", "sku", "kind", "window_kind", "window_start", "service_period")
    return tuple(str(record[name]) for name in names)


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = batch.to_pylist()
    return rows


# --- limits -----------------------------------------------------------------------------------------------------------

TOKEN_USAGE = str(Kind.TOKEN_USAGE)
STATE_LIMIT = 1 << 20
"""What a broker takes for a topic that is created without a setting for it."""


def log_with_card() -> Log:
    log = Log()
    log.card(card_document())
    log.assign()
    return log


def written_fits(run: Run) -> None:
    """Every record fits its topic; whoever reads the state back gets the same."""
    large = (run.made.topics.usage_events, run.made.topics.usage_dlq, run.made.topics.usage_excluded)
    for record in run.written:
        size = (
            len(record.value or b"")
            + len(record.key or b"")
            + sum(len(name) + len(text) + 10 for name, text in record.headers)
        )
        assert size < (MAX_MESSAGE_BYTES if record.topic in large else STATE_LIMIT) - 1000, (record.topic, size)


def restartable(run: Run) -> None:
    run.restart()
    run.processor.snapshot(run.position)


def rate_in_steps(records: Sequence[SourceRecord], step: int, *, restart: bool = True) -> Run:
    """The rating stage over a whole log, `step` records at a time, with another owner after each flush if `restart`."""
    run = rate(records)
    while run.read < len(run.records):
        run.feed(step)
        run.flush()
        if restart:
            run.restart()
    return run
