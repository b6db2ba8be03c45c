"""The AsyncAPI 3.0 document: every topic, what its records are, and who reads and writes them. It refers to no other file.

Specification: https://www.asyncapi.com/docs/reference/specification/v3.0.0 and the Kafka bindings 0.5.0. Payloads are in the
default schema format of AsyncAPI, a superset of JSON Schema draft 7, so that every tool reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas import dead_letters, headers
from schemas.arrow import MAX_ROWS, SCHEMAS
from schemas.asyncapi_topics import TOPICS, Topic
from schemas.kinds import Kind

_BINDING: Final = "0.5.0"
_BATCHES: Final[Mapping[str, str]] = {
    "token_usage_batch": Kind.TOKEN_USAGE,
    "gpu_usage_batch": Kind.GPU_USAGE,
    "gpu_utilization_batch": Kind.GPU_UTILIZATION,
    "exclusion_batch": Kind.EXCLUSION,
}
_ATTRIBUTES: Final[Mapping[str, str]] = {
    "specversion": "The version of CloudEvents.",
    "type": "What the event is.",
    "id": "Unique within `source`; the same pair again is a duplicate.",
    "source": "Who says so, such as `gateway/eu-1`.",
    "time": "When it happened: RFC 3339 with an offset.",
    "subject": "Not read.",
    "datacontenttype": "The media type of `data`.",
    "sampledrate": "An event that stands for others that were not sent cannot be charged: only 1 is accepted.",
}
_EVERY_EVENT: Final = ("specversion", "type", "id", "source")
_DECIMAL: Final = {"type": "string", "pattern": "^[0-9]{1,19}$"}
_BATCH_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    headers.SOURCE: {"type": "string", "minLength": 1, "maxLength": 512, "description": "Who sent the batch."},
    headers.EPOCH: {**_DECIMAL, "description": "Rises with each start of the source, such as milliseconds since 1970."},
    headers.NUMBER: {
        **_DECIMAL,
        "description": "With numbering `sequence`: 1, 2, 3, ... per source, epoch and partition. A number that came before "
        "is a re-sent batch, one that never comes is a proven loss. With `offset`: that of the record it derives from.",
    },
    headers.NUMBERING: {"type": "string", "enum": ["sequence", "offset"], "default": "sequence"},
}
_DEAD_LETTER_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    dead_letters.CODE: {
        "type": "string",
        "description": f"Why, as a stable code; `{dead_letters.SEVERAL}` where the rows have different ones.",
    },
    dead_letters.REASON: {"type": "string", "description": "Why, in words: the first of the reasons."},
    dead_letters.TOPIC: {"type": "string", "description": "The topic of the source record."},
    dead_letters.PARTITION: {**_DECIMAL, "description": "Its partition."},
    dead_letters.OFFSET: {**_DECIMAL, "description": "Its offset."},
    dead_letters.ROWS: {**_DECIMAL, "description": "How many events this dead letter stands for."},
    dead_letters.TYPE: {
        "type": "string",
        "description": "The type of the rejected rows; absent for an undecodable record.",
    },
    dead_letters.LENGTH: {
        **_DECIMAL,
        "description": f"Bytes of the undecodable record; of a longer one only {dead_letters.MAX_BYTES} are kept.",
    },
    dead_letters.SHA256: {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "Of the undecodable record, whole.",
    },
}


@dataclass(frozen=True)
class Contract:
    """A JSON contract: its name, CloudEvents type ("" for none), JSON Schema, and examples as (envelope, data)."""

    name: str
    kind: str
    schema: Mapping[str, Any]
    examples: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...]


def asyncapi_document(contracts: Sequence[Contract]) -> dict[str, Any]:
    """The whole document, ready to be written as JSON."""
    messages: dict[str, dict[str, Any]] = {}
    for contract in contracts:
        messages |= _json_messages(contract)
    messages |= {name: _batch_message(name, kind) for name, kind in _BATCHES.items()}
    messages["dead_letter"] = _dead_letter_message()
    messages["catalog_entry"] = _internal_message(
        "catalog_entry", "A published card, an assignment or a registered log."
    )
    messages["state_value"] = _internal_message("state_value", "A state value, or nothing where it was deleted.")
    schemas: dict[str, Any] = {}
    for contract in contracts:
        schemas |= _components(contract)
    return {
        "asyncapi": "3.0.0",
        "id": "urn:tokenmill",
        "info": {
            "title": "Tokenmill",
            "version": "1.0.0",
            "description": "Usage of AI models and GPUs, from events to rated usage, on Kafka. Operations are Tokenmill's own: "
            "it receives what producers send and sends what billing systems read. A deployment may put a prefix before every "
            "topic's name. Tokenmill writes in transactions: read with isolation.level=read_committed.",
        },
        "defaultContentType": headers.JSON,
        "servers": {"kafka": _server()},
        "channels": {topic.id: _channel(topic) for topic in TOPICS},
        "operations": {f"{topic.action}{topic.id[0].upper()}{topic.id[1:]}": _operation(topic) for topic in TOPICS},
        "components": {"messages": messages, "schemas": schemas},
    }


def _server() -> dict[str, Any]:
    return {
        "host": "{bootstrap}",
        "protocol": "kafka",
        "description": "The Kafka cluster of the deployment: what TOKENMILL_KAFKA names.",
        "variables": {"bootstrap": {"default": "localhost:9092", "description": "A bootstrap server, host:port."}},
    }


# --- topics -----------------------------------------------------------------------------------------------------------


def _channel(topic: Topic) -> dict[str, Any]:
    kafka = {
        "topic": topic.address,
        "partitions": topic.partitions,
        "replicas": 3,
        "topicConfiguration": topic.configuration,
        "bindingVersion": _BINDING,
    }
    return {
        "address": topic.address,
        "title": topic.address,
        "description": topic.description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in topic.messages},
        "bindings": {"kafka": kafka},
        "x-record-key": topic.key,
        **({"x-internal": True} if topic.internal else {}),
    }


def _operation(topic: Topic) -> dict[str, Any]:
    return {"action": topic.action, "channel": {"$ref": f"#/channels/{topic.id}"}, "summary": topic.description}


def _binding(name: str) -> dict[str, Any]:
    keys = {topic.keys.get(name, topic.key) for topic in TOPICS if name in topic.messages}
    (description,) = keys
    return {"kafka": {"key": {"type": "string", "description": description}, "bindingVersion": _BINDING}}


# --- JSON -------------------------------------------------------------------------------------------------------------


def _components(contract: Contract) -> dict[str, Any]:
    """The schema of the data under the contract's name, and what it defines, each a component."""
    schema = {name: value for name, value in contract.schema.items() if name not in ("$schema", "$id", "$defs")}
    return {contract.name: _relocated(schema), **_relocated(contract.schema.get("$defs", {}))}


