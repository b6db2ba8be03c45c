"""Clients of Kafka: their configuration, and what their errors mean.

Import these from `infra.kafka`, which holds everything that asks or reads with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from infra.config import Settings
from infra.errors import BrokerError
from infra.logs import get_logger

T = TypeVar("T")

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest record our topics take: a 2 MB record that somebody sends can be read, and be dead-lettered."""

_PROPERTIES_WITH_UNDERSCORE = (
    "log_level",
    "error_cb",
    "stats_cb",
    "throttle_cb",
    "oauth_cb",
    "on_commit",
    "on_delivery",
)
PASSING_ERRORS = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._DESTROY_BROKER,  # seen on the first request to a broker that has just started
        KafkaError._WAIT_COORD,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,  # seen on a topic that was just created
        KafkaError.REQUEST_TIMED_OUT,
    }
)
"""Errors that end by themselves: a broker starts, a leader moves."""
_NO_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._NOENT,  # what listing the offsets of a topic without leaders says
    }
)
_log = get_logger("infra.kafka")


def client_config(settings: Settings, **extra: object) -> dict[str, object]:
    """librdkafka properties for any client of this deployment, with `extra` on top.

    A keyword's underscores stand for dots: `client_config(settings, group_id="x")` sets `group.id`; names with dots may
    be given as `**{"group.id": "x"}`. Clients are silent on stderr (`log_level` 0); errors come through calls and
    `error_cb` (see `log_client_error`).
    """
    properties: dict[str, object] = {
        "client.id": settings.deployment,
        "log_level": 0,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        # A frozen broker keeps its connections open: after this long without an answer the client asks another one.
        "socket.timeout.ms": 10_000,
        **settings.kafka.properties,
        "bootstrap.servers": settings.kafka.bootstrap,
    }
    for name, value in extra.items():
        properties[name if name in _PROPERTIES_WITH_UNDERSCORE else name.replace("_", ".")] = value
    if "transaction.timeout.ms" in properties:
        # librdkafka refuses a producer whose requests may outlast its transactions.
        limits = (int(str(properties[name])) for name in ("socket.timeout.ms", "transaction.timeout.ms"))
        properties["socket.timeout.ms"] = min(limits)
    return properties


def log_client_error(error: KafkaError) -> None:
    """An `error_cb` that logs: the only place where a wrong password or certificate shows up.

    Not for transactional producers: a callback that runs beside a fatal error hides it behind a SystemError.
    """
    _log.warning("kafka.client_error", code=error.name(), reason=error.str())


def admin(settings: Settings) -> AdminClient:
    """A new admin client. It has no close: drop the reference."""
    return AdminClient(client_config(settings, error_cb=log_client_error))


def ask(what: str, request: Callable[[float], T], *, timeout_s: float = 15.0) -> T:
    """The answer of `request(seconds it may take)`, repeated while the broker is starting or a leader moves.

    `what` begins the message of the BrokerError that is raised when the broker refuses or stays silent.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        left = deadline - time.monotonic()
        try:
            return request(max(min(left, 5.0), 0.1))
        except KafkaException as failure:
            error = failure.args[0]
            if not (error.retriable() or error.code() in PASSING_ERRORS) or left <= 0.1:
                raise broker_error(what, error) from failure
        time.sleep(min(0.1, max(left, 0.0)))


def broker_error(what: str, error: KafkaError) -> BrokerError:
    """A BrokerError for librdkafka's `error`; its code is `unknown_topic`, `broker_unreachable` or `broker`."""
    code = "broker"
    if error.code() in _NO_TOPIC:
        code = "unknown_topic"
    elif error.code() in PASSING_ERRORS:
        code = "broker_unreachable"
    return BrokerError(f"{what}: {error.str()}", code=code, error=error.name())
