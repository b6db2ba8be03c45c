"""The producers of docs/produce-usage.md: what they send is counted, whole, once, and on the right partition."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

import infra
from infra.config import Settings
from infra.kafka import read_all
from infra.topics import apply
from schemas.cloudevents import decode, to_event
from schemas.headers import CLOUDEVENTS_JSON
from schemas.partitioning import murmur2
from streams.processor import SourceRecord
from tests.conftest import MakeSettings
from tests.streams.support import Log, Run, card_document, per_unit, rate
from tests.support import Broker

EXAMPLES = Path(infra.__file__).parent / "examples/producers"
GUIDE = Path(infra.__file__).parents[1] / "docs/produce-usage.md"
TENANTS = 7
LINES = [
    {
        "tenant": f"tenant-{number % TENANTS}",
        "request": f"r-{number}",
        "attempt": 1,
        "started_at": "2026-01-05T10:00:00.125000Z",
        "ended_at": f"2026-01-05T10:00:{number % 60:02d}.250000Z",
        "answer": {
            "id": f"chatcmpl-{number}",
            "model": "llama",
            "usage": {
                "prompt_tokens": 100 + number,
                "completion_tokens": 10 + number,
                "prompt_tokens_details": {"cached_tokens": number} if number % 2 else None,
                "completion_tokens_details": {"reasoning_tokens": 3} if number % 3 else None,
            },
        },
    }
    for number in range(60)
]
CARD = card_document(
    *(per_unit(name, name, "1") for name in ("input_uncached", "input_cache_read", "output_text", "output_reasoning")),
    per_unit("requests", "requests", "1"),
)


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # the one imports the other by its name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def single() -> ModuleType:
    return loaded("token_usage")


@pytest.fixture(scope="module")
def batch(single: ModuleType) -> ModuleType:
    return loaded("token_usage_batch")


def send(script: str, settings: Settings) -> None:
    lines = "".join(json.dumps(line) + "\n" for line in LINES)
    command = [sys.executable, str(EXAMPLES / script), settings.kafka.bootstrap, settings.topics.usage_events]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def rated(settings: Settings) -> list[Run]:
    """What each partition's records are rated to, by a card that prices every meter at 1."""
    logs = [Log() for _ in range(settings.partitions)]
    for log in logs:
        log.card(CARD)
        log.assign("*")
    for message in read_all(settings, settings.topics.usage_events):
        log = logs[message.partition()]
        time_us = message.timestamp()[1] * 1000
        record = SourceRecord(len(log.records), time_us, message.key(), message.value(), dict(message.headers()))
        log.records.append(record)
    return [rate(log.records, partition, partitions=settings.partitions).all() for partition, log in enumerate(logs)]


@pytest.mark.kafka
@pytest.mark.parametrize("scripts", [["token_usage.py", "token_usage_batch.py"], ["token_usage_batch.py"]])
def test_every_request_is_rated_once_whatever_sends_it_again(
    broker: Broker, make_settings: MakeSettings, scripts: list[str]
) -> None:
    settings = make_settings(broker)
    apply(settings)
    for script in [*scripts, scripts[0]]:
        send(script, settings)
    runs = rated(settings)
    outcomes: Counter[str] = Counter()
    for run in runs:
        outcomes.update(run.outcomes())
    assert outcomes == {"rated": len(LINES), "duplicate": len(LINES) * len(scripts)}
    quantities: Counter[str] = Counter()
    for record in (record for run in runs for record in run.last().values()):
        quantities[record["meter"]] += int(Decimal(record["quantity"]))
    usages = [line["answer"]["usage"] for line in LINES]  # type: ignore[index]
    cached = sum(number for number in range(60) if number % 2)
    assert quantities == {
        "requests": 60,
        "input_uncached": sum(usage["prompt_tokens"] for usage in usages) - cached,
        "input_cache_read": cached,
        "output_text": sum(usage["completion_tokens"] for usage in usages) - 3 * 40,
        "output_reasoning": 3 * 40,
    }


def test_the_event_is_one_of_the_contract(single: ModuleType) -> None:
    event = single.event_of(LINES[1])
    decoded = to_event(decode(json.dumps(event).encode(), [("content-type", CLOUDEVENTS_JSON.encode())]))
    assert decoded.model_dump(include={"cache_read_input_tokens", "reasoning_output_tokens", "tenant_id"}) == {
        "tenant_id": "tenant-1",
        "cache_read_input_tokens": 1,
        "reasoning_output_tokens": 3,
    }


def test_the_hash_of_the_example_is_kafkas(batch: ModuleType) -> None:
    for key in ("", "a", "ab", "abc", "acme", "tenant-0001", "schlüssel", "a-little-bit-long-string"):
        assert batch.murmur2(key.encode()) == murmur2(key.encode()) & 0x7FFFFFFF


@pytest.mark.parametrize("name", ["token_usage", "token_usage_batch"])
def test_the_examples_stand_in_the_guide_word_for_word_and_need_nothing_of_tokenmill(name: str) -> None:
    source = (EXAMPLES / f"{name}.py").read_text()
    assert f"```python\n{source}```\n" in GUIDE.read_text()
    packages = ("producers", "schemas", "infra", "streams", "sinks", "rating")
    assert not [line for line in source.splitlines() if line.startswith(tuple(f"from {each}" for each in packages))]
