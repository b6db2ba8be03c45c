"""Checks of Kafka: reachable, large enough, topics as they should be, the logs that state follows, the clock."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Final

import orjson
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.cli.doctor.check import Check, ok, problem, warning
from infra.cli.reach import require_kafka
from infra.config import Settings
from infra.errors import BrokerError, ConfigurationError, LogChangedError
from infra.kafka import admin, ask, client_config, read_from, watermarks
from infra.topics import RegisteredLog, different_settings, log_epoch, topic_specs
from streams.restore import POSITION_KEY, describe

_SKEW_SEEN_S: Final = 0.05
_SKEW_WARNING_S: Final = 2.0
_SKEW_PROBLEM_S: Final = 60.0
_PROBE_S: Final = 10.0
_STATE_TAIL: Final = 64


def broker_checks(settings: Settings, probe: bool) -> Iterator[Check]:
    """Every check of Kafka; the first one alone when it does not answer."""
    try:
        there = require_kafka(settings)
    except (BrokerError, ConfigurationError) as error:
        yield problem("Kafka", error.message, "start it, or correct TOKENMILL_KAFKA and its security settings")
        return
    client = admin(settings)
    yield _cluster(settings, client)
    missing = [spec.name for spec in topic_specs(settings) if spec.name not in there]
    yield from _topics(settings, client, there, missing)
    if not missing:
        yield from _logs(settings)
    if probe:
        yield _clock(settings, client)


def _cluster(settings: Settings, client: AdminClient) -> Check:
    described = ask("cannot describe the cluster", lambda s: client.describe_cluster(request_timeout=s).result())
    nodes = len(described.nodes)
    found = f"{settings.kafka.bootstrap}: {nodes} broker{'' if nodes == 1 else 's'}, cluster {described.cluster_id}"
    if nodes < 3:
        return warning("Kafka", f"{found}: a lost disk loses usage", "production: three brokers or more")
    return ok("Kafka", found)


def _topics(settings: Settings, client: AdminClient, there: dict[str, int], missing: list[str]) -> Iterator[Check]:
    if missing:
        yield problem("topics", f"missing: {', '.join(missing)}", "run `tokenmill topics apply`")
    wrong = [
        f"{spec.name} has {there[spec.name]}, not {spec.partitions}"
        for spec in topic_specs(settings)
        if spec.name in there and there[spec.name] != spec.partitions
    ]
    if wrong:
        yield problem(
            "partitions",
            "; ".join(wrong),
            "set TOKENMILL_PARTITIONS to what the topics have: the number is fixed when they are created",
        )
    present = [spec for spec in topic_specs(settings) if spec.name in there]
    different = [
        f"{spec.name}: {name} is {found}, not {wanted}"
        for spec in present
        for name, (found, wanted) in different_settings(client, spec).items()
    ]
    if different:
        yield problem("topic settings", "; ".join(different), "run `tokenmill topics apply`, it corrects them")
    if present and not (missing or wrong or different):
        yield ok("topics", f"all {len(present)} as they should be, {settings.partitions} partitions")


def _logs(settings: Settings) -> Iterator[Check]:
    """Whether the ingest topics are the registered logs, and the state was made from them."""
    topics = settings.topics
    for topic, state in ((topics.usage_events, topics.state), (topics.gpu_samples, topics.gpu_state)):
        try:
            registered = log_epoch(settings, topic)
        except LogChangedError as error:
            yield problem(f"log of {topic}", error.message, "docs/operations.md, recreated topics")
            continue
        except BrokerError as error:
            yield problem(f"log of {topic}", error.message, "run `tokenmill topics apply`")
            continue
        followed = _followed(settings, state)
        strange = sorted(partition for partition, log in followed.items() if log != describe(registered))
        if strange:
            yield problem(
                f"log of {topic}",
                f"the state of partitions {', '.join(map(str, strange))} follows another log than {registered.identity}",
                "docs/operations.md, recreated topics",
            )
        else:
            yield ok(f"log of {topic}", _known(registered, len(followed)))


def _known(registered: RegisteredLog, partitions: int) -> str:
    state = f"the state of {partitions} partitions follows it" if partitions else "no state yet"
    return f"epoch {registered.epoch}, {state}"


def _followed(settings: Settings, topic: str) -> dict[int, str]:
    """The log that each partition's state was made from, by its last position record; none near the end: left out."""
    marks = watermarks(settings, topic)
    starts = {p: max(mark.low, mark.high - _STATE_TAIL) for p, mark in marks.items() if mark.high > mark.low}
    found = {}
    for message in read_from(settings, topic, starts):
        value = message.value()
        if message.key() == POSITION_KEY and value is not None:
            found[message.partition()] = str(orjson.loads(value)[1])
    return found


def _clock(settings: Settings, client: AdminClient) -> Check:
    """This machine's clock beside the broker's: the log time of a record written to a topic made for it."""
    topic = f"{settings.topic_prefix}tokenmill.doctor.{uuid.uuid4().hex[:12]}"
    config = {"message.timestamp.type": "LogAppendTime", "retention.ms": "3600000"}
    try:
        client.create_topics([NewTopic(topic, 1, 1, config=config)], operation_timeout=_PROBE_S)[topic].result()
    except KafkaException as failure:
        return warning(
            "clock", f"not compared: {failure.args[0].str()}", "give the right to create topics, or --no-probe"
        )
    try:
        written = _write(settings, topic)
    finally:
        client.delete_topics([topic], operation_timeout=_PROBE_S)[topic].exception()
    if written is None:
        return warning("clock", "not compared: the broker took no record in time", "see whether topics have a leader")
    before, log_ms, after = written
    if log_ms is None:
        return ok("clock", "not compared: this broker keeps no log time of its own")
    return skew(before, log_ms / 1000, after)


def skew(before: float, log_time: float, after: float) -> Check:
    """How far the clocks are apart at least: the broker's time lies between sending and the answer, in Unix seconds."""
    apart = max(before - log_time, log_time - after, 0.0)
    side = "behind" if log_time > after else "ahead of"
    found = f"{apart:.1f} s {side} the broker's" if apart >= _SKEW_SEEN_S else "agrees with the broker's"
    mend = "synchronise the clocks (chrony, NTP): events ahead of the log are quarantined"
    if apart > _SKEW_PROBLEM_S:
        return problem("clock", found, mend)
    return warning("clock", found, mend) if apart > _SKEW_WARNING_S else ok("clock", found)


def _write(settings: Settings, topic: str) -> tuple[float, int | None, float] | None:
    """Unix seconds before sending, log time in milliseconds where the broker has one, and seconds at the answer."""
    answers: list[tuple[int | None, float]] = []

    def delivered(error: object, message: Message) -> None:
        if error is None:
            kind, milliseconds = message.timestamp()
            answers.append((milliseconds if kind == TIMESTAMP_LOG_APPEND_TIME else None, time.time()))

    producer = Producer(client_config(settings, message_timeout_ms=int(_PROBE_S * 1000)))
    before = 0.0
    for _ in range(2):  # the first one makes the connection: only the second is timed closely
        before = time.time()
        producer.produce(topic, b"clock", on_delivery=delivered)
        producer.flush(_PROBE_S)
    return (before, *answers[-1]) if answers else None
