"""Long-running commands as processes: they serve, say so, and leave when asked to."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.embedded.ports import accepts, free_port
from tests.end_to_end.installation import COMMAND, plain_environ
from tests.support import eventually


@contextmanager
def _started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=plain_environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> list[str]:
    """Ask it to leave: it must do so with exit code 0; what it said on standard error."""
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, ""), err
    return err.splitlines()


@pytest.mark.parametrize("part", ["kafka", "clickhouse"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_embedded_part_serves_until_a_signal(part: str, number: int, tmp_path: Path) -> None:
    port = free_port()
    with _started("embedded", part, "--port", str(port), "--data", str(tmp_path / part)) as process:
        # In a pipe: one JSON object a line.
        assert process.stderr is not None
        ready = json.loads(process.stderr.readline())
        assert str(port) in ready.get("bootstrap", "") + ready.get("url", "")
        assert accepts("127.0.0.1", port)
        assert [json.loads(line)["level"] for line in _end(process, number)] == ["info"]
    assert not accepts("127.0.0.1", port)


@pytest.mark.parametrize("part", ["kafka", "clickhouse"])
def test_a_port_that_is_taken_is_named(part: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with _started("embedded", part, "--port", str(port), "--data", str(tmp_path)) as process:
            _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.startswith("Error: ")
    assert str(port) in err
    assert err.count("\n") == 1


def test_an_embedded_broker_that_dies_ends_the_command(tmp_path: Path) -> None:
    port = free_port()
    with _started("embedded", "kafka", "--port", str(port), "--data", str(tmp_path)) as process:
        eventually(lambda: accepts("127.0.0.1", port), 20)
        children = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        (broker,) = [int(line.split()[0]) for line in children.splitlines() if int(line.split()[1]) == process.pid]
        assert process.stderr is not None
        process.stderr.readline()
        os.kill(broker, signal.SIGKILL)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("Error: the embedded broker ended by itself; its log is ")


@pytest.mark.parametrize("service", ["worker", "sink"])
def test_a_service_that_still_waits_for_its_broker_leaves_with_0(service: str) -> None:
    with _started(service, "--kafka", f"127.0.0.1:{free_port()}") as process:
        _wait_until_caught(process.pid, signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        assert _end(process) == []


def _wait_until_caught(pid: int, number: int) -> None:
    """Wait until the process has a handler for the signal, where the system shows that."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        time.sleep(5)
        return

    def caught() -> bool:
        mask = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
        return bool(int(mask, 16) >> (number - 1) & 1)

    eventually(caught, 20, what="a handler of the signal")


def test_logs_are_readable_on_a_terminal(tmp_path: Path) -> None:
    main, child = pty.openpty()
    port = free_port()
    command = [*COMMAND, "embedded", "kafka", "--port", str(port), "--data", str(tmp_path)]
    process = subprocess.Popen(command, env=plain_environ(), stdout=child, stderr=child)
    os.close(child)
    try:
        line = os.read(main, 4096).decode()
        assert "broker.listening" in line
        assert f"127.0.0.1:{port}" in line
        assert not line.startswith("{")
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(main)
