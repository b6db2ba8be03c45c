"""What several test packages need: brokers by kind, and waiting for something to become true."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

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
