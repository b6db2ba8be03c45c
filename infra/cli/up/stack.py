"""What `tokenmill up` keeps running: a broker, ClickHouse, workers and sinks, each as a part of the supervisor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from infra.cli.up.directory import Directory
from infra.config import KafkaSettings, Settings, environment
from infra.embedded.apache import ApacheKafka
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.embedded.ports import free_port
from infra.embedded.process import ChildProcess
from infra.embedded.tansu import TansuBroker
from infra.errors import EmbeddedError
from infra.supervisor import Part, Process

BROKER: Final = "broker"
STORE: Final = "clickhouse"
_COMMAND = [sys.executable, "-P", "-c", "from infra.cli.main import main; main()"]
_RESTART_S = 60.0
_APACHE_HEAP_MB = 512
_LOG_IS_GONE = (
    "it held the log in memory, so the log is gone: start again with --reset, or with --broker apache, which keeps its "
    "log on disk"
)


@dataclass(frozen=True, slots=True)
class Service:
    """A worker or a sink: its name, where it serves its metrics, and its log."""

    name: str
    role: str
    metrics: str
    log: Path


@dataclass(frozen=True, slots=True)
class Running:
    """A part that was started before the supervisor looks after it."""

    part: Part
    process: Process
    log: Path


@dataclass(frozen=True, slots=True)
class Stack:
    """Everything that runs. `settings` point at it."""

    settings: Settings
    broker: Running | None
    """None: a Kafka that others run."""
    store: Running | None
    """None: a ClickHouse that others run."""
    services: tuple[Service, ...]

    def names(self, role: str) -> tuple[str, ...]:
        """The names of the services of a role."""
        return tuple(service.name for service in self.services if service.role == role)

    def part(self, service: Service) -> Part:
        """How a worker or a sink is started."""
        settings = replace(self.settings, metrics_address=service.metrics)

        def start() -> Process:
            # Settings of this shell are in the environment already; others of its variables may still name faults to plan.
            # The C library's memory arenas, one per thread, never give back what a burst took: two are enough.
            environ = {"MALLOC_ARENA_MAX": "2"} | os.environ | environment(settings)
            command = [*_COMMAND, service.role]
            return ChildProcess(service.name, command, log=service.log, environ=environ, end_with_parent=True)

        return Part(service.name, start)


def start_embedded(directory: Directory, stack: ExitStack) -> tuple[KafkaSettings, Running]:
    """Start the broker that holds its log in memory. Raises EmbeddedError when it does not start."""
    broker = TansuBroker(directory.logs, end_with_parent=True)
    stack.callback(broker.stop)
    broker.start()
    running = Running(Part(BROKER, _never, final=_LOG_IS_GONE), _present(broker.process), broker.log)
    return KafkaSettings(broker.bootstrap), running


def start_apache(directory: Directory, stack: ExitStack) -> tuple[KafkaSettings, Running]:
    """Start Apache Kafka on what it kept. Raises EmbeddedError, `no_apache` where it cannot run."""
    kafka = ApacheKafka(directory.apache, keep_data=True, heap_mb=_APACHE_HEAP_MB, end_with_parent=True)
    stack.callback(kafka.stop)
    kafka.start()

    def restart() -> Process:
        try:
            kafka.restart(timeout_s=_RESTART_S)
        except EmbeddedError:
            if kafka.pid() is not None:
                kafka.kill()  # the next attempt begins with a new process
            raise
        return _present(kafka.process())

    running = Running(Part(BROKER, restart), _present(kafka.process()), kafka.log())
    return KafkaSettings(kafka.bootstrap), running


def start_store(directory: Directory, stack: ExitStack) -> tuple[EmbeddedClickHouse, Running]:
    """Start the embedded ClickHouse. Raises EmbeddedError when it does not start."""
    store = EmbeddedClickHouse(directory.store, log=directory.logs / f"{STORE}.log")
    stack.callback(store.stop)
    store.start()

    def restart() -> Process:
        return _present(store.start(_RESTART_S).process)

    return store, Running(Part(STORE, restart), _present(store.process), store.log)


def services(settings: Settings, directory: Directory, workers: int, sinks: int) -> tuple[Service, ...]:
    """The workers and sinks, each with an address of its own for its metrics.

    From TOKENMILL_METRICS_ADDRESS on, where it is set: its port, and one more for each process; else on free ports.
    """
    host, _, port = settings.metrics_address.rpartition(":")
    made: list[Service] = []
    for role, number in (("worker", workers), ("sink", sinks)):
        for index in range(1, number + 1):
            name = f"{role}-{index}"
            own = int(port) + len(made) if port.strip("0") else free_port()
            made.append(Service(name, role, f"{host or '127.0.0.1'}:{own}", directory.logs / f"{name}.log"))
    return tuple(made)


def _never() -> Process:
    raise EmbeddedError(_LOG_IS_GONE, code="log_gone")


def _present(process: ChildProcess | None) -> ChildProcess:
    if process is None:
        raise EmbeddedError("a part of the stack has no process", code="embedded_start")
    return process


StartBroker = Callable[[Directory, ExitStack], tuple[KafkaSettings, Running]]
STARTERS: Final[dict[str, StartBroker]] = {"embedded": start_embedded, "apache": start_apache}
