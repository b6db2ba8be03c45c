"""Input that is wrong in one way each: it ends as the table of DESIGN D8 says, and everything around it is counted.

All of it is sent to one partition, each bad record followed by a good event; one worker reads it. The tests look at what
became of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson
import pyarrow as pa
import pytest
from confluent_kafka import Message, Producer

from infra.kafka import client_config, read_to_end
from schemas.batch import batch_to_models, encode_batch, rows_to_batch
from schemas.cloudevents import encode_structured
from schemas.dead_letters import DeadLetter
from schemas.events import TokenUsage
from schemas.headers import BatchHeaders, RecordHeaders
from schemas.kinds import Kind
from schemas.partitioning import partition_for
from tests.exactly_once import oracle, results
from tests.exactly_once.conftest import Deploy
from tests.exactly_once.deployment import Deployment
from tests.support import Broker

pytestmark = [pytest.mark.apache, pytest.mark.kafka]

TENANT, STRANGER = "tenant-good", "tenant-unknown"
GOOD_TOKENS = 100
HOUR = datetime(2026, 1, 1, 10, 30, tzinfo=UTC)
_JSON: RecordHeaders = [("content-type", b"application/cloudevents+json")]


def usage(id: str, **changes: object) -> TokenUsage:
    """A good event, but for the changes."""
    fields: dict[str, object] = {
        "id": id,
        "source": "test/single",
        "tenant_id": TENANT,
        "request_id": id,
        "provider": "tokenmill",
        "operation": "chat",
        "endpoint": "/v1/chat/completions",
        "request_model": "model-00",
        "response_model": "model-00",
        "status": "success",
        "input_tokens": GOOD_TOKENS,
        "output_tokens": 0,
        "started_at": HOUR,
        "ended_at": HOUR,
        **changes,
    }
    return TokenUsage.model_validate(fields)


def as_json(id: str, **changes: object) -> bytes:
    """The structured CloudEvent of a good event, with changes in its data that no model would take."""
    envelope = orjson.loads(encode_structured(usage(id))[0])
    envelope["data"].update(changes)
    return orjson.dumps(envelope)


def batch(rows: pa.RecordBatch, number: int) -> tuple[bytes, RecordHeaders]:
    """An Arrow record."""
    return encode_batch(rows), BatchHeaders(str(Kind.TOKEN_USAGE), "test/batches", 1, number).encode()


def thousand_with_one_bad() -> pa.RecordBatch:
    """Row 617 has more cached tokens than input tokens, the others have one input token each."""
    rows = rows_to_batch(
        Kind.TOKEN_USAGE,
        [usage(f"thousand-{number}", input_tokens=1, source="test/thousand") for number in range(1000)],
    )
    place = rows.schema.get_field_index("cache_read_input_tokens")
    counts = rows.column(place).to_pylist()
    counts[617] = 2
    return rows.set_column(place, rows.schema.field(place), pa.array(counts, pa.int64()))


def two_megabytes() -> pa.RecordBatch:
    """A valid batch of 4,000 events with long texts, above 2 MB."""
    long = "x" * 250
    return rows_to_batch(
        Kind.TOKEN_USAGE,
        [
            usage(f"{number}-{long}", end_user_id=f"{number}-{long}", input_tokens=1, source="test/large")
            for number in range(4000)
        ],
    )


@dataclass
class Sent:
    """What was sent, where each record lies, and what the worker made of it."""

    deployment: Deployment
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    good: int = 0
    letters: dict[tuple[int, int], DeadLetter] = field(default_factory=dict)

    def letter(self, name: str) -> DeadLetter:
        return self.letters[self.places[name]]


class Sender:
    """Writes records to the partition of TENANT, a good event behind each."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        settings = sent.deployment.settings
        self._topic = settings.topics.usage_events
        self._partitions = settings.partitions
        self._producer = Producer(client_config(settings, acks="all"))

    def send(
        self, name: str, value: bytes | None, headers: RecordHeaders, tenant: str = TENANT, *, key: bytes | None = None
    ) -> None:
        def delivered(error: object, message: Message) -> None:
            assert error is None, error
            self._sent.places[name] = message.partition(), message.offset()

        self._produce(value, headers, partition_for(tenant, self._partitions), key, delivered)
        self._sent.good += 1
        good, good_headers = encode_structured(usage(f"good-{self._sent.good}"))
        self._produce(good, good_headers, partition_for(TENANT, self._partitions), None, None)

    def _produce(
        self, value: bytes | None, headers: RecordHeaders, partition: int, key: bytes | None, delivered: object
    ) -> None:
        self._producer.produce(
            self._topic, value, key, partition=partition, headers=list(headers), on_delivery=delivered
        )

    def flush(self) -> None:
        assert self._producer.flush(30) == 0


