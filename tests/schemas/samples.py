"""Good events to start from, and batches of raw columns that need not be good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from schemas.arrow import schema_for
from schemas.events import EVENT_TYPES, GpuUsage, GpuUtilization, TokenUsage
from schemas.kinds import Kind

START = datetime(2026, 1, 1, 9, 30, tzinfo=UTC)

GOOD: dict[str, dict[str, Any]] = {
    Kind.TOKEN_USAGE: {
        "id": "req-1",
        "source": "gateway/eu-1",
        "tenant_id": "acme",
        "request_id": "chatcmpl-1",
        "provider": "vllm",
        "operation": "chat",
        "endpoint": "/v1/chat/completions",
        "request_model": "llama-70b",
        "response_model": "llama-70b",
        "status": "success",
        "input_tokens": 1200,
        "cache_read_input_tokens": 1024,
        "output_tokens": 350,
        "reasoning_output_tokens": 90,
        "started_at": START,
        "ended_at": START + timedelta(seconds=4, microseconds=250_000),
    },
    Kind.GPU_UTILIZATION: {
        "id": "GPU-1/7",
        "source": "agent/node-a",
        "time": START,
        "gpu_uuid": "GPU-1",
        "gpu_type": "H100",
        "node": "node-a",
        "tenant_id": "acme",
        "interval_s": 10.0,
        "engine_active_ratio": 0.5,
        "power_w": 412.5,
        "energy_mj_counter": 326_804_116_130,
        "source_kind": "dcgm",
    },
    Kind.GPU_USAGE: {
        "id": "GPU-1/1767259800",
        "source": "gpu-meter",
        "tenant_id": "_pool",
        "gpu_uuid": "GPU-1",
        "gpu_type": "H100",
        "node": "node-a",
        "start": START,
        "end": START + timedelta(seconds=10),
        "allocated_gpu_seconds": Decimal("10"),
        "busy_gpu_seconds": Decimal("4.125"),
        "energy_joules": Decimal("4125.5"),
    },
}


def token_usage(**changes: object) -> TokenUsage:
    return TokenUsage.model_validate({**GOOD[Kind.TOKEN_USAGE], **changes})


def gpu_utilization(**changes: object) -> GpuUtilization:
    return GpuUtilization.model_validate({**GOOD[Kind.GPU_UTILIZATION], **changes})


def gpu_usage(**changes: object) -> GpuUsage:
    return GpuUsage.model_validate({**GOOD[Kind.GPU_USAGE], **changes})


def good_events() -> list[TokenUsage | GpuUtilization | GpuUsage]:
    return [EVENT_TYPES[kind].model_validate(fields) for kind, fields in GOOD.items()]


def raw_batch(kind: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows of raw column values (instants as datetime or as microseconds) in the canonical schema, nulls as they are."""
    columns = []
    for field in schema_for(kind):
        values = [row.get(field.name) for row in rows]
        if pa.types.is_timestamp(field.type):
            values = [microseconds(value) for value in values]
            columns.append(pa.array(values, pa.int64()).cast(field.type))
        else:
            columns.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema_for(kind))


def microseconds(value: datetime | int | None) -> int | None:
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return value


def write_stream(batch: Any, batches: int = 1, compression: str | None = None) -> bytes:
    """The Arrow stream that any other producer would write."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for _ in range(batches):
            writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data
