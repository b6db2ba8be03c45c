"""Finding out early, and within bounded time, that nobody answers where Kafka should be."""

import time

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from infra.cli.options import place_of
from infra.config import Settings
from infra.errors import BrokerError, ConfigurationError
from infra.kafka import client_config

COMMAND_S = 5.0
"""How long a command that prints a result waits for an answer."""
SERVICE_S = 20.0
"""How long a worker or a sink does: it may have been started together with the broker."""
_CALL_S = 1.0


def require_topics(settings: Settings, *names: str, patient: bool = False) -> None:
    """Wait until Kafka answers and see that it has these topics, with the configured number of partitions.

    `patient`: wait SERVICE_S instead of COMMAND_S.
    Asking for a topic by name would create it on some brokers, with another number than ours; a process that counts other
    partitions than there are would send tenants to the wrong ones. Raises BrokerError `unknown_topic`, ConfigurationError
    `partition_count`, and what `require_kafka` raises.
    """
    there = require_kafka(settings, SERVICE_S if patient else COMMAND_S)
    missing = sorted(set(names) - set(there))
    if missing:
        named = missing[0] + (f" and {len(missing) - 1} others" if len(missing) > 1 else "")
        raise BrokerError(
            f"Kafka at {settings.kafka.bootstrap} has no topic {named}: run `tokenmill topics apply`, or set "
            "TOKENMILL_TOPIC_PREFIX",
            code="unknown_topic",
            missing=missing,
        )
    for name in sorted(set(names) - {settings.topics.rating_catalog}):
        if there[name] != settings.partitions:
            raise ConfigurationError(
                f"topic {name} has {there[name]} partitions, TOKENMILL_PARTITIONS says {settings.partitions}: set it to "
                f"{there[name]}",
                code="partition_count",
            )


def require_kafka(settings: Settings, timeout_s: float | None = None) -> dict[str, int]:
    """Wait until Kafka answers; its topics with their numbers of partitions.

    Raises BrokerError with the reason (refused, unknown host, wrong password or certificate) when it does not within
    `timeout_s` (default: COMMAND_S), ConfigurationError when librdkafka refuses one of the kafka options.
    """
    reasons: list[str] = []

    def note(error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            reasons.append(_reason(error.str()))

    try:
        client = AdminClient(client_config(settings, error_cb=note))
    except KafkaException as failure:
        raise ConfigurationError(f"{place_of('kafka_options')}: {failure.args[0].str()}") from None
    deadline = time.monotonic() + (COMMAND_S if timeout_s is None else timeout_s)
    while True:
        try:
            found = client.list_topics(timeout=_CALL_S).topics
            return {name: len(topic.partitions) for name, topic in found.items()}
        except KafkaException as failure:
            client.poll(0)
            if time.monotonic() > deadline:
                reason = reasons[-1] if reasons else _reason(failure.args[0].str())
                raise BrokerError(
                    f"no Kafka answers at {settings.kafka.bootstrap} ({reason}): {_advice(reason)}",
                    code="broker_unreachable",
                ) from None


def _advice(reason: str) -> str:
    """What to do about a broker that does not answer, by what librdkafka says of it."""
    if "SASL" in reason or "uthentication" in reason:
        return "check kafka_user, its password and kafka_sasl_mechanism; `tokenmill config` shows what holds"
    if any(sign in reason for sign in ("certificate", "SSL", "ssl.", "security.protocol")):
        return "check kafka_security_protocol and kafka_ca_file; `tokenmill config` shows what holds"
    return "start it, or set TOKENMILL_KAFKA"


def _reason(text: str) -> str:
    """librdkafka's reason without addresses and timing: `Connection refused`."""
    text = text.partition(" (after ")[0].partition(" (in state ")[0]
    return text.rpartition(" failed: ")[2].rpartition("/bootstrap: ")[2]
