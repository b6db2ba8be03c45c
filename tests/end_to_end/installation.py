"""An installation of Tokenmill as an operator has it: commands and services as processes, on a Kafka and a ClickHouse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, TopicPartition

from infra.config import Settings, environment
from infra.lag import wait_until_read

COMMAND = [sys.executable, "-P", "-c", "from infra.cli.main import main; main()"]
"""`tokenmill` of this source tree."""
REPOSITORY = Path(__file__).parents[2]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
_ARROW = b"application/vnd.apache.arrow.stream"


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


def plain_environ() -> dict[str, str]:
    """This process's environment without settings, and with the source tree on the path."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOKENMILL_")}
    return environ | {"PYTHONPATH": str(REPOSITORY)}


def run_command(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None, timeout: float = 90.0) -> Ended:
    """Run `tokenmill` with these arguments to its end, its output in pipes."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=plain_environ() | dict(environ or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


@dataclass
class Installation:
    """Settings of one installation, and the directory that its commands run in."""

    settings: Settings
    directory: Path

    def run(self, *arguments: str, code: int = 0) -> Ended:
        """Run a command; it has to end with this exit code."""
        ended = run_command(*arguments, cwd=self.directory, environ=environment(self.settings))
        assert ended.code == code, (arguments, ended)
        return ended

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query; sums of 64 bits as numbers."""
        rows: list[dict[str, Any]] = self.run("query", "--json", sql).json()["data"]
        return rows

    def prepare(self, *cards: Path) -> None:
        """Topics, tables and cards."""
        self.run("topics", "apply")
        self.run("migrate")
        if cards:
            self.run("ratecard", "publish", *(str(card) for card in cards))

    @contextmanager
    def services(self, *names: str) -> Iterator[Callable[[], None]]:
        """Run workers and sinks; gives a function that waits until nothing lags. SIGTERM must end each with exit code 0."""
        with ExitStack() as stack:
            processes = [stack.enter_context(self._service(name, number)) for number, name in enumerate(names)]

            def check() -> None:
                for name, process in zip(names, processes, strict=True):
                    assert process.poll() is None, f"the {name} ended with {process.returncode}"

            yield lambda: self._settle(check)

    @contextmanager
    def _service(self, name: str, number: int) -> Iterator[subprocess.Popen[bytes]]:
        log = self.directory / f"{name}-{number}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*COMMAND, name],
                cwd=self.directory,
                env=plain_environ() | environment(self.settings),
                stdout=output,
                stderr=output,
            )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
        for line in log.read_text().splitlines():
            assert json.loads(line)["level"] not in ("error", "critical"), line

    def _settle(self, check: Callable[[], None]) -> None:
        """Samples before events, since the meter makes events of them; then what the worker wrote."""
        topics, name = self.settings.topics, self.settings.deployment
        for topic in (topics.gpu_samples, topics.usage_events):
            wait_until_read(self.settings, [(f"{name}.workers", topic)], timeout_s=60, check=check)
        stored = [topics.usage_events, topics.gpu_samples, topics.usage_rated, topics.usage_signals]
        stored += [topics.usage_excluded, topics.usage_dlq]
        wait_until_read(self.settings, [(f"{name}.sink", topic) for topic in stored], timeout_s=60, check=check)

    def usage_in_the_log(self) -> pa.Table:
        """Tenant, model and tokens of every row of the Arrow records in the log, read with a plain consumer."""
        columns = ["tenant_id", "response_model", "input_tokens", "output_tokens"]
        batches = []
        for headers, value in self._records(self.settings.topics.usage_events):
            if headers.get("content-type") == _ARROW:
                table = pa.ipc.open_stream(value).read_all().select(columns)
                batches.append(table.cast(pa.schema(zip(columns, [pa.string()] * 2 + [pa.int64()] * 2, strict=True))))
        return pa.concat_tables(batches)

    def _records(self, topic: str) -> Iterator[tuple[dict[str, bytes], bytes]]:
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.kafka.bootstrap,
                "group.id": f"{self.settings.deployment}.test",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            }
        )
        open_partitions = set(range(self.settings.partitions))
        consumer.assign([TopicPartition(topic, number, 0) for number in open_partitions])
        try:
            while open_partitions:
                message = consumer.poll(20)
                assert message is not None, "the broker is silent"
                error = message.error()
                if error is None:
                    yield dict(message.headers() or []), message.value() or b""
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    open_partitions.discard(message.partition())
        finally:
            consumer.close()
