"""The published contracts: current, complete, and in agreement with the examples, the codecs and the topics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import schemas
from infra.config import Settings
from infra.topics import topic_specs
from schemas.arrow import SCHEMAS
from schemas.asyncapi_topics import TOPICS
from schemas.dead_letters import Coordinates, dead_letter_headers, encode_undecodable
from schemas.events import EVENT_TYPES
from schemas.generate import DOCUMENTED, FOLDER, documents, examples, json_schema
from schemas.headers import BatchHeaders, RecordHeaders
from schemas.kinds import Kind
from schemas.rated import decode_rated, rated_headers

EXAMPLES = Path(schemas.__file__).parent / "examples"
EVENTS = ("token_usage", "gpu_utilization", "gpu_usage")
INVARIANTS = {"invalid_cache_tokens", "invalid_reasoning_tokens", "invalid_time_order"}
DOCUMENT: dict[str, Any] = json.loads(documents()["asyncapi.json"])
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]


FORMATS = jsonschema.FormatChecker()


@FORMATS.checks("date-time", raises=ValueError)
def is_instant(value: object) -> bool:
    """jsonschema checks this format only where another package is installed; without one it would say nothing."""
    return not isinstance(value, str) or datetime.fromisoformat(value.upper()).tzinfo is not None


def refusals(schema: dict[str, Any], record: object) -> list[str]:
    """What an independent validator, formats included, has against a record."""
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema, format_checker=FORMATS)
    return [error.message for error in validator.iter_errors(record)]


def resolved(node: Any) -> Any:
    """A part of the AsyncAPI document with its references replaced by what they lead to."""
    if isinstance(node, dict):
        if "$ref" in node:
            target: Any = DOCUMENT
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            return resolved(target)
        return {name: resolved(child) for name, child in node.items()}
    return [resolved(child) for child in node] if isinstance(node, list) else node


def nodes(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        yield place, node
        for name, child in node.items():
            if name != "examples":
                yield from nodes(child, f"{place}/{name}")
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from nodes(child, f"{place}/{index}")


# --- JSON Schemas -----------------------------------------------------------------------------------------------------


def test_generated_documents_are_current() -> None:
    written = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert written == documents(), "run python -m schemas.generate"


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_json_schema_accepts_the_golden_examples_and_shows_them(name: str) -> None:
    schema = json_schema(name)
    data = [each for _, each in examples(name)]
    assert data
    assert [refusals(schema, each) for each in data] == [[]] * len(data)
    assert schema["examples"] == data


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_field_says_what_it_means(name: str) -> None:
    schema = json_schema(name)
    for model in (schema, *schema.get("$defs", {}).values()):
        for field, rule in model["properties"].items():
            assert rule.get("description", "").strip().endswith("."), f"{model['title']}.{field}"
            assert "title" not in rule


def test_every_instant_has_a_format_and_is_checked() -> None:
    for name in DOCUMENTED:
        instants = [place for place, node in nodes(json_schema(name)) if node.get("format") == "date-time"]
        assert instants or name == "source_reject", name
    (_, usage), *_ = examples("token_usage")
    for text in ("yesterday", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z"):
        assert refusals(json_schema("token_usage"), {**usage, "ended_at": text})


def test_the_json_schema_refuses_the_invalid_events() -> None:
    by_type = {schema["x-cloudevents-type"]: schema for schema in map(json_schema, EVENTS)}
    checked = 0
    for case in json.loads((EXAMPLES / "invalid/events.json").read_bytes()):
        in_data = case["code"].startswith("invalid_") and case["code"] not in {*INVARIANTS, "invalid_sampledrate"}
        # JSON Schema has no words for sums of fields and for envelopes.
        if in_data and case["event"]["type"] in by_type:
            assert refusals(by_type[case["event"]["type"]], case["event"]["data"]), case["name"]
            checked += 1
    assert checked >= 10


def test_names_and_quantities_of_custom_meters_are_held() -> None:
    (_, usage), *_ = examples("token_usage")
    schema = json_schema("token_usage")
    assert refusals(schema, {**usage, "units": {"pages": "1.5", "gpus": "-2", "x" * 250: 3}}) == []
    for bad in ({"x" * 251: "1"}, {"": "1"}, {"a\x00": "1"}, {"pages": 1.5}, {"pages": "--1"}, {"pages": "1e3"}):
        assert refusals(schema, {**usage, "units": bad}), bad


def test_no_amount_of_money_may_be_a_json_number() -> None:
    ((_, rated), *_) = examples("rated_usage")
    for field in ("amount", "quantity"):
        assert refusals(json_schema("rated_usage"), {**rated, field: 0.1})


# --- AsyncAPI ---------------------------------------------------------------------------------------------------------


def test_the_document_stands_alone_and_every_reference_leads_somewhere() -> None:
    for place, node in nodes(DOCUMENT):
        if isinstance(node.get("$ref"), str):
            assert node["$ref"].startswith("#/"), place
            resolved(node)


def test_every_message_is_in_a_topic_and_every_topic_in_an_operation() -> None:
    in_topics = {name for channel in DOCUMENT["channels"].values() for name in channel["messages"]}
    assert in_topics == set(MESSAGES)
    operated = {operation["channel"]["$ref"].rpartition("/")[2] for operation in DOCUMENT["operations"].values()}
    assert operated == set(DOCUMENT["channels"])
    for channel in DOCUMENT["channels"].values():
        for reference in channel["messages"].values():
            assert set(resolved(reference)) >= {"name", "title", "summary", "payload", "bindings"}


def test_the_topics_are_those_that_are_created() -> None:
    described = {topic.address: topic for topic in TOPICS}
    specs = topic_specs(Settings())
    assert set(described) == {spec.name for spec in specs}
    for spec in specs:
        binding = DOCUMENT["channels"][described[spec.name].id]["bindings"]["kafka"]
        said = binding["topicConfiguration"]
        assert binding["partitions"] == spec.partitions
        assert ",".join(said["cleanup.policy"]) == spec.config["cleanup.policy"]
        for name in ("retention.ms", "min.compaction.lag.ms"):
            assert said.get(name) == (int(spec.config[name]) if name in spec.config else None), (spec.name, name)


@pytest.mark.parametrize("name", [name for name, message in MESSAGES.items() if "examples" in message])
def test_the_examples_of_a_message_are_valid(name: str) -> None:
    message = resolved(MESSAGES[name])
    assert message["examples"]
    for example in message["examples"]:
        assert refusals(message["payload"], example["payload"]) == []
        if "headers" in example:
            assert refusals(message["headers"], example["headers"]) == []


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_described_in_all_three_encodings(name: str) -> None:
    channel = "gpuSamples" if name == "gpu_utilization" else "usageEvents"
    assert {name, f"{name}_structured", f"{name}_batch"} <= set(DOCUMENT["channels"][channel]["messages"])
    kind = str(DOCUMENTED[name][1])
    assert kind in EVENT_TYPES
    structured = resolved(MESSAGES[f"{name}_structured"])
    assert structured["payload"]["properties"]["type"]["const"] == kind
    golden = json.loads((EXAMPLES / f"{name}.json").read_bytes())
    assert [example["payload"] for example in structured["examples"]] == golden
    assert refusals(structured["payload"], {**golden[0], "type": "io.example.other"})
    assert list(MESSAGES[f"{name}_batch"]["x-arrow-columns"]) == SCHEMAS[kind].names


def texts(headers: RecordHeaders) -> dict[str, str]:
    return {name: value.decode() for name, value in headers}


def test_the_headers_that_are_written_are_the_headers_that_are_described() -> None:
    record = decode_rated(json.dumps(json_schema("rated_usage")["examples"][0]).encode())
    undecodable = encode_undecodable(b"x" * 70_000)[1]
    letter = dead_letter_headers(Coordinates("t", 3, 4), ["undecodable"], "no", original=[("a", b"b")]) + undecodable
    batch = BatchHeaders(Kind.TOKEN_USAGE, "gateway/1", 1, 1).encode()
    for name, headers in {
        "rated_usage": rated_headers(record.key, record.revision, "eu-1"),
        "dead_letter": letter,
        "token_usage_batch": batch,
    }.items():
        described = MESSAGES[name]["headers"]
        assert refusals(described, texts(headers)) == []
        undescribed = {each for each, _ in headers if not each.startswith("tokenmill-original-")}
        assert undescribed <= set(described["properties"])


def test_the_key_that_is_shown_is_the_key_of_the_example() -> None:
    record = decode_rated(json.dumps(json_schema("rated_usage")["examples"][0]).encode())
    assert record.key.decode() in DOCUMENT["channels"]["usageRated"]["x-record-key"]
