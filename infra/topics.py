"""The topics of a deployment: what each is created with, `apply` that makes it so, and the registered logs.

A log's epoch is a small number that rises each time a topic is found to be another log than before (deleted and
created again, another cluster). Revisions are `epoch * 2**40 + offset`, so they rise also across such a change.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from infra.config import Settings
from infra.errors import BrokerError, ConfigurationError, LogChangedError
from infra.kafka import (
    MAX_MESSAGE_BYTES,
    LogIdentity,
    Record,
    admin,
    ask,
    broker_count,
    broker_error,
    describe_topic,
    log_identity,
    read_to_end,
    write,
)
from infra.topic_names import Topics

__all__ = [
    "RegisteredLog",
    "TopicSpec",
    "Topics",
    "apply",
    "different_settings",
    "log_epoch",
    "registered_logs",
    "topic_specs",
]

_HOUR = 3_600_000
_DAY = 24 * _HOUR
_INGEST = {
    "cleanup.policy": "delete",
    "retention.ms": str(35 * _DAY),
    # Event time is payload. The log's own time must not come from a sender's clock: quarantine and retention use it.
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": str(MAX_MESSAGE_BYTES),
}
_KEPT_90_DAYS = {
    "cleanup.policy": "delete",
    "retention.ms": str(90 * _DAY),
    "max.message.bytes": str(MAX_MESSAGE_BYTES),
}
_RATED = {
    "cleanup.policy": "compact,delete",
    "retention.ms": str(400 * _DAY),
    # The ledger is a chain of differences: no link may be compacted away before the longest sink outage is over.
    "min.compaction.lag.ms": str(7 * _DAY),
}
_STATE = {
    "cleanup.policy": "compact",
    # A restart reads the whole partition: compaction has to keep up with half a second's rewrites of the hot keys.
    "segment.ms": str(_HOUR // 6),
    "segment.bytes": str(64 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": str(_HOUR),
}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic is created with: its name, its partitions and the broker's settings for it."""

    name: str
    partitions: int
    config: Mapping[str, str]


def topic_specs(settings: Settings) -> tuple[TopicSpec, ...]:
    """The topics of DESIGN section 4 as this deployment has them."""
    names = settings.topics
    configs = {
        names.usage_events: _INGEST,
        names.gpu_samples: _INGEST,
        names.usage_rated: _RATED,
        names.usage_signals: {"cleanup.policy": "compact"},
        names.usage_excluded: _KEPT_90_DAYS,
        names.usage_dlq: _KEPT_90_DAYS,
        names.rating_catalog: {"cleanup.policy": "compact"},
        names.state: _STATE,
        names.gpu_state: _STATE,
    }
    return tuple(
        TopicSpec(name, 1 if name == names.rating_catalog else settings.partitions, config)
        for name, config in configs.items()
    )


@dataclass(frozen=True, slots=True)
class RegisteredLog:
    """A topic's log as the catalogue knows it: `epoch` 1 is the first log under this name."""

    topic: str
    identity: LogIdentity
    epoch: int


def apply(settings: Settings, *, replication_factor: int | None = None) -> list[str]:
    """Create missing topics, correct settings that differ, register new logs. Returns one line per change.

    An empty list means that nothing was to be done, so a second call always returns one. `replication_factor` defaults
    to the setting, and that to 3 on at least three brokers, else 1. Raises ConfigurationError `partition_count` when a
    topic exists with another number of partitions, BrokerError when the broker refuses.
    """
    client = admin(settings)
    replicas = replication_factor or settings.replication_factor or (3 if broker_count(settings, client) >= 3 else 1)
    # All topics, not ours by name: asking for a name creates it on brokers that create on sight.
    present = set(ask("cannot list topics", lambda s: client.list_topics(timeout=s)).topics)
    specs = topic_specs(settings)
    _check_partitions(client, [spec for spec in specs if spec.name in present])
    changes = _create(client, [spec for spec in specs if spec.name not in present], replicas)
    for spec in specs:
        if spec.name in present:
            changes += _correct(client, spec)
    for topic in (settings.topics.usage_events, settings.topics.gpu_samples):
        changes += _register(settings, client, topic)
    return changes


def _check_partitions(client: AdminClient, specs: list[TopicSpec]) -> None:
    wrong = [
        f"{spec.name} has {found}, not {spec.partitions}"
        for spec in specs
        if (found := describe_topic(client, spec.name).partitions) != spec.partitions
    ]
    if wrong:
        raise ConfigurationError(
            f"the number of partitions is fixed when a topic is created: {'; '.join(wrong)}. Set TOKENMILL_PARTITIONS "
            "to what the topics have, or choose another TOKENMILL_TOPIC_PREFIX",
            code="partition_count",
        )


