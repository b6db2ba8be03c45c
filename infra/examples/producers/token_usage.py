"""Sends usage, one CloudEvent per request.   pip install confluent-kafka

    python token_usage.py broker:9092 [topic] < requests.jsonl

A line of input is what a gateway knows when a request has ended: {"tenant": ..., "request": its own id, "attempt": 1,
"started_at": ..., "ended_at": ..., "answer": what the engine answered in OpenAI's form}. Exit code 1: not everything arrived.
"""

import json
import sys
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

SOURCE = "gateway/eu-1"  # this gateway: the same after a restart, another one for every gateway


def event_of(line: dict[str, Any]) -> dict[str, Any]:
    """The event of one request. The id is the gateway's own, so that a line that is sent twice is counted once."""
    answer, usage = line["answer"], line["answer"]["usage"]
    data = {
        "tenant_id": line["tenant"],
        "request_id": line["request"],
        "attempt": line["attempt"],
        "provider": "vllm",
        "operation": "chat",
        "endpoint": "/v1/chat/completions",
        "request_model": line.get("requested_model", answer["model"]),
        "response_model": answer["model"],  # the one that is charged
        "service_tier": answer.get("service_tier") or "default",
        "status": "success",
        "input_tokens": usage["prompt_tokens"],  # cached ones included
        "cache_read_input_tokens": (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        "output_tokens": usage["completion_tokens"],  # reasoning included
        "reasoning_output_tokens": (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
        "started_at": line["started_at"],
        "ended_at": line["ended_at"],  # decides the hour and the month
    }
    envelope = {"specversion": "1.0", "type": "io.tokenmill.usage.token.v1", "source": SOURCE, "time": line["ended_at"]}
    return {**envelope, "id": f"{line['request']}/{line['attempt']}", "data": data}


if __name__ == "__main__":
    brokers, topic = (*sys.argv[1:], "usage.events.v1")[:2]
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        """Called for each record: what failed has to be sent again, with the same source and id."""
        if error:
            failed.append(error)

    # murmur2_random is how Tokenmill and Java clients choose the partition of a tenant; librdkafka's default is another.
    settings = {"enable.idempotence": True, "partitioner": "murmur2_random", "linger.ms": 50, "compression.type": "lz4"}
    producer = Producer({"bootstrap.servers": brokers, **settings})
    headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    for text in sys.stdin:
        event = event_of(json.loads(text))
        producer.produce(topic, json.dumps(event), event["data"]["tenant_id"], headers=headers, on_delivery=delivered)
        producer.poll(0)
    missing = producer.flush(60) + len(failed)
    sys.exit(f"{missing} events did not arrive: {failed[:1]}" if missing else 0)
