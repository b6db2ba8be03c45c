"""What several test packages need: brokers by kind, and waiting for something to become true."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from confluent_kafka import KafkaException

from infra.config import Settings
from infra.kafka import admin

T = TypeVar("T")


class HasBootstrap(Protocol):
    @property
    def bootstrap(self) -> str: ...


@dataclass(frozen=True)
class Broker:
    """A running broker that tests share: they neither stop nor freeze it."""

    bootstrap: str
    kind: Literal["given", "container", "apache", "tansu"]

    @property
    def real(self) -> bool:
        """Whether it is Apache Kafka (a given one is taken to be)."""
        return self.kind != "tansu"


def delete_topics(settings: Settings) -> None:
    """Remove the topics of a deployment that has a prefix of its own."""
    assert settings.topic_prefix, "or it would be the topics of everybody"
    with suppress(KafkaException):  # tidying up: a broker that has gone has no topics
        client = admin(settings)
        names = [name for name in client.list_topics(timeout=5).topics if name.startswith(settings.topic_prefix)]
        for future in (client.delete_topics(names, operation_timeout=10) if names else {}).values():
            future.result(20)


def eventually(condition: Callable[[], T], timeout: float = 15.0, *, every: float = 0.05, what: str = "") -> T:
    """The first true value of `condition()`; fails, with the last value, after `timeout` seconds without one."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'the condition'} did not come true within {timeout:g} s: last {value!r}")
        time.sleep(every)