def _send_everything(sender: Sender) -> None:
    sender.send("invalid json", b'{"specversion": "1.0", "id":', _JSON, key=b"their-key")
    sender.send("not an object", b"[1, 2, 3]", _JSON)
    sender.send("wrong type", as_json("wrong-type", input_tokens="many"), _JSON)
    sender.send("fraction", as_json("fraction", input_tokens=1.5), _JSON)
    sender.send("negative", as_json("negative", output_tokens=-5), _JSON)
    sender.send("cached above input", as_json("cached", cache_read_input_tokens=101), _JSON)
    sender.send("stranger", *encode_structured(usage("stranger", tenant_id=STRANGER)), STRANGER)
    future = datetime.now(UTC) + timedelta(hours=2)
    sender.send("future", *encode_structured(usage("future", started_at=future, ended_at=future)))
    sender.send("unknown model", *encode_structured(usage("unknown-model", response_model="other", input_tokens=7)))
    whole, headers = batch(rows_to_batch(Kind.TOKEN_USAGE, [usage(f"cut-{n}") for n in range(50)]), 1)
    sender.send("truncated batch", whole[: len(whole) // 2], headers)
    sender.send("one bad row", *batch(thousand_with_one_bad(), 2))
    sender.send("large junk", b"\x00\xff" * 1_000_000, _JSON)
    sender.send("large and valid", *batch(two_megabytes(), 3))
    sender.send("null", None, _JSON)
    sender.send("null without headers", None, [], key=b"tombstone")
    sender.send("no headers", as_json("no-headers"), [])
    sender.send("arrow without number", whole, headers[:1])
    sender.send("wrong content type", as_json("wrong-content"), [("content-type", b"text/plain")])
    sender.send("header that is no text", as_json("header"), [("content-type", b"\xff\xfe")])
    sender.send("another topic's type", *_sample())
    sender.send("first of an identity", *encode_structured(usage("twice", input_tokens=3)))
    sender.send("the same again", *encode_structured(usage("twice", input_tokens=3)))
    sender.send("same identity, other content", *encode_structured(usage("twice", input_tokens=4)))
    sender.send("invalid control", b"{}", [*_control("io.tokenmill.control.rate-card.v1")])


def _sample() -> tuple[bytes, RecordHeaders]:
    value, _ = encode_structured(usage("sample"))
    return value.replace(b"io.tokenmill.usage.token.v1", b"io.tokenmill.gpu.utilization.v1"), _JSON


def _control(kind: str) -> RecordHeaders:
    texts = {"ce_specversion": "1.0", "ce_id": "c1", "ce_source": "test", "ce_type": kind}
    return [(name, text.encode()) for name, text in texts.items()]


@pytest.fixture(scope="module")
def sent(apache: Broker, deploy_for_module: Deploy) -> Iterator[Sent]:
    """Everything sent, read by one worker that is still alive at the end."""
    made = Sent(deploy_for_module(apache, tenants=(TENANT,)))
    sender = Sender(made)
    _send_everything(sender)
    sender.flush()
    with made.deployment.worker() as worker:
        made.deployment.await_caught_up(worker)
        made.letters = results.dead_letters(made.deployment.settings)
        yield made
        assert worker.terminate(20) == 0


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("invalid json", "undecodable", "not JSON"),
        ("not an object", "undecodable", "an array, not a JSON object"),
        ("wrong type", "invalid_input_tokens", "input_tokens"),
        ("fraction", "invalid_input_tokens", "input_tokens"),
        ("negative", "invalid_output_tokens", "output_tokens"),
        ("cached above input", "invalid_cache_tokens", "cache"),
        ("truncated batch", "undecodable", "Arrow"),
        ("large junk", "undecodable", "not JSON"),
        ("null", "undecodable", "empty"),
        ("null without headers", "undecodable", "content type none"),
        ("no headers", "undecodable", "content type none"),
        ("arrow without number", "undecodable", "tokenmill-number"),
        ("wrong content type", "undecodable", "text/plain"),
        ("header that is no text", "undecodable", "content-type"),
        ("another topic's type", "undecodable", "does not belong on this topic"),
        ("same identity, other content", "conflict", "same id"),
        ("invalid control", "invalid_card", "card"),
    ],
)
def test_what_cannot_be_counted_is_a_dead_letter_with_a_reason(sent: Sent, name: str, code: str, words: str) -> None:
    letter = sent.letter(name)
    assert letter.code == code
    assert words in letter.reason
    assert letter.rows == 1
    assert letter.source.topic == sent.deployment.settings.topics.usage_events


def test_everything_else_is_counted_to_the_last_token(sent: Sent) -> None:
    found = {(place.tenant, place.sku): quantity for place, (quantity, _) in _rated(sent).items()}
    expected_input = sent.good * GOOD_TOKENS + 999 + 4000 + 3
    expected_requests = sent.good + 999 + 4000 + 1 + 1
    assert found == {(TENANT, "model-00/input"): expected_input, (TENANT, "requests"): expected_requests}


