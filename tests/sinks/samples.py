"""Records of every kind for the tests of the sinks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from schemas.batch import encode_batch, rows_to_batch
from schemas.cloudevents import encode_structured
from schemas.control import AccountAssigned, RateCardActivated, encode_control
from schemas.dead_letters import Coordinates, dead_letter_headers, encode_rejected_rows, encode_undecodable
from schemas.events import TokenUsage
from schemas.exclusions import Outcome, encode_exclusions, exclusion_rows
from schemas.headers import BatchHeaders, Numbering, RecordHeaders
from schemas.kinds import Kind
from schemas.rated import Previous, RatedUsage, encode_rated
from schemas.signals import PolicySignal, encode_signal

START = datetime(2026, 1, 1, tzinfo=UTC)
MONDAY_MS = 1_767_571_200_000
"""2026-01-05T00:00:00Z."""

Wire = tuple[bytes, RecordHeaders]


def token_rows(count: int, prefix: str = "e") -> list[dict[str, object]]:
    return [
        {
            "id": f"{prefix}-{number}",
            "source": "node-1",
            "tenant_id": f"tenant-{number % 3}",
            "request_id": f"{prefix}-r{number}",
            "provider": "vllm",
            "operation": "chat",
            "endpoint": "/v1/chat",
            "request_model": "m",
            "response_model": f"model-{number % 2}",
            "status": "success",
            "input_tokens": 100 + number,
            "cache_read_input_tokens": 10,
            "output_tokens": 50,
            "reasoning_output_tokens": 5,
            "started_at": START + timedelta(seconds=number),
            "ended_at": START + timedelta(seconds=number + 1),
        }
        for number in range(count)
    ]


def token_batch(count: int, number: int = 1, prefix: str = "e", **changes: object) -> Wire:
    rows = [{**row, **changes} for row in token_rows(count, prefix)]
    headers = BatchHeaders(Kind.TOKEN_USAGE, "node-1", 7, number).encode()
    return encode_batch(rows_to_batch(Kind.TOKEN_USAGE, rows)), headers


def token_event(**changes: object) -> Wire:
    return encode_structured(TokenUsage.model_validate({**token_rows(1, "single")[0], **changes}))


def gpu_usage_batch(number: int = 1) -> Wire:
    row = {
        "id": "g1",
        "source": "meter",
        "tenant_id": "_idle",
        "gpu_uuid": "GPU-1",
        "gpu_type": "H100",
        "node": "n1",
        "start": START,
        "end": START + timedelta(hours=1),
        "allocated_gpu_seconds": Decimal("3600.000001"),
        "busy_gpu_seconds": Decimal("12.5"),
        "energy_joules": Decimal(99),
    }
    headers = BatchHeaders(Kind.GPU_USAGE, "meter", 0, number, Numbering.OFFSET).encode()
    return encode_batch(rows_to_batch(Kind.GPU_USAGE, [row])), headers


def sample_batch(count: int = 3, number: int = 1) -> Wire:
    rows = [
        {
            "id": f"s{index}",
            "source": "agent",
            "time": START + timedelta(seconds=10 * index),
            "gpu_uuid": "GPU-1",
            "gpu_type": "H100",
            "node": "n1",
            "interval_s": 10.0,
            "power_w": 300.5 if index else None,
            "source_kind": "simulated",
        }
        for index in range(count)
    ]
    headers = BatchHeaders(Kind.GPU_UTILIZATION, "agent", 1, number).encode()
    return encode_batch(rows_to_batch(Kind.GPU_UTILIZATION, rows)), headers


def card(version: int = 1) -> Wire:
    document = {"id": "standard", "version": version, "currency": "EUR"}
    record = RateCardActivated(card=document, published_at=START, published_by="anna")
    return encode_control(record, f"card-{version}", "cli", START)


def assignment(tenant_id: str = "tenant-0") -> Wire:
    record = AccountAssigned(tenant_id=tenant_id, card_id="standard", effective_from=START)
    return encode_control(record, f"assign-{tenant_id}", "cli", START)


def rated(
    quantity: str, amount: str | None, revision: int, previous: tuple[int, str, str] | None = None, **changes: object
) -> RatedUsage:
    before = Previous(revision=previous[0], quantity=previous[1], amount=previous[2]) if previous else None
    fields: dict[str, object] = {
        "tenant_id": "tenant-0",
        "sku": "standard/chat-input",
        "meter": "input_uncached",
        "kind": "usage",
        "window_kind": "hour",
        "window_start": START,
        "window_end": START + timedelta(hours=1),
        "billing_period": "2026-01",
        "service_period": "2026-01",
        "quantity": quantity,
        "unit": "tokens",
        "amount": amount,
        "currency": "EUR" if amount is not None else None,
        "card_id": "standard",
        "card_version": 1,
        "dimensions": {"model": "m"},
        "revision": revision,
        "previous": before,
        **changes,
    }
    return RatedUsage.model_validate(fields)


def rated_wire(record: RatedUsage) -> Wire:
    return encode_rated(record), []


def signal(revision: int, **data: object) -> Wire:
    return encode_signal(
        PolicySignal(
            tenant_id="_all", policy="balance/0/node-1", kind="balance", time=START, revision=revision, data=data
        ),
        "worker",
    )


def exclusions(count: int = 2) -> Wire:
    batch = rows_to_batch(Kind.TOKEN_USAGE, token_rows(4))
    rows = exclusion_rows(
        Kind.TOKEN_USAGE, batch, np.arange(count), Outcome.DUPLICATE, log_epoch=1, partition=2, offset=40
    )
    return encode_exclusions(rows), BatchHeaders(Kind.EXCLUSION, "worker", 1, 5, Numbering.OFFSET).encode()


def rejected_rows(topic: str = "usage.events.v1", partition: int = 0, offset: int = 9) -> Wire:
    rows = token_rows(3)
    rows[1]["input_tokens"] = -4
    batch = rows_to_batch(Kind.TOKEN_USAGE, rows)
    place = Coordinates(topic, partition, offset)
    headers = dead_letter_headers(place, ["invalid_input_tokens"], "input_tokens is -4", kind=Kind.TOKEN_USAGE)
    return encode_rejected_rows(
        Kind.TOKEN_USAGE, batch, np.array([1]), ["invalid_input_tokens"], ["input_tokens is -4"]
    ), headers


def undecodable(topic: str = "usage.events.v1", partition: int = 0, offset: int = 10, value: bytes = b"\xff") -> Wire:
    kept, more = encode_undecodable(value)
    place = Coordinates(topic, partition, offset)
    return kept, [*dead_letter_headers(place, ["undecodable"], "not JSON"), *more]
