"""Apache Kafka in KRaft mode from its Maven jars: one node or several, with the faults that tests need.

Each node is broker and controller. Timeouts are far below Kafka's defaults, so that a killed node is replaced within
seconds; memory is about 200 MB a node. There is no fsync: what is acknowledged survives the death of a process, not
that of the machine.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.embedded.apache_format import format_node, is_formatted, new_cluster_id
from infra.embedded.apache_jars import apache_available, fetch_jars, java
from infra.embedded.ports import accepts, free_port
from infra.embedded.process import ChildProcess, plain_environment
from infra.errors import EmbeddedError

__all__ = ["ApacheKafka", "apache_available"]

_HOST = "127.0.0.1"
_ATTEMPTS = 3
_COMMON = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    # The default (10 s) delays the end of every abandoned transaction by up to that.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
    # Memory: the log cleaner alone takes 128 MB by default.
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.cleaner.threads": "1",
    "log.index.size.max.bytes": "1048576",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
}
_ONE_NODE = {
    # A killed broker may come back only when its registration has expired: default 9 s.
    "broker.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "200",
}
_SEVERAL_NODES = {
    "broker.session.timeout.ms": "1500",
    "broker.heartbeat.interval.ms": "300",
    "controller.quorum.fetch.timeout.ms": "800",
    "controller.quorum.election.timeout.ms": "400",
    "controller.quorum.election.backoff.max.ms": "300",
    "controller.quorum.request.timeout.ms": "800",
    "replica.lag.time.max.ms": "3000",
}


@dataclass(slots=True)
class _Node:
    """One broker: its directory, its two ports and, while it runs, its process."""

    number: int
    directory: Path
    port: int
    controller_port: int
    process: ChildProcess | None = None
    frozen: bool = False

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.running


class ApacheKafka:
    """A Kafka cluster on this machine; a context manager that starts it and stops it.

    Nodes are numbered from 1. With `keep_data` the log survives `stop` and is found again by the next instance on the
    same `data_dir` (with the same number of nodes); without it `stop` removes it.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        nodes: int = 1,
        port: int | None = None,
        keep_data: bool = False,
        heap_mb: int = 192,
        end_with_parent: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """`port` is that of node 1 (default: a free one); `options` are broker properties that win over ours.

        `end_with_parent`: see `ChildProcess`.
        """
        self.data_dir = data_dir.absolute()
        self.keep_data = keep_data
        self._count = nodes
        self._wanted_port = port
        self._heap_mb = heap_mb
        self._end_with_parent = end_with_parent
        self._options = dict(options or {})
        self._nodes: dict[int, _Node] = {}
        self._lock: IO[str] | None = None
        self._libs = Path()

    @property
    def bootstrap(self) -> str:
        """Bootstrap servers of all nodes. Raises EmbeddedError before the start."""
        if not self._nodes:
            raise EmbeddedError("this Apache Kafka has not been started", code="embedded_not_started")
        return ",".join(f"{_HOST}:{node.port}" for node in self._nodes.values())

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the nodes whose process is alive, frozen ones included."""
        return tuple(number for number, node in self._nodes.items() if node.running)

    def pid(self, node: int = 1) -> int | None:
        """The process id of a node, None when it does not run."""
        process = self._node(node).process
        return process.pid if process is not None and process.running else None

    def process(self, node: int = 1) -> ChildProcess | None:
        """The process of a node's last start."""
        return self._node(node).process

    def log(self, node: int = 1) -> Path:
        """The file that a node's output goes to."""
        return self._node(node).directory / "kafka.log"

    def start(self, timeout_s: float = 60.0) -> None:
        """Start all nodes and wait until they serve groups. Raises EmbeddedError when that fails."""
        if self.running:
            return
        reason = apache_available()
        if reason is not None:
            raise EmbeddedError(f"Apache Kafka cannot run here: {reason}", code="no_apache")
        self._libs = fetch_jars()
        self._take_directory()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._launch(timeout_s)
            except BaseException as error:
                self._end_processes(patient=False)
                # A port chosen a moment ago may have been taken by somebody else: choose again.
                again = isinstance(error, EmbeddedError) and "failed to bind" in str(error)
                if not again or self._wanted_port is not None or attempt == _ATTEMPTS:
                    self._leave_directory()
                    raise
            else:
                return

    def _take_directory(self) -> None:
        """Hold the directory: a second broker on one data directory damages it before it notices."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (self.data_dir / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise EmbeddedError(f"another Apache Kafka runs on {self.data_dir}", code="directory_in_use") from error
        self._lock = lock

    def _leave_directory(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _launch(self, timeout_s: float) -> None:
        if self._wanted_port is not None and accepts(_HOST, self._wanted_port):
            raise EmbeddedError(f"port {self._wanted_port} on {_HOST} is taken by another program", code="port_taken")
        self._nodes = {
            number: _Node(
                number,
                self.data_dir / f"node-{number}",
                self._wanted_port if self._wanted_port is not None and number == 1 else free_port(),
                free_port(),
            )
            for number in range(1, self._count + 1)
        }
        for node in self._nodes.values():
            self._write_properties(node)
        self._format()
        for node in self._nodes.values():
            self._run(node)
        self._wait_ready(timeout_s)

    def _write_properties(self, node: _Node) -> None:
        voters = ",".join(f"{each.number}@{_HOST}:{each.controller_port}" for each in self._nodes.values())
        replicas = str(min(self._count, 3))
        in_sync = "2" if self._count >= 3 else "1"
        properties = {
            **_COMMON,
            **(_ONE_NODE if self._count == 1 else _SEVERAL_NODES),
            "node.id": str(node.number),
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://{_HOST}:{node.port},CONTROLLER://{_HOST}:{node.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{_HOST}:{node.port}",
            "log.dirs": str(node.directory / "data"),
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            **self._options,
        }
        node.directory.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{name}={value}\n" for name, value in properties.items())
        (node.directory / "server.properties").write_text(text)

    def _java(self, *arguments: str) -> list[str]:
        executable = java()
        assert executable is not None  # noqa: S101  # apache_available has been asked
        memory = f"-Xmx{self._heap_mb}m"
        flags = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", memory, "-Dlog4j2.level=WARN", "-cp"]
        return [executable, *flags, f"{self._libs}/*", *arguments]

    def _format(self) -> None:
        """Format the nodes that have no data yet, all with one cluster id."""
        known = self.data_dir / "cluster-id"
        if not known.is_file():
            known.write_text(new_cluster_id())
        cluster_id = known.read_text().strip()
        for node in self._nodes.values():
            if not is_formatted(node.directory / "data"):
                format_node(node.number, node.directory, cluster_id, self._libs, self._java())

    def _run(self, node: _Node) -> None:
        node.frozen = False
        node.process = ChildProcess(
            f"Kafka node {node.number}",
            self._java("kafka.Kafka", str(node.directory / "server.properties")),
            log=node.directory / "kafka.log",
            cwd=node.directory,
            environ=plain_environment("JAVA_HOME"),
            end_with_parent=self._end_with_parent,
        )

    def _wait_ready(self, timeout_s: float) -> None:
        """Wait for the ports, for all brokers in the metadata, and for the group coordinator.

        Without the last the first group join of a new cluster takes seconds.
        """
        deadline = time.monotonic() + timeout_s
        running = [node for node in self._nodes.values() if node.running and not node.frozen]
        for node in running:
            assert node.process is not None  # noqa: S101  # it is running
            port = node.port
            node.process.wait_ready(lambda port=port: accepts(_HOST, port), max(1.0, deadline - time.monotonic()))  # type: ignore[misc]
        process = running[0].process
        assert process is not None  # noqa: S101
        process.wait_ready(lambda: self._brokers() >= len(running), max(1.0, deadline - time.monotonic()))
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "tokenmill-warm-up", "log_level": 0})
        try:
            process.wait_ready(lambda: _coordinated(consumer), max(1.0, deadline - time.monotonic()))
        finally:
            consumer.close()

    def _brokers(self) -> int:
        try:
            client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
            return len(client.list_topics(timeout=1).brokers)
        except KafkaException:
            return 0

    def _node(self, number: int) -> _Node:
        if number not in self._nodes:
            raise EmbeddedError(f"there is no Kafka node {number}", code="no_node")
        return self._nodes[number]

    def _process(self, number: int) -> ChildProcess:
        process = self._node(number).process
        if process is None or not process.running:
            raise EmbeddedError(f"Kafka node {number} does not run", code="node_down")
        return process

    def kill(self, node: int = 1) -> None:
        """SIGKILL a node: it is gone at once, what it acknowledged is on its disk."""
        self._process(node).kill()

    def stop_node(self, node: int = 1, timeout_s: float = 20.0) -> None:
        """End a node with SIGTERM (it hands its partitions over), with SIGKILL after `timeout_s`."""
        self._process(node).stop(timeout_s)

    def freeze(self, node: int = 1) -> None:
        """SIGSTOP a node: its connections stay open and unanswered."""
        self._process(node).freeze()
        self._node(node).frozen = True

    def thaw(self, node: int = 1) -> None:
        """Let a frozen node go on."""
        self._process(node).thaw()
        self._node(node).frozen = False

    def restart(self, node: int = 1, timeout_s: float = 60.0) -> None:
        """Start a node that was killed or stopped, on its old port and data, and wait until it serves."""
        entry = self._node(node)
        if entry.running:
            raise EmbeddedError(f"Kafka node {node} runs already", code="node_up")
        self._run(entry)
        self._wait_ready(timeout_s)

    def stop(self) -> None:
        """End all nodes; removes the data unless `keep_data`. Does nothing when it was not started."""
        self._end_processes(patient=self.keep_data)
        if self._lock is not None:
            if not self.keep_data:
                for node in self._nodes.values():
                    shutil.rmtree(node.directory, ignore_errors=True)
                (self.data_dir / "cluster-id").unlink(missing_ok=True)
            self._leave_directory()

    def _end_processes(self, *, patient: bool) -> None:
        """SIGTERM when the data are kept (a cluster may hang in it: then SIGKILL), SIGKILL otherwise."""
        processes = [node.process for node in self._nodes.values() if node.process is not None and node.process.running]
        if patient:
            for process in processes:
                process.thaw()
                process.send(signal.SIGTERM)
            deadline = time.monotonic() + 10
            for process in processes:
                process.wait(max(0.1, deadline - time.monotonic()))
        for process in processes:
            process.kill()

    def wait(self, timeout_s: float) -> int | None:
        """The exit status of a node that ends within `timeout_s`, else None. For a foreground command."""
        deadline = time.monotonic() + timeout_s
        while True:
            for node in self._nodes.values():
                if node.process is not None and not node.process.running:
                    return node.process.exit_status
            if time.monotonic() > deadline:
                return None
            time.sleep(0.1)

    def __enter__(self) -> ApacheKafka:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _coordinated(consumer: Consumer) -> bool:
    try:
        consumer.committed([TopicPartition("tokenmill-warm-up", 0)], timeout=1)
    except KafkaException:
        return False
    return True
