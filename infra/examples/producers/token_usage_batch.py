"""Sends usage in Arrow batches, 1,000 events a record.   pip install confluent-kafka pyarrow

python token_usage_batch.py broker:9092 [topic] < requests.jsonl          the same input as token_usage.py
"""

import json
import sys
import time
from collections import defaultdict
from datetime import datetime
from typing import Any

import pyarrow as pa
from confluent_kafka import KafkaError, Message, Producer
from token_usage import SOURCE, event_of  # the other example, beside this file

EPOCH = b"%d" % (time.time_ns() // 1_000_000)  # rises with every start; the numbers begin again at 1


def murmur2(data: bytes) -> int:
    """Kafka's hash of a key, as the Java client computes it, without its sign."""
    size, m, mask = len(data), 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ size
    for at in range(0, size - size % 4, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if size % 4:
        h = (h ^ int.from_bytes(data[size - size % 4 :], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF


def row_of(event: dict[str, Any]) -> dict[str, Any]:
    """A row has the fields of `data`, and `id` and `source` of the envelope; instants are timestamps."""
    instants = {name: datetime.fromisoformat(event["data"][name]) for name in ("started_at", "ended_at")}
    return {"id": event["id"], "source": event["source"], **event["data"], **instants}


def encode(rows: list[dict[str, Any]]) -> bytes:
    """One Arrow IPC stream with one record batch. Columns: any order; text, int64, timestamp[us, UTC]."""
    batch = pa.RecordBatch.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue())


if __name__ == "__main__":
    brokers, topic = (*sys.argv[1:], "usage.events.v1")[:2]
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "compression.type": "lz4"})
    partitions = len(producer.list_topics().topics[topic].partitions)
    waiting: dict[int, list[dict[str, Any]]] = defaultdict(list)
    numbers: dict[int, int] = defaultdict(int)
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        """Called for each batch: what failed has to be sent again, with the same epoch and number."""
        if error:
            failed.append(error)

    def send(partition: int) -> None:
        """All rows that wait for a partition, as its next number."""
        numbers[partition] += 1
        headers = {
            "content-type": b"application/vnd.apache.arrow.stream",
            "tokenmill-type": b"io.tokenmill.usage.token.v1",
            "tokenmill-source": SOURCE.encode(),
            "tokenmill-epoch": EPOCH,
            "tokenmill-number": b"%d" % numbers[partition],
        }
        value = encode(waiting.pop(partition))
        producer.produce(topic, value, partition=partition, headers=headers, on_delivery=delivered)
        producer.poll(0)

    for text in sys.stdin:
        row = row_of(event_of(json.loads(text)))
        partition = murmur2(row["tenant_id"].encode()) % partitions
        waiting[partition].append(row)
        if len(waiting[partition]) == 1000:
            send(partition)
    for partition in list(waiting):
        send(partition)
    missing = producer.flush(60) + len(failed)
    sys.exit(f"{missing} batches did not arrive: {failed[:1]}" if missing else 0)