def _create(client: AdminClient, specs: list[TopicSpec], replicas: int) -> list[str]:
    if not specs:
        return []
    durability = _durability(replicas)
    requests = [NewTopic(spec.name, spec.partitions, replicas, config={**spec.config, **durability}) for spec in specs]
    futures = client.create_topics(requests, operation_timeout=30, request_timeout=35)
    for spec in specs:
        try:
            futures[spec.name].result()
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else applies at the same time
                raise broker_error(f"cannot create topic {spec.name}", failure.args[0]) from failure
    for spec in specs:
        _await_topic(client, spec)
    return [
        f"created {spec.name} ({_count(spec.partitions, 'partition')}, {_count(replicas, 'replica')})" for spec in specs
    ]


def _await_topic(client: AdminClient, spec: TopicSpec, timeout_s: float = 15.0) -> None:
    """Wait until the brokers answer for a topic just created; on several brokers that takes a moment."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if describe_topic(client, spec.name).partitions == spec.partitions:
                return
        except BrokerError as error:
            if error.code != "unknown_topic" or time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise BrokerError(f"topic {spec.name} was created, but the brokers do not show it", code="unknown_topic")
        time.sleep(0.05)


def _durability(replicas: int) -> dict[str, str]:
    return {"min.insync.replicas": str(max(1, replicas - 1))}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _correct(client: AdminClient, spec: TopicSpec) -> list[str]:
    """Set what differs from the specification; settings that the broker does not know are left alone."""
    different = different_settings(client, spec)
    if not different:
        return []
    entries = [
        ConfigEntry(name, wanted, incremental_operation=AlterConfigOpType.SET)
        for name, (_, wanted) in different.items()
    ]
    change = ConfigResource(ConfigResource.Type.TOPIC, spec.name, incremental_configs=entries)
    ask(
        f"cannot change the settings of {spec.name}",
        lambda s: next(iter(client.incremental_alter_configs([change], request_timeout=s).values())).result(),
    )
    return [f"{spec.name}: {name} {found} -> {wanted}" for name, (found, wanted) in different.items()]


def different_settings(client: AdminClient, spec: TopicSpec) -> dict[str, tuple[str, str]]:
    """The settings of a topic that are not as specified: what it has, and what it should have.

    Settings that the broker does not know are left out. Raises BrokerError.
    """
    wanted = {**spec.config, **_durability(describe_topic(client, spec.name).replicas)}
    resource = ConfigResource(ConfigResource.Type.TOPIC, spec.name)
    current = ask(
        f"cannot read the settings of {spec.name}",
        lambda s: next(iter(client.describe_configs([resource], request_timeout=s).values())).result(),
    )
    return {
        name: (str(current[name].value), value)
        for name, value in wanted.items()
        if name in current and _normal(current[name].value) != _normal(value)
    }


def _normal(value: str) -> str:
    return ",".join(sorted(part.strip() for part in value.split(",")))


def _register(settings: Settings, client: AdminClient, topic: str) -> list[str]:
    """Write the log that `topic` is into the catalogue, with the next epoch, unless it is the registered one."""
    identity = log_identity(settings, topic, client)
    known = registered_logs(settings).get(topic)
    if known is not None and known.identity == identity:
        return []
    epoch = 1 if known is None else known.epoch + 1
    value = json.dumps(
        {
            "cluster_id": identity.cluster_id,
            "topic_id": identity.topic_id,
            "partitions": identity.partitions,
            "epoch": epoch,
        }
    )
    write(settings, settings.topics.rating_catalog, [Record(_log_key(topic), value.encode(), 0)])
    return [f"registered {topic} as epoch {epoch} (log {identity})"]


def _log_key(topic: str) -> bytes:
    return f"log|{topic}".encode()


def registered_logs(settings: Settings) -> dict[str, RegisteredLog]:
    """The logs in the catalogue by topic name. Raises BrokerError `unknown_topic` before the first `apply`."""
    found: dict[str, RegisteredLog] = {}
    for message in read_to_end(settings, settings.topics.rating_catalog, 0):
        key, value = message.key(), message.value()
        if key is None or not key.startswith(b"log|") or value is None:
            continue
        entry = json.loads(value)
        identity = LogIdentity(entry["cluster_id"], entry["topic_id"], entry["partitions"])
        topic = key.removeprefix(b"log|").decode()
        found[topic] = RegisteredLog(topic, identity, entry["epoch"])
    return found


def log_epoch(settings: Settings, topic: str) -> RegisteredLog:
    """The registered log of `topic`, after checking that the topic still is that log.

    Raises LogChangedError when the topic was recreated or belongs to another cluster, BrokerError
    `log_not_registered` when `apply` has never seen it.
    """
    registered = registered_logs(settings).get(topic)
    if registered is None:
        raise BrokerError(f"{topic} is not registered: run `tokenmill topics apply`", code="log_not_registered")
    present = log_identity(settings, topic)
    if present != registered.identity:
        raise LogChangedError(
            f"{topic} is not the log it was: registered {registered.identity}, found {present}. Point the "
            "configuration at the former cluster. If that log is gone for good, `tokenmill topics apply` makes this one epoch "
            f"{registered.epoch + 1}; workers go on under another deployment name, for the state is that of the former log",
            registered=str(registered.identity),
            found=str(present),
        )
    return registered
