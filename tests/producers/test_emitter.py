"""The emitter against a real broker: order, numbers, epochs, and the truth about what was delivered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from infra.config import KafkaSettings, Settings, environment
from infra.embedded.apache import ApacheKafka
from infra.kafka import read_all
from infra.topics import apply
from producers.emitter import Emitter, new_epoch
from producers.errors import BufferFullError, DeliveryError, EmitterClosedError
from producers.workload import Workload
from schemas.batch import batch_to_models, decode_batch
from schemas.errors import SchemaError
from schemas.events import TokenUsage
from schemas.headers import CONTENT_TYPE, REJECTED_JSON, BatchHeaders, Numbering, header_texts, parse_batch_headers
from schemas.kinds import Kind
from schemas.partitioning import partition_for
from schemas.source_rejects import SourceReject, decode_source_reject
from tests.conftest import MakeSettings
from tests.support import Broker

SMALL = Workload(seed=5, requests=3_000, hours=1, batch_rows=700)
NOBODY = Settings(kafka=KafkaSettings("127.0.0.1:1"))


def usage(number: int, tenant: str = "tenant-0001") -> TokenUsage:
    when = datetime(2026, 1, 1, 0, 0, number % 60, tzinfo=UTC)
    return TokenUsage(
        id=f"e{number}",
        source="gateway/00",
        tenant_id=tenant,
        request_id=f"r{number}",
        provider="p",
        operation="chat",
        endpoint="/v1/chat/completions",
        request_model="m",
        response_model="m",
        status="success",
        input_tokens=number,
        output_tokens=1,
        started_at=when,
        ended_at=when,
    )


def logged(settings: Settings, topic: str | None = None) -> dict[int, list[tuple[BatchHeaders, pa.RecordBatch]]]:
    """The batches of a topic by partition, in the order of the log."""
    found = defaultdict(list)
    for message in read_all(settings, topic or settings.topics.usage_events):
        headers = parse_batch_headers(header_texts(message.headers()))
        found[message.partition()].append((headers, decode_batch(headers.type, message.value())))
    return found


@pytest.fixture
def settings(request: pytest.FixtureRequest, make_settings: MakeSettings) -> Settings:
    where: Broker = request.getfixturevalue(getattr(request, "param", "broker"))
    made = make_settings(where)
    apply(made)
    return made


@pytest.mark.kafka
@pytest.mark.parametrize("settings", ["broker", "tansu"], indirect=True)
def test_every_row_arrives_once_in_order_in_its_tenants_partition(settings: Settings) -> None:
    batches = list(SMALL.batches())
    with Emitter(settings, "gateway/00", max_rows=100) as emitter:
        for batch in batches:
            emitter.emit_batch(batch)
        delivery = emitter.close()
    assert delivery.complete
    assert delivery.delivered == SMALL.expected().offered
    sent: dict[int, list[str]] = defaultdict(list)
    for batch in batches:
        for event_id, tenant in zip(batch["id"].to_pylist(), batch["tenant_id"].to_pylist(), strict=True):
            sent[partition_for(tenant, settings.partitions)].append(event_id)
    found = logged(settings)
    assert {
        partition: [i for _, rows in each for i in rows["id"].to_pylist()] for partition, each in found.items()
    } == sent
    whole = pa.Table.from_batches(batches).sort_by("id")
    arrived = pa.Table.from_batches([rows for each in found.values() for _, rows in each])
    assert arrived.sort_by("id").to_pylist() == whole.to_pylist()


@pytest.mark.kafka
def test_numbers_are_contiguous_per_partition_and_no_batch_is_larger_than_asked_for(settings: Settings) -> None:
    with Emitter(settings, "gateway/00", max_rows=90, linger_s=0.01) as emitter:
        for batch in SMALL.batches():
            emitter.emit_batch(batch)
            time.sleep(0.02)
    found = logged(settings)
    assert len(found) > 1
    for batches in found.values():
        assert [headers.number for headers, _ in batches] == list(range(1, len(batches) + 1))
        assert {headers.epoch for headers, _ in batches} == {emitter.epoch}
        assert {headers.numbering for headers, _ in batches} == {Numbering.SEQUENCE}
        assert max(rows.num_rows for _, rows in batches) <= 90


@pytest.mark.kafka
def test_single_events_and_batches_mix_in_order_and_linger_sends_without_flush(settings: Settings) -> None:
    batch = next(iter(SMALL.batches())).slice(0, 5)
    tenant = "tenant-0000"
    mine = batch.filter(pa.compute.equal(batch["tenant_id"].cast(pa.string()), tenant))
    emitter = Emitter(settings, "gateway/00", linger_s=0.3)
    emitter.emit(usage(1, tenant))
    emitter.emit_batch(mine)
    emitter.emit(usage(2, tenant))
    deadline = time.monotonic() + 15
    while emitter.delivery().pending and time.monotonic() < deadline:
        time.sleep(0.05)
    assert emitter.delivery().pending == 0
    emitter.close()
    ((_, rows),) = logged(settings)[partition_for(tenant, settings.partitions)]
    assert rows["id"].to_pylist() == ["e1", *mine["id"].to_pylist(), "e2"]
    assert batch_to_models(Kind.TOKEN_USAGE, rows.slice(0, 1)) == [usage(1, tenant)]


@pytest.mark.kafka
def test_gpu_samples_go_to_their_topic_by_gpu(settings: Settings) -> None:
    with Emitter(settings, "gpu-agent/n", kind=Kind.GPU_UTILIZATION) as emitter:
        for batch in SMALL.gpu_samples():
            emitter.emit_batch(batch)
    found = logged(settings, settings.topics.gpu_samples)
    count = 0
    for partition, batches in found.items():
        for _, rows in batches:
            count += rows.num_rows
            assert {partition_for(uuid, settings.partitions) for uuid in rows["gpu_uuid"].to_pylist()} == {partition}
    assert count == sum(batch.num_rows for batch in SMALL.gpu_samples())


@pytest.mark.kafka
def test_a_new_emitter_has_a_higher_epoch_and_numbers_from_one_again(settings: Settings) -> None:
    for _ in range(2):
        with Emitter(settings, "gateway/00") as emitter:
            emitter.emit(usage(1))
    ((first, _), (second, _)) = logged(settings)[partition_for("tenant-0001", settings.partitions)]
    assert (first.number, second.number) == (1, 1)
    assert first.epoch < second.epoch


def test_epochs_rise_even_within_one_millisecond() -> None:
    epochs = [new_epoch("s") for _ in range(100)]
    assert epochs == sorted(set(epochs))


@pytest.mark.kafka
def test_rejected_input_is_sent_unnumbered_and_counted(settings: Settings) -> None:
    rejected = SourceReject(file="trace.csv", line=7, reason="ContextTokens is empty", text="2023-11-16 18:15:46,,4")
    with Emitter(settings, "trace/x") as emitter:
        emitter.emit_rejected(rejected)
    assert emitter.close().delivered == 1
    (message,) = read_all(settings, settings.topics.usage_events)
    assert header_texts(message.headers()) == {CONTENT_TYPE: REJECTED_JSON}
    assert decode_source_reject(message.value()) == rejected


@pytest.mark.kafka
def test_a_batch_too_big_for_a_record_is_cut(settings: Settings) -> None:
    batch = next(iter(Workload(seed=1, requests=2_000, tenants=1, nodes=1).batches()))
    with Emitter(settings, "gateway/00", max_rows=1_000, max_bytes=32 * 1024) as emitter:
        emitter.emit_batch(batch)
    batches = [each for found in logged(settings).values() for each in found]
    assert sum(rows.num_rows for _, rows in batches) == batch.num_rows
    assert [headers.number for headers, _ in batches] == list(range(1, len(batches) + 1))
    sizes = [len(message.value()) for message in read_all(settings, settings.topics.usage_events)]
    assert max(sizes) <= 32 * 1024


@pytest.mark.kafka
def test_several_threads_may_emit_at_once(settings: Settings) -> None:
    def send(emitter: Emitter, first: int) -> None:
        for number in range(first, first + 200):
            emitter.emit(usage(number))

    with Emitter(settings, "gateway/00", max_rows=10) as emitter:
        threads = [threading.Thread(target=send, args=(emitter, first)) for first in (0, 1_000, 2_000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (batches,) = logged(settings).values()
    assert [headers.number for headers, _ in batches] == list(range(1, len(batches) + 1))
    assert len({i for _, rows in batches for i in rows["id"].to_pylist()}) == 600


def test_a_dead_broker_is_reported_within_the_timeout() -> None:
    emitter = Emitter(NOBODY, "gateway/00")
    for number in range(10):
        emitter.emit(usage(number))
    began = time.monotonic()
    delivery = emitter.close(timeout=1.0)
    assert time.monotonic() - began < 10
    assert (delivery.delivered, delivery.failed, delivery.pending) == (0, 0, 10)
    assert not delivery.complete
    with pytest.raises(DeliveryError, match="10 of 10 events were not delivered"):
        delivery.require()
    assert emitter.close() == delivery


def test_events_that_the_broker_does_not_take_in_time_have_failed_with_a_reason() -> None:
    emitter = Emitter(NOBODY, "gateway/00", delivery_timeout_s=0.3, linger_s=0.0)
    emitter.emit(usage(1))
    delivery = emitter.flush(timeout=15)
    emitter.close(timeout=0)
    assert (delivery.delivered, delivery.failed, delivery.pending) == (0, 1, 0)
    assert delivery.reasons


def test_leaving_the_block_raises_when_something_was_not_delivered() -> None:
    with pytest.raises(DeliveryError), Emitter(NOBODY, "gateway/00", delivery_timeout_s=0.3) as emitter:
        emitter.emit(usage(1))


def test_another_error_is_not_hidden_by_the_delivery() -> None:
    def fail() -> None:
        with Emitter(NOBODY, "gateway/00", delivery_timeout_s=0.3) as emitter:
            emitter.emit(usage(1))
            raise KeyError("first")

    with pytest.raises(KeyError):
        fail()


def test_a_full_buffer_refuses_and_takes_nothing_of_the_call() -> None:
    emitter = Emitter(NOBODY, "gateway/00", buffer_bytes=200_000, on_full="raise")
    batches = list(Workload(seed=1, requests=5_000, batch_rows=500).batches())
    taken: list[int] = []

    def fill() -> None:
        for batch in batches:
            emitter.emit_batch(batch)
            taken.append(batch.num_rows)

    with pytest.raises(BufferFullError):
        fill()
    assert 0 < sum(taken) < 5_000
    assert emitter.close(timeout=0).pending == sum(taken)


def test_a_full_buffer_waits_until_there_is_room() -> None:
    emitter = Emitter(NOBODY, "gateway/00", buffer_bytes=50_000, delivery_timeout_s=0.5)
    batches = list(Workload(seed=1, requests=2_000, batch_rows=500).batches())
    for batch in batches:  # room comes when the broker has been silent for too long
        emitter.emit_batch(batch)
    delivery = emitter.close(timeout=20)
    assert delivery.failed == sum(batch.num_rows for batch in batches)


def test_wrong_events_are_refused_and_nothing_is_taken() -> None:
    emitter = Emitter(NOBODY, "gateway/00")
    with pytest.raises(TypeError, match="takes TokenUsage"):
        emitter.emit(SourceReject(file="f", line=1, reason="r"))  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="column input_tokens of type string"):
        emitter.emit_batch(pa.RecordBatch.from_pydict({"id": ["a"], "input_tokens": ["1"]}))
    with pytest.raises(SchemaError, match="needs the column id"):
        emitter.emit_batch(pa.RecordBatch.from_pydict({"input_tokens": [1]}))
    assert emitter.close(timeout=0).pending == 0


def test_a_closed_emitter_takes_no_more() -> None:
    emitter = Emitter(NOBODY, "gateway/00")
    assert emitter.close(timeout=0).complete
    with pytest.raises(EmitterClosedError):
        emitter.emit(usage(1))
    with pytest.raises(EmitterClosedError):
        emitter.emit_batch(next(iter(SMALL.batches())))


@pytest.mark.apache
@pytest.mark.slow
def test_a_broker_that_dies_and_returns_has_every_batch_once(
    apache_one: ApacheKafka, make_settings: MakeSettings
) -> None:
    settings = make_settings(apache_one)
    apply(settings)
    with Emitter(settings, "gateway/00", max_rows=20) as emitter:
        batches = list(SMALL.batches())
        for batch in batches[: len(batches) // 2]:
            emitter.emit_batch(batch)
        apache_one.kill(1)
        for batch in batches[len(batches) // 2 :]:
            emitter.emit_batch(batch)
        apache_one.restart(1)
        assert emitter.close(timeout=60).complete
    for found in logged(settings).values():
        assert [headers.number for headers, _ in found] == list(range(1, len(found) + 1))
    total = sum(rows.num_rows for found in logged(settings).values() for _, rows in found)
    assert total == SMALL.expected().offered


@pytest.mark.kafka
def test_the_fault_after_produce_happens_and_leaves_no_number_used_twice(settings: Settings, tmp_path: object) -> None:
    program = (
        "from infra.config import load_settings\n"
        "from producers.emitter import Emitter\n"
        "from producers.workload import Workload\n"
        "emitter = Emitter(load_settings(), 'gateway/00', max_rows=50)\n"
        "for batch in Workload(seed=5, requests=3000, hours=1, batch_rows=700).batches():\n"
        "    emitter.emit_batch(batch)\n"
        "    emitter.flush()\n"
    )
    log = f"{tmp_path}/faults"
    plan = {"TOKENMILL_FAULTS": "emitter.after_produce=20:kill", "TOKENMILL_FAULT_LOG": log}
    child = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment(settings), **plan}, check=False, timeout=60
    )
    assert child.returncode == -signal.SIGKILL
    with open(log) as lines:
        assert '"emitter.after_produce"' in lines.read()
    with Emitter(settings, "gateway/00", max_rows=50) as emitter:
        for batch in SMALL.batches():
            emitter.emit_batch(batch)
    for batches in logged(settings).values():
        numbers = [(headers.epoch, headers.number) for headers, _ in batches]
        assert len(numbers) == len(set(numbers))
        assert numbers == sorted(numbers)
