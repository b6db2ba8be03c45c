"""The AsyncAPI 3.0 document: every topic, what its records are, and who reads and writes them.

Specification: https://www.asyncapi.com/docs/reference/specification/v3.0.0 and the Kafka bindings 0.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas import headers
from schemas.arrow import SCHEMAS
from schemas.dead_letters import CODE, OFFSET, PARTITION, REASON, ROWS, TOPIC
from schemas.kinds import Kind

_BATCHES: Final[Mapping[str, str]] = {
    "token_usage_batch": Kind.TOKEN_USAGE,
    "gpu_usage_batch": Kind.GPU_USAGE,
    "gpu_utilization_batch": Kind.GPU_UTILIZATION,
    "exclusion_batch": Kind.EXCLUSION,
}


@dataclass(frozen=True)
class _Topic:
    address: str
    description: str
    key: str
    messages: tuple[str, ...]
    cleanup: tuple[str, ...]
    retention_days: int | None
    direction: str


_TOPICS: Final = (
    _Topic(
        "usage.events.v1",
        "The log of each tenant: usage and the control records that change what it costs.",
        "tenant for single events; none, with an explicit partition, for batches and control records",
        (
            "token_usage",
            "token_usage_batch",
            "gpu_usage",
            "gpu_usage_batch",
            "rate_card_activated",
            "account_assigned",
            "tick",
            "source_reject",
        ),
        ("delete",),
        35,
        "receive",
    ),
    _Topic(
        "gpu.samples.v1",
        "What each GPU did, sampled.",
        "GPU UUID",
        ("gpu_utilization", "gpu_utilization_batch"),
        ("delete",),
        35,
        "receive",
    ),
    _Topic(
        "usage.rated.v1",
        "Absolute totals per tenant, SKU and window; of the records with one key the highest revision counts.",
        "tenant_id, sku, kind, window_kind, window_start, service_period, each as <length in bytes>:<text>",
        ("rated_usage",),
        ("compact", "delete"),
        400,
        "send",
    ),
    _Topic(
        "usage.signals.v1",
        "The state of each policy for each tenant; the highest revision counts.",
        "tenant|policy",
        ("policy_signal",),
        ("compact",),
        None,
        "send",
    ),
    _Topic(
        "usage.excluded.v1",
        "Rows that were read but not counted, and why.",
        "none",
        ("exclusion_batch",),
        ("delete",),
        90,
        "send",
    ),
    _Topic(
        "usage.dlq.v1",
        "What could not be counted: rejected rows, or the bytes of what could not be decoded.",
        "that of the source record",
        ("dead_letter",),
        ("delete",),
        90,
        "send",
    ),
)


def asyncapi_document(types: Mapping[str, str]) -> dict[str, Any]:
    """The document; `types` maps the name of each JSON Schema file to its CloudEvents type ("" where it is none)."""
    messages = {name: _json_message(name, kind) for name, kind in types.items()}
    messages |= {name: _batch_message(kind) for name, kind in _BATCHES.items()}
    messages["dead_letter"] = _dead_letter_message()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tokenmill",
            "version": "1.0.0",
            "description": "Usage of AI models and GPUs, from events to rated usage, on Kafka.",
        },
        "defaultContentType": headers.JSON,
        "channels": {topic.address: _channel(topic) for topic in _TOPICS},
        "operations": {f"{topic.direction} {topic.address}": _operation(topic) for topic in _TOPICS},
        "components": {"messages": messages},
    }


def _channel(topic: _Topic) -> dict[str, Any]:
    configuration: dict[str, Any] = {"cleanup.policy": list(topic.cleanup)}
    if topic.retention_days is not None:
        configuration["retention.ms"] = topic.retention_days * 86_400_000
    return {
        "address": topic.address,
        "description": topic.description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in topic.messages},
        "bindings": {"kafka": {"topicConfiguration": configuration, "bindingVersion": "0.5.0"}},
        "x-record-key": topic.key,
    }


def _operation(topic: _Topic) -> dict[str, Any]:
    channel = topic.address.replace("~", "~0").replace("/", "~1")
    return {"action": topic.direction, "channel": {"$ref": f"#/channels/{channel}"}, "summary": topic.description}


def _json_message(name: str, kind: str) -> dict[str, Any]:
    payload = {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": {"$ref": f"./{name}.json"}}
    if not kind:
        return {"name": name, "contentType": headers.REJECTED_JSON, "payload": payload}
    names = {"ce_specversion": "1.0", "ce_type": kind}
    return {
        "name": kind,
        "contentType": headers.JSON,
        "description": f"A CloudEvent in binary mode; in structured mode ({headers.CLOUDEVENTS_JSON}) this is its `data`.",
        "headers": _headers(names, ("ce_id", "ce_source")),
        "payload": payload,
    }


def _batch_message(kind: str) -> dict[str, Any]:
    columns = {field.name: str(field.type).partition(", ordered")[0] for field in SCHEMAS[kind]}
    return {
        "name": f"{kind} (batch)",
        "contentType": headers.ARROW_STREAM,
        "description": "An Arrow IPC stream of one record batch. Columns that say nothing may be missing.",
        "headers": _headers({headers.TYPE: kind}, (headers.SOURCE, headers.EPOCH, headers.NUMBER, headers.NUMBERING)),
        "payload": {"type": "string", "format": "binary"},
        "x-arrow-columns": columns,
    }


def _dead_letter_message() -> dict[str, Any]:
    return {
        "name": str(Kind.DEAD_LETTER),
        "contentType": headers.ARROW_STREAM,
        "description": "Rejected rows as an Arrow stream with _row, _code and _reason, or the bytes of the source record.",
        "headers": _headers({}, (CODE, REASON, TOPIC, PARTITION, OFFSET, ROWS)),
        "payload": {"type": "string", "format": "binary"},
    }


def _headers(fixed: Mapping[str, str], free: tuple[str, ...]) -> dict[str, Any]:
    properties: dict[str, Any] = {name: {"const": str(value)} for name, value in fixed.items()}
    properties |= {name: {"type": "string"} for name in free}
    return {"type": "object", "required": [*fixed, *free], "properties": properties}