def _relocated(node: Any) -> Any:
    if isinstance(node, dict):
        moved = {name: _relocated(child) for name, child in node.items()}
        if isinstance(moved.get("$ref"), str):
            moved["$ref"] = moved["$ref"].replace("#/$defs/", "#/components/schemas/")
        return moved
    return [_relocated(child) for child in node] if isinstance(node, list) else node


def _json_messages(contract: Contract) -> dict[str, dict[str, Any]]:
    """The message of a contract; of what producers may send also in structured mode."""
    payload = {"$ref": f"#/components/schemas/{contract.name}"}
    examples = [{"name": f"{contract.name}-{number}", "payload": data} for number, (_, data) in _numbered(contract)]
    plain: dict[str, Any] = {
        "title": str(contract.schema["title"]),
        "summary": contract.schema["description"],
        "contentType": headers.JSON if contract.kind else headers.REJECTED_JSON,
        "bindings": _binding(contract.name),
        "payload": payload,
        "examples": examples,
    }
    if not contract.kind:
        return {contract.name: {"name": contract.name, **plain, "headers": _content_type(headers.REJECTED_JSON)}}
    for example, (envelope, _) in zip(examples, contract.examples, strict=True):
        if envelope:
            attributes = {f"ce_{name}": value for name, value in envelope.items() if name != "datacontenttype"}
            example["headers"] = {headers.CONTENT_TYPE: headers.JSON, **attributes}
    binary = {
        "name": contract.kind,
        **plain,
        "description": "A CloudEvent in binary mode: the data are the value, the attributes are headers.",
        "headers": _attributes(contract.kind, prefix="ce_", more=_content_type(headers.JSON)),
    }
    if not all(envelope for envelope, _ in contract.examples):
        return {contract.name: binary}
    return {contract.name: binary, f"{contract.name}_structured": _structured_message(contract, plain)}


