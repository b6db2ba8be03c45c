"""Finding out early, and within bounded time, that nobody answers where Kafka should be."""

import time

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from infra.config import Settings
from infra.errors import BrokerError, ConfigurationError
from infra.kafka import client_config

COMMAND_S = 5.0
"""How long a command that prints a result waits for an answer."""
SERVICE_S = 20.0
"""How long a worker or a sink does: it may have been started together with the broker."""
_CALL_S = 1.0


def require_topics(settings: Settings, *names: str, timeout_s: float = COMMAND_S) -> None:
    """Wait until Kafka answers and see that it has these topics.

    Asking for a topic by name would create it on some brokers, with another number of partitions than ours. Raises
    BrokerError `unknown_topic`, and what `require_kafka` raises.
    """
    there = require_kafka(settings, timeout_s)
    missing = sorted(set(names) - there)
    if missing:
        raise BrokerError(
            f"Kafka at {settings.kafka.bootstrap} has no topic {', '.join(missing)}: run `tokenmill topics apply`, or set "
            "TOKENMILL_TOPIC_PREFIX",
            code="unknown_topic",
        )


def require_kafka(settings: Settings, timeout_s: float = COMMAND_S) -> frozenset[str]:
    """Wait until Kafka answers; the names of its topics.

    Raises BrokerError with the reason (refused, unknown host, wrong password or certificate) when it does not within
    `timeout_s`, ConfigurationError when librdkafka does not know an option of TOKENMILL_KAFKA_OPTIONS.
    """
    reasons: list[str] = []

    def note(error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            reasons.append(_reason(error.str()))

    try:
        client = AdminClient(client_config(settings, error_cb=note))
    except KafkaException as failure:
        raise ConfigurationError(f"TOKENMILL_KAFKA_OPTIONS: {failure.args[0].str()}") from None
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return frozenset(client.list_topics(timeout=_CALL_S).topics)
        except KafkaException as failure:
            client.poll(0)
            if time.monotonic() > deadline:
                reason = reasons[-1] if reasons else _reason(failure.args[0].str())
                raise BrokerError(
                    f"no Kafka answers at {settings.kafka.bootstrap} ({reason}): start it, or set TOKENMILL_KAFKA",
                    code="broker_unreachable",
                ) from None


def _reason(text: str) -> str:
    """librdkafka's reason without addresses and timing: `Connection refused`."""
    text = text.partition(" (after ")[0].partition(" (in state ")[0]
    return text.rpartition(" failed: ")[2].rpartition("/bootstrap: ")[2]