def _rated(sent: Sent) -> oracle.Totals:
    """The totals of usage with a price."""
    records = results.rated_records(sent.deployment.settings)
    assert {record.content["kind"] for record in records} == {"usage", "unrated"}
    return results.totals_of([record for record in records if record.content["kind"] == "usage"])


def test_every_event_ends_in_exactly_one_place(sent: Sent) -> None:
    counts = results.balance(sent.deployment.settings)
    ends = ("rated", "unrated", "duplicate", "dead_letter", "quarantined")
    assert counts["read"] == sum(counts[end] for end in ends)
    assert counts["rated"] == sent.good + 999 + 4000 + 1
    assert counts["unrated"] == 2, "the unknown tenant and the unknown model"
    assert counts["duplicate"] == 1
    assert counts["quarantined"] == 1
    # A control record is no event: its dead letter counts in no balance.
    letters = [letter for place, letter in sent.letters.items() if place != sent.places["invalid control"]]
    assert sum(letter.rows for letter in letters) == counts["dead_letter"] + counts["quarantined"]


def test_only_the_bad_row_of_a_thousand_is_rejected_and_says_which(sent: Sent) -> None:
    letter = sent.letter("one bad row")
    assert (letter.rows, letter.code) == (1, "invalid_cache_tokens")
    assert letter.batch is not None
    assert letter.batch.column("_row").to_pylist() == [617]
    assert letter.batch.column("id").to_pylist() == ["thousand-617"]


def test_a_dead_letter_keeps_what_came_and_can_be_sent_again(sent: Sent) -> None:
    letter = sent.letter("invalid json")
    assert letter.value == b'{"specversion": "1.0", "id":'
    assert dict(letter.original)["content-type"] == b"application/cloudevents+json"
    keys = {
        message.key()
        for message in read_to_end(
            sent.deployment.settings,
            sent.deployment.settings.topics.usage_dlq,
            partition_for(TENANT, sent.deployment.settings.partitions),
        )
    }
    assert {b"their-key", b"tombstone"} <= keys


def test_a_large_dead_letter_keeps_its_beginning_length_and_hash(sent: Sent) -> None:
    letter = sent.letter("large junk")
    whole = b"\x00\xff" * 1_000_000
    assert (letter.value, letter.length) == (whole[: 64 * 1024], len(whole))
    assert letter.sha256 == hashlib.sha256(whole).hexdigest()


def test_a_record_of_two_megabytes_is_counted(sent: Sent) -> None:
    assert len(encode_batch(two_megabytes())) > 2_000_000
    assert results.balance(sent.deployment.settings, ("test/large",))["rated"] == 4000


def test_an_event_from_the_future_is_quarantined_and_moves_no_time(sent: Sent) -> None:
    letter = sent.letter("future")
    assert letter.code == "future_event"
    assert "ahead of the log" in letter.reason
    assert letter.batch is not None
    [event] = batch_to_models(Kind.TOKEN_USAGE, letter.batch.select(_columns()))
    assert event.id == "future", "it can be released as it came"
    assert all(record.content["provisional"] for record in results.rated_records(sent.deployment.settings))


def _columns() -> list[str]:
    return list(rows_to_batch(Kind.TOKEN_USAGE, [usage("x")]).schema.names)


def test_usage_of_a_tenant_without_a_card_is_kept_without_a_price_and_signalled(sent: Sent) -> None:
    lines = _unrated(sent, STRANGER)
    assert lines == {"unrated/input_uncached": str(GOOD_TOKENS), "unrated/requests": "1"}
    assert _unpriced_signals(sent, STRANGER) == {"input_uncached", "requests"}


def test_usage_of_a_model_without_a_price_is_kept_and_what_has_a_price_is_rated(sent: Sent) -> None:
    assert _unrated(sent, TENANT) == {"unrated/input_uncached": "7"}
    assert _unpriced_signals(sent, TENANT) == {"input_uncached"}


def _unrated(sent: Sent, tenant: str) -> dict[str, str]:
    records = [each.content for each in results.rated_records(sent.deployment.settings)]
    lines = [each for each in records if each["kind"] == "unrated" and each["tenant_id"] == tenant]
    assert all("amount" not in each for each in lines), "never zero: no price is known"
    return {each["sku"]: each["quantity"] for each in lines}


def _unpriced_signals(sent: Sent, tenant: str) -> set[str]:
    signals = results.signals(sent.deployment.settings).values()
    return {
        each["data"]["meter"]
        for each in signals
        if each["tenant_id"] == tenant and each["policy"].startswith("unpriced_usage/") and each["kind"] == "raised"
    }