def _structured_message(contract: Contract, plain: Mapping[str, Any]) -> dict[str, Any]:
    payload = _attributes(contract.kind)
    payload["properties"]["data"] = plain["payload"]
    payload["required"] = [*payload["required"], "data"]
    return {
        **plain,
        "name": f"{contract.kind} (structured)",
        "title": f"{plain['title']}, structured",
        "description": "A CloudEvent in structured mode: one JSON object holds the attributes and the data. "
        "One event a record; arrays of events cannot be read.",
        "contentType": headers.CLOUDEVENTS_JSON,
        "headers": _content_type(headers.CLOUDEVENTS_JSON, exact=False),
        "payload": payload,
        "examples": [
            {"name": f"{contract.name}-structured-{number}", "payload": {**envelope, "data": data}}
            for number, (envelope, data) in _numbered(contract)
        ],
    }


def _numbered(contract: Contract) -> Iterator[tuple[int, tuple[Mapping[str, Any], Mapping[str, Any]]]]:
    return enumerate(contract.examples, 1)


def _attributes(kind: str, *, prefix: str = "", more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The schema of CloudEvents attributes: as headers (`prefix`), or as members of the envelope."""
    properties: dict[str, Any] = {}
    for name, description in _ATTRIBUTES.items():
        if prefix and name == "datacontenttype":  # a header without prefix: `more`
            continue
        properties[prefix + name] = {"type": "string", "description": description}
    properties[f"{prefix}specversion"]["const"] = "1.0"
    properties[f"{prefix}type"]["const"] = kind
    properties[f"{prefix}time"]["format"] = "date-time"
    for name in ("id", "source"):
        properties[prefix + name] |= {"minLength": 1, "maxLength": 512}
    properties[f"{prefix}sampledrate"] = {
        "description": _ATTRIBUTES["sampledrate"],
        "enum": ["1"] if prefix else [1, "1"],
    }
    required = [prefix + name for name in _EVERY_EVENT]
    return {"type": "object", "required": required, "properties": properties | (more or {}).get("properties", {})}


def _content_type(media_type: str, *, exact: bool = True) -> dict[str, Any]:
    text = {"const": media_type} if exact else {"pattern": f"^{media_type.replace('+', '[+]')}(;.*)?$"}
    properties = {headers.CONTENT_TYPE: {"type": "string", **text}}
    return {"type": "object", "required": [headers.CONTENT_TYPE], "properties": properties}


# --- bytes ------------------------------------------------------------------------------------------------------------


def _batch_message(name: str, kind: str) -> dict[str, Any]:
    columns = {field.name: str(field.type).partition(", ordered")[0] for field in SCHEMAS[kind]}
    schema = _content_type(headers.ARROW_STREAM)
    schema["properties"] |= {headers.TYPE: {"type": "string", "const": str(kind)}, **_BATCH_HEADERS}
    schema["required"] = [*schema["required"], headers.TYPE, headers.SOURCE, headers.EPOCH, headers.NUMBER]
    return {
        "name": f"{kind} (batch)",
        "title": f"{name.removesuffix('_batch')} rows as an Arrow batch",
        "summary": "An Arrow IPC stream of one record batch; each row is one event.",
        "description": f"At most {MAX_ROWS} rows (1,000 is usual), all of them for one partition. Columns may come in any "
        "order; those that say nothing may be missing; text may be plain or dictionary-encoded.",
        "contentType": headers.ARROW_STREAM,
        "bindings": _binding(name),
        "headers": schema,
        "payload": {"type": "string", "format": "binary"},
        "x-arrow-columns": columns,
    }


def _dead_letter_message() -> dict[str, Any]:
    required = (dead_letters.CODE, dead_letters.TOPIC, dead_letters.PARTITION, dead_letters.OFFSET, dead_letters.ROWS)
    properties = {
        headers.TYPE: {"type": "string", "const": str(Kind.DEAD_LETTER)},
        headers.CONTENT_TYPE: {"type": "string", "description": f"{headers.ARROW_STREAM} for rejected rows."},
        **_DEAD_LETTER_HEADERS,
    }
    return {
        "name": str(Kind.DEAD_LETTER),
        "title": "Dead letter",
        "summary": "Rejected rows as an Arrow stream with _row, _code and _reason, or the bytes of an undecodable record.",
        "description": f"The headers of the source record are kept, with `{dead_letters.ORIGINAL}` before their names.",
        "contentType": headers.ARROW_STREAM,
        "bindings": _binding("dead_letter"),
        "headers": {"type": "object", "required": list(required), "properties": properties},
        "payload": {"type": "string", "format": "binary"},
    }


def _internal_message(name: str, summary: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "summary": f"{summary} Internal: not a contract, it may change with any version.",
        "bindings": _binding(name),
        "payload": {},
        "x-internal": True,
    }
