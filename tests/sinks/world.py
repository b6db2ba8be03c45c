"""A small world by hand: usage in the log, what a worker would publish about it, and a sink that stored it all."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal

import numpy as np

from infra.config import Settings
from infra.topics import apply
from schemas.batch import encode_batch, rows_to_batch
from schemas.control import RateCardActivated, encode_control
from schemas.dead_letters import Coordinates, dead_letter_headers, encode_rejected_rows
from schemas.exclusions import Outcome, encode_exclusions, exclusion_rows
from schemas.headers import BatchHeaders, Numbering
from schemas.kinds import Kind
from schemas.rated import RatedUsage
from schemas.signals import PolicySignal, encode_signal
from tests.sinks import samples
from tests.sinks.samples import START, Wire
from tests.sinks.support import produce, run_until_stored

PRICE = Decimal("0.000001")
CARD = {
    "id": "standard",
    "version": 1,
    "currency": "EUR",
    "effective_from": "2025-01-01T00:00:00Z",
    "not_charged": ["requests"],
    "skus": [
        {"sku": "chat/input", "meter": "input", "charge": {"model": "per_unit", "price": "1", "per": 1_000_000}},
        {"sku": "chat/output", "meter": "output", "charge": {"model": "per_unit", "price": "1", "per": 1_000_000}},
    ],
}
TENANT = "tenant-0"
ROWS = 30


def usage_rows(partition: int) -> list[dict[str, object]]:
    """30 requests over 3 hours; 100 + n input and 50 output tokens each."""
    return [
        {
            **samples.token_rows(1)[0],
            "id": f"p{partition}-{number}",
            "request_id": f"p{partition}-{number}",
            "tenant_id": TENANT,
            "input_tokens": -1 if (partition, number) == (0, 7) else 100 + number,
            "cache_read_input_tokens": 0,
            "reasoning_output_tokens": 0,
            "output_tokens": 50,
            "started_at": START + timedelta(minutes=6 * number),
            "ended_at": START + timedelta(minutes=6 * number, seconds=1),
        }
        for number in range(ROWS)
    ]


def build(settings: Settings) -> None:
    """Two partitions: 30 rows each, sent twice in partition 1; row 7 of partition 0 is bad. Then store everything."""
    apply(settings)
    topics = settings.topics
    card = RateCardActivated(card=CARD, published_at=START, published_by="anna")
    produce(settings, topics.usage_events, encode_control(card, "card-1", "cli", START), partition=0)
    for partition in (0, 1):
        batch = rows_to_batch(Kind.TOKEN_USAGE, usage_rows(partition))
        wires = [(encode_batch(batch), BatchHeaders(Kind.TOKEN_USAGE, "node", 1, number).encode()) for number in (1, 2)]
        produce(settings, topics.usage_events, *wires[: partition + 1], partition=partition)
    _publish_what_was_not_counted(settings)
    records = rated_records()
    before = {"revision": 1, "quantity": Decimal(5), "amount": Decimal("0.000005"), "previous": None}
    first = [records[0].model_copy(update=before)]
    produce(settings, topics.usage_rated, *map(samples.rated_wire, [*first, *records]), partition=1)
    balances = [balance(0, 30, rated=29, dead_letter=1), balance(1, 60, rated=30, duplicate=30)]
    produce(settings, topics.usage_signals, *balances)
    run_until_stored(settings)


def _publish_what_was_not_counted(settings: Settings) -> None:
    topics = settings.topics
    bad = rows_to_batch(Kind.TOKEN_USAGE, usage_rows(0))
    headers = dead_letter_headers(
        Coordinates(topics.usage_events, 0, 1), ["invalid_input_tokens"], "negative", kind=Kind.TOKEN_USAGE
    )
    value = encode_rejected_rows(Kind.TOKEN_USAGE, bad, np.array([7]), ["invalid_input_tokens"], ["negative"])
    produce(settings, topics.usage_dlq, (value, headers))
    twice = rows_to_batch(Kind.TOKEN_USAGE, usage_rows(1))
    excluded = exclusion_rows(
        Kind.TOKEN_USAGE, twice, np.arange(ROWS), Outcome.DUPLICATE, log_epoch=1, partition=1, offset=1
    )
    batch_headers = BatchHeaders(Kind.EXCLUSION, "worker", 1, 1, Numbering.OFFSET).encode()
    produce(settings, topics.usage_excluded, (encode_exclusions(excluded), batch_headers), partition=1)


def rated_records() -> list[RatedUsage]:
    """What the usage comes to: per hour input, output and requests, computed without any code of the project."""
    records: list[RatedUsage] = []
    for hour in range(3):
        numbers = [(p, n) for p in (0, 1) for n in range(10 * hour, 10 * hour + 10) if (p, n) != (0, 7)]
        quantities = {"input": sum(100 + n for _, n in numbers), "output": 50 * len(numbers), "requests": len(numbers)}
        for meter, quantity in quantities.items():
            charged = meter != "requests"
            first = not records
            records.append(
                samples.rated(
                    str(quantity),
                    format(quantity * PRICE if charged else 0, "f"),
                    100 + hour,
                    (1, "5", "0.000005") if first else None,
                    sku=f"chat/{meter}" if charged else "uncharged/not_charged/requests",
                    meter=meter,
                    unit="tokens" if charged else "requests",
                    window_start=START + timedelta(hours=hour),
                    window_end=START + timedelta(hours=hour + 1),
                    dimensions={},
                )
            )
    return records


def balance(partition: int, read: int, **outcomes: int) -> Wire:
    data = {"partition": partition, "source": "node", "read": read, "by_code": {}, **outcomes}
    signal = PolicySignal(
        tenant_id="_operator", policy=f"balance/{partition}/node", kind="balance", time=START, revision=9, data=data
    )
    return encode_signal(signal, "worker")


def total_input(records: Iterable[RatedUsage]) -> Decimal:
    return sum((record.quantity for record in records if record.meter == "input"), Decimal(0))
