"""The golden examples mean what they meant when they were written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

import schemas
from schemas.batch import batch_to_models, decode_batch
from schemas.cloudevents import decode, to_event
from schemas.control import decode_control
from schemas.dead_letters import decode_rejected_rows
from schemas.errors import DecodeError, SchemaError
from schemas.exclusions import decode_exclusions
from schemas.kinds import Kind
from schemas.rated import decode_rated, encode_rated
from schemas.signals import decode_signal, encode_signal
from schemas.source_rejects import decode_source_reject
from schemas.validation import validate

EXAMPLES = Path(schemas.__file__).parent / "examples"
STRUCTURED = [("content-type", b"application/cloudevents+json")]
EVENTS = {"token_usage": Kind.TOKEN_USAGE, "gpu_utilization": Kind.GPU_UTILIZATION, "gpu_usage": Kind.GPU_USAGE}
CONTROL = [
    *("rate_card_activated", "account_assigned", "tick", "rerate_ordered"),
    *("wallet_granted", "wallet_voided", "wallet_transferred"),
]


def example(name: str) -> Any:
    return json.loads((EXAMPLES / name).read_bytes())


@pytest.mark.parametrize("name", EVENTS)
def test_valid_events_are_the_same_as_json_and_as_arrow(name: str) -> None:
    events = [to_event(decode(orjson.dumps(event), STRUCTURED)) for event in example(f"{name}.json")]
    batch = decode_batch(EVENTS[name], (EXAMPLES / f"{name}.arrow").read_bytes())
    assert validate(EVENTS[name], batch).all_good
    assert batch_to_models(EVENTS[name], batch) == events
    assert len(events) >= 2


@pytest.mark.parametrize("name", CONTROL)
def test_valid_control_records_can_be_read(name: str) -> None:
    for event in example(f"{name}.json"):
        record = decode_control(orjson.dumps(event), STRUCTURED)
        given = {field: value for field, value in record.model_dump(mode="json").items() if value is not None}
        assert given == event["data"]


def test_valid_rated_records_and_signals_are_canonical() -> None:
    for record in example("rated_usage.json"):
        assert json.loads(encode_rated(decode_rated(orjson.dumps(record)))) == record
    for reject in example("source_reject.json"):
        assert decode_source_reject(orjson.dumps(reject)).model_dump() == reject
    for signal in example("policy_signal.json"):
        assert json.loads(encode_signal(decode_signal(orjson.dumps(signal)), "x")[0]) == signal


def test_rows_that_were_not_counted_can_be_read() -> None:
    excluded = decode_exclusions((EXAMPLES / "exclusion.arrow").read_bytes()).to_pylist()
    assert [(row["row"], row["id"], row["outcome"], row["input_tokens"]) for row in excluded] == [
        (0, "req-1", "duplicate", 1200),
        (2, "req-3", "duplicate", 1200),
    ]
    (rejected,) = decode_rejected_rows(Kind.TOKEN_USAGE, (EXAMPLES / "dead_letter.arrow").read_bytes()).to_pylist()
    assert (rejected["_row"], rejected["_code"], rejected["id"], rejected["output_tokens"]) == (
        1,
        "invalid_tenant_id",
        "req-9",
        -5,
    )


@pytest.mark.parametrize("case", example("invalid/events.json"), ids=lambda case: case["name"])
def test_invalid_events_get_their_code_and_reason(case: dict[str, Any]) -> None:
    with pytest.raises(SchemaError) as caught:
        to_event(decode(json.dumps(case["event"]).encode(), STRUCTURED))
    assert caught.value.code == case["code"]
    assert case["reason"] in caught.value.message


def test_invalid_rows_get_their_code_and_reason() -> None:
    batch = decode_batch(Kind.TOKEN_USAGE, (EXAMPLES / "invalid/token_usage_rows.arrow").read_bytes())
    verdict = validate(Kind.TOKEN_USAGE, batch)
    found = [list(verdict.reason(row)) if verdict.codes[row] else None for row in range(batch.num_rows)]
    assert found == example("invalid/token_usage_rows.json")


@pytest.mark.parametrize("name", ["truncated", "float_tokens"])
def test_undecodable_batches_stay_undecodable(name: str) -> None:
    with pytest.raises(DecodeError):
        decode_batch(Kind.TOKEN_USAGE, (EXAMPLES / "invalid" / f"{name}.arrow").read_bytes())
