"""The owner process: one per directory, users, stopping, starting again."""

from __future__ import annotations

import base64
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.clickhouse import connect
from infra.embedded.clickhouse import EmbeddedClickHouse, serve
from infra.errors import ConfigurationError, EmbeddedError
from tests.clickhouse.conftest import Http
from tests.support import eventually


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("guarded"), user="mill", password="se:cret") as embedded:
        yield embedded


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_the_right_password_opens_in_every_way(guarded: EmbeddedClickHouse) -> None:
    web = Http(guarded.host, guarded.port)
    assert web.ask("SELECT 1", headers=_basic("mill", "se:cret")).status == 200
    assert web.ask("SELECT 1", user="mill", password="se:cret").status == 200
    assert web.ask("SELECT 1", headers={"X-ClickHouse-User": "mill", "X-ClickHouse-Key": "se:cret"}).status == 200
    assert connect(guarded.settings("default")).command("SELECT 1") == 1
    assert web.ask(path="/ping", method="GET").status == 200
    web.close()


@pytest.mark.parametrize(
    ("headers", "parameters", "status"),
    [
        ({}, {}, 401),
        (_basic("mill", "wrong"), {}, 403),
        (_basic("other", "se:cret"), {}, 403),
        (_basic("mill", ""), {}, 403),
        ({"Authorization": "Basic !!"}, {}, 403),
        ({"Authorization": "Bearer token"}, {}, 403),
        ({}, {"user": "mill"}, 403),
        ({}, {"user": "mill", "password": "wrong"}, 403),
        ({"X-ClickHouse-User": "mill", "X-ClickHouse-Key": "wrong"}, {}, 403),
        (_basic("mill", "se:cret"), {"user": "mill", "password": "se:cret"}, 403),
    ],
)
def test_everything_else_is_refused_with_516(
    guarded: EmbeddedClickHouse, headers: dict[str, str], parameters: dict[str, str], status: int
) -> None:
    web = Http(guarded.host, guarded.port)
    answer = web.ask("CREATE DATABASE broken_in", headers=headers, also=parameters)
    assert (answer.status, answer.code) == (status, 516)
    assert "AUTHENTICATION_FAILED" in answer.text
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert web.ask("SHOW DATABASES", headers=_basic("mill", "se:cret")).text.count("broken_in") == 0
    web.close()


def test_no_password_means_this_machine_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="without a password"):
        serve(port=0, data=tmp_path, host="0.0.0.0")  # noqa: S104
    assert list(tmp_path.iterdir()) == []


def test_a_second_owner_is_told_who_the_first_is(guarded: EmbeddedClickHouse) -> None:
    second = EmbeddedClickHouse(guarded.data)
    with pytest.raises(EmbeddedError) as refused:
        second.start()
    message = str(refused.value)
    assert f"process {guarded.pid}, {guarded.url}" in message
    assert "another directory" in message
    assert guarded.pid is not None, "the first one goes on"


def test_a_taken_port_is_named(guarded: EmbeddedClickHouse, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=f"cannot listen on 127.0.0.1:{guarded.port}"):
        EmbeddedClickHouse(tmp_path, port=guarded.port).start()


def test_sigterm_lets_running_requests_finish_and_keeps_the_data(own_store: EmbeddedClickHouse) -> None:
    own_store.start()
    web = Http(own_store.host, own_store.port)
    web.ask("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    answers: list[int] = []
    slow = Http(own_store.host, own_store.port)
    running = threading.Thread(
        target=lambda: answers.append(slow.ask("INSERT INTO t SELECT number + sleep(1) FROM numbers(1)").status)
    )
    running.start()
    eventually(lambda: web.value("SELECT count() FROM system.processes WHERE query LIKE '%sleep(1)%'") != "0")
    assert own_store.stop() == 0
    running.join()
    assert answers == [200]
    own_store.start()
    assert connect(own_store.settings("default")).command("SELECT count() FROM t") == 1


def test_it_starts_again_on_its_data_after_a_kill(own_store: EmbeddedClickHouse) -> None:
    own_store.start()
    port = own_store.port
    client = connect(own_store.settings("default"))
    client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    client.command("INSERT INTO t VALUES (1)")
    assert own_store.kill() == -9
    assert own_store.start().port == port
    assert client.command("SELECT a FROM t") == 1


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from infra.embedded.clickhouse import EmbeddedClickHouse\n"
        "store = EmbeddedClickHouse(Path(sys.argv[1])).start()\n"
        "print(store.pid, flush=True); time.sleep(600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    starter.kill()
    starter.wait()
    starter.stdout.close()
    eventually(lambda: not _alive(pid), what="the end of the orphaned store")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Nobody waits for an orphan in some containers: a zombie is dead too.
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_command_line_serves_until_a_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "infra.embedded.clickhouse", "--port", "0", "--data", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    ready = process.stderr.readline()
    assert "clickhouse.listening" in ready
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stderr.close()


def test_the_command_line_exits_with_one_clear_line(guarded: EmbeddedClickHouse) -> None:
    command = [sys.executable, "-m", "infra.embedded.clickhouse", "--port", "0", "--data", str(guarded.data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "owns the ClickHouse data" in done.stderr


def test_a_request_cut_off_in_its_head_harms_nobody(store: EmbeddedClickHouse) -> None:
    for start in (
        b"",
        b"POST",
        b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nSELECT",
        b"\x16\x03\x01garbage\r\n\r\n",
    ):
        connection = http.client.HTTPConnection(store.host, store.port, timeout=5)
        connection.connect()
        connection.sock.sendall(start)
        time.sleep(0.05)
        connection.close()
    web = Http(store.host, store.port)
    assert web.value("SELECT 1") == "1"
    web.close()
