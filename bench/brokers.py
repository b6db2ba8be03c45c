"""The broker that everything in one run is measured on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from infra.embedded.apache import ApacheKafka, apache_available
from infra.embedded.apache_jars import KAFKA_VERSION
from infra.embedded.tansu import TansuBroker

Choice = Literal["auto", "apache", "embedded"]
_HEAP_MB = 512


@contextmanager
def broker(choice: Choice, directory: Path) -> Iterator[tuple[str, str]]:
    """An empty broker on this machine: its bootstrap servers, and what it is in words.

    `auto`: Apache Kafka where it can run, else the embedded broker. Raises EmbeddedError when the chosen one can't run.
    """
    missing = apache_available()
    if choice == "apache" or (choice == "auto" and missing is None):
        with ApacheKafka(directory, heap_mb=_HEAP_MB) as cluster:
            yield cluster.bootstrap, f"Apache Kafka {KAFKA_VERSION}, one node"
        return
    with TansuBroker(directory) as embedded:
        why = f" (no Apache Kafka: {missing})" if choice == "auto" else ""
        yield embedded.bootstrap, f"the embedded broker{why}"
