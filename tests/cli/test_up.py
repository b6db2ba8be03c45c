"""`tokenmill up`: its directory, its bounds, what it asks and shows; and once the whole of it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.cli.main import main
from infra.cli.running import NOTE, running_settings
from infra.cli.status.processes_look import look_at_processes
from infra.cli.up.directory import ENVIRONMENT_FILE, taken
from infra.cli.up.probes import Drain, is_ready, lag_in
from infra.cli.up.run import exported
from infra.cli.up.screen import lines_of
from infra.cli.up.stack import services
from infra.cli.up.upkeep import bound_log, check_memory, memory_bytes, readable
from infra.config import ClickHouseSettings, KafkaSettings, Settings, load_settings
from infra.embedded.ports import accepts
from infra.embedded.process import ChildProcess
from infra.errors import ConfigurationError, EmbeddedError
from infra.metrics_reading import ask
from producers.emitter import Emitter
from tests.cli.conftest import Run
from tests.end_to_end.installation import COMMAND, plain_environ
from tests.support import eventually

# -- the data directory -----------------------------------------------------------------------------------------------


def _leave_store(path: Path, broker: str | None) -> None:
    """What a run leaves: a store, and a note about the broker whose log it follows (None: a demo left it)."""
    (path / "clickhouse" / "engine").mkdir(parents=True)
    if broker is None:
        (path / "demo").write_text("made by a demo")
    else:
        with taken(path, broker, reset=False, own_store=False) as directory:
            directory.stopped(broker)


@pytest.mark.parametrize(
    ("before", "now", "advice"),
    [
        ("embedded", "embedded", "--reset"),
        (None, "embedded", "--reset"),
        (None, "apache", "--reset"),
        ("embedded", "apache", "--reset"),
        ("apache", "embedded", "go on with --broker apache"),
    ],
)
def test_a_store_that_follows_another_log_is_refused_with_the_ways_out(
    tmp_path: Path, before: str | None, now: str, advice: str
) -> None:
    _leave_store(tmp_path, before)
    with (
        pytest.raises(ConfigurationError, match=advice) as refused,
        taken(tmp_path, now, reset=False, own_store=True),
    ):
        pass
    assert (refused.value.exit_code, refused.value.code) == (2, "store_of_another_log")
    assert (tmp_path / "clickhouse" / "engine").exists()


@pytest.mark.parametrize(("before", "now"), [("apache", "apache"), ("embedded", "configured"), (None, "configured")])
def test_a_store_that_can_be_gone_on_with_is_kept(tmp_path: Path, before: str | None, now: str) -> None:
    _leave_store(tmp_path, before)
    with taken(tmp_path, now, reset=False, own_store=True):
        assert (tmp_path / "clickhouse" / "engine").exists()


def test_reset_removes_what_earlier_runs_made_and_nothing_else(tmp_path: Path) -> None:
    _leave_store(tmp_path, None)
    (tmp_path / "apache-kafka").mkdir()
    (tmp_path / "logs").mkdir()
    (tmp_path / "spool").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    with taken(tmp_path, "embedded", reset=True, own_store=True):
        assert {each.name for each in tmp_path.iterdir()} == {NOTE, "spool", "mine.txt"}


def test_a_directory_is_for_one_at_a_time(tmp_path: Path) -> None:
    with (
        taken(tmp_path, "embedded", reset=False, own_store=True),
        pytest.raises(EmbeddedError, match="another `tokenmill up` is at work"),
        taken(tmp_path, "embedded", reset=True, own_store=True),
    ):
        pass
    (tmp_path / "demo").touch()
    with (tmp_path / "demo").open() as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        with (
            pytest.raises(EmbeddedError, match="`tokenmill demo` is at work"),
            taken(tmp_path, "embedded", reset=True, own_store=True),
        ):
            pass


def test_others_find_what_runs_and_only_while_it_runs(tmp_path: Path) -> None:
    assert running_settings(tmp_path) == {}
    with taken(tmp_path, "embedded", reset=False, own_store=True) as directory:
        directory.note("embedded", {"TOKENMILL_KAFKA": "127.0.0.1:1", "TOKENMILL_DEPLOYMENT": "it's"})
        assert running_settings(tmp_path) == {"kafka": "127.0.0.1:1", "deployment": "it's"}
        file = tmp_path / ENVIRONMENT_FILE
        shown = subprocess.run(
            ["sh", "-c", f'. {file}; echo "$TOKENMILL_KAFKA $TOKENMILL_DEPLOYMENT"'],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout == "127.0.0.1:1 it's\n"
        assert file.stat().st_mode & 0o077 == 0
    # As after a kill: the note stands, nobody holds its lock.
    assert running_settings(tmp_path) == {}


def test_a_command_in_the_directory_takes_the_running_kafka_unless_it_is_told_another(
    tokenmill: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def holds(*arguments: str) -> dict[str, str]:
        found = json.loads(tokenmill("config", "--json", *arguments).out)["settings"]
        return {each["name"]: str(each["value"]) for each in found if each["name"] in ("kafka", "partitions")}

    with taken(tmp_path / ".tokenmill", "embedded", reset=False, own_store=True) as directory:
        directory.note("embedded", {"TOKENMILL_KAFKA": "127.0.0.1:1", "TOKENMILL_PARTITIONS": "3"})
        assert holds() == {"kafka": "127.0.0.1:1", "partitions": "3"}
        assert holds("--set", "partitions=5") == {"kafka": "127.0.0.1:1", "partitions": "5"}
        assert holds("--kafka", "127.0.0.1:2") == {"kafka": "127.0.0.1:2", "partitions": "12"}
        monkeypatch.setenv("TOKENMILL_KAFKA", "127.0.0.1:3")
        assert holds() == {"kafka": "127.0.0.1:3", "partitions": "12"}


def test_only_what_differs_is_exported_and_no_secret() -> None:
    kafka = KafkaSettings("127.0.0.1:7", {"sasl.password": "secret-1"})
    assert exported(Settings(kafka, ClickHouseSettings(password="secret-2"), deployment="eu-1", partitions=3)) == {
        "TOKENMILL_KAFKA": "127.0.0.1:7",
        "TOKENMILL_DEPLOYMENT": "eu-1",
        "TOKENMILL_PARTITIONS": "3",
    }
    quiet = exported(Settings(kafka, tick_after_s=0))
    assert quiet["TOKENMILL_TICK_AFTER_S"] == "0", "status must not wait for ticks that nobody writes"
    assert exported(Settings(kafka, ClickHouseSettings(port=8))) == {
        "TOKENMILL_KAFKA": "127.0.0.1:7",
        "TOKENMILL_CLICKHOUSE": "http://127.0.0.1:8/tokenmill",
    }


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_a_broker_whose_log_outgrows_the_limit_is_noticed() -> None:
    used = memory_bytes(os.getpid())
    assert used is not None
    check_memory(os.getpid(), used * 2)
    with pytest.raises(EmbeddedError, match="--broker apache") as refused:
        check_memory(os.getpid(), 1024 * 1024)
    assert "1.0 MiB" in refused.value.message


@pytest.mark.parametrize(("size", "text"), [(12, "12 bytes"), (1536, "1.5 KiB"), (2 * 1024**3, "2.0 GiB")])
def test_sizes_are_readable(size: int, text: str) -> None:
    assert readable(size) == text


def test_a_log_is_cut_while_its_process_goes_on_writing(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    assert not bound_log(log)
    script = "import sys; print('x' * 2000, flush=True); sys.stdin.readline(); print('after', flush=True)"
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=output)
    eventually(lambda: log.stat().st_size > 2000, 20)
    assert not bound_log(log, 10_000)
    assert bound_log(log, 1_000)
    process.communicate(b"\n", timeout=20)
    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "worker.log.1").stat().st_size > 2000


def test_the_last_words_are_found_in_a_log_that_was_cut(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("of an earlier run\n" * 10)
    process = ChildProcess("x", [sys.executable, "-c", "print('mine')"], log=log)
    assert process.wait(20) == 0
    assert process.log_tail() == "mine"
    log.write_text("cut\n")
    assert process.log_tail() == "cut"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_child_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from infra.embedded.process import ChildProcess\n"
        f"child = ChildProcess('x', [sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(60)'],"
        f" log=Path({str(tmp_path / 'x.log')!r}), end_with_parent=True)\n"
        "child.wait_ready(lambda: child.log_tail() == '1', 20)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    eventually(lambda: not _runs(child), 20)


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return status != "Z"


# -- asking and showing -----------------------------------------------------------------------------------------------

_LAG = 'tokenmill_worker_lag_records{partition="0",topic="t"} %d.0\ntokenmill_sink_lag_records{partition="1",topic="t"} 1.0\n'


def test_a_drain_is_over_when_nobody_had_lag_for_a_while() -> None:
    now, lags = [0.0], {"a": 5, "b": 0}

    def said(address: str, path: str) -> str | None:
        return f"tokenmill_worker_lag_records {lags[address]}\n" if lags[address] >= 0 else None

    drain = Drain(["a", "b"], lambda: now[0], said)
    assert (drain.done(), drain.behind) == (False, 5)
    lags["a"] = 0
    assert (drain.done(), drain.behind) == (False, 5), "asked again too soon"
    now[0] += 0.3
    assert (drain.done(), drain.behind) == (False, 0)
    now[0] += 0.5
    assert not drain.done()
    now[0] += 0.5
    assert drain.done()
    lags["a"] = -1
    silent = Drain(["a"], lambda: now[0], said)
    assert (silent.done(), silent.behind) == (False, None)
    assert Drain([], lambda: 0.0, said).done()


def test_lag_is_the_sum_over_all_partitions() -> None:
    assert lag_in(_LAG % 41) == 42


def test_nobody_there_is_not_ready() -> None:
    assert not is_ready("127.0.0.1:9")


def test_the_last_lines_of_a_log_are_readable() -> None:
    line = (
        '{"event": "a.b", "level": "info", "logger": "x", "timestamp": "2026-01-01T10:00:00Z", "partition": 0, "x": ""}'
    )
    assert lines_of(f"{line} | Traceback | [1]") == ["10:00:00 info a.b partition=0", "Traceback", "[1]"]


def test_services_have_addresses_of_their_own(tmp_path: Path) -> None:
    with taken(tmp_path, "embedded", reset=False, own_store=True) as directory:
        made = services(Settings(metrics_address="127.0.0.2:9464"), directory, 2, 1)
        assert [(each.name, each.metrics) for each in made] == [
            ("worker-1", "127.0.0.2:9464"),
            ("worker-2", "127.0.0.2:9465"),
            ("sink-1", "127.0.0.2:9466"),
        ]
        assert len({each.metrics for each in services(Settings(), directory, 4, 4)}) == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--broker", "configured"), "TOKENMILL_KAFKA"),
        (("--log-limit", "much"), "'much' is not a size such as 2GiB"),
        (("--workers", "0"), "0 is not in the range"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(tokenmill: Run, arguments: tuple[str, ...], said: str) -> None:
    ended = tokenmill("up", *arguments)
    assert (ended.code, said in ended.err) == (2, True), ended.err


@pytest.mark.parametrize("service", ["worker", "sink"])
def test_a_service_whose_metrics_address_is_taken_does_not_start(tokenmill: Run, service: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken_by_another:
        address = f"127.0.0.1:{taken_by_another.getsockname()[1]}"
        ended = tokenmill(service, "--kafka", "127.0.0.1:9", "--metrics-address", address)
    assert (ended.code, address in ended.err, ended.err.count("\n")) == (2, True, 1), ended.err


def test_a_kafka_that_does_not_answer_ends_it(tokenmill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.cli.up.run.SERVICE_S", 0.5)
    ended = tokenmill("up", "--kafka", "127.0.0.1:9")
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith("Error: no Kafka answers at 127.0.0.1:9")


# -- the whole --------------------------------------------------------------------------------------------------------


@contextmanager
def _up(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "up", "--json", "--set", "partitions=2", *arguments],
        env=plain_environ() | {"TOKENMILL_FLUSH_INTERVAL_S": "0.2", "TOKENMILL_SESSION_TIMEOUT_S": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _until(process: subprocess.Popen[str], event: str) -> dict[str, object]:
    assert process.stdout is not None
    for line in process.stdout:
        said: dict[str, object] = json.loads(line)
        if said["event"] == event:
            return said
    assert process.stderr is not None
    raise AssertionError(f"no {event}: {process.stderr.read()}")


@pytest.mark.slow
def test_everything_runs_survives_a_kill_and_stops_cleanly() -> None:
    """Events are stored although the sink is killed under them, Ctrl-C ends all with exit code 0, and the next run refuses."""
    with _up() as process:
        pids = {}
        for name in ("worker-1", "sink-1"):
            started = _until(process, "process.started")
            assert started["name"] == name
            pids[name] = int(str(started["pid"]))
        ready = _until(process, "up.ready")
        places = {place["name"]: place["address"] for place in ready["places"]}  # type: ignore[attr-defined]
        assert all(is_ready(places[name].split("/")[2]) for name in pids)
        os.kill(pids["sink-1"], signal.SIGKILL)
        settings = load_settings(running_settings(Path(".tokenmill")), environ={})
        from producers.workload.workload import Workload

        sent = 0
        for batch in Workload(requests=300, tenants=4).batches():
            with Emitter(settings, batch.column("source")[0].as_py()) as emitter:
                emitter.emit_batch(batch)
                sent += emitter.close(20).require().delivered
        died = _until(process, "process.died")
        assert (died["name"], died["how"]) == ("sink-1", "was ended by SIGKILL")
        pids["sink-1"] = int(str(_until(process, "process.started")["pid"]))
        services = [places[name].split("/")[2] for name in pids]
        eventually(lambda: all(is_ready(each) for each in services), 60)
        eventually(lambda: [lag_in(ask(each, "metrics") or _LAG % 1) for each in services] == [0, 0], 60)
        worker, sink = look_at_processes(settings.metrics_targets)
        assert (worker.answers, sink.answers) == (True, True), "status knows where to ask"
        assert worker.transactions is not None
        process.send_signal(signal.SIGINT)
        stopped = _until(process, "up.stopped")
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, ""), err
        assert (stopped["unrated"], stopped["unstored"]) == (0, 0)
        assert not any(_runs(pid) for pid in pids.values())
        kafka, clickhouse = places["Kafka"].split(":"), places["ClickHouse"].split("/")[2].split(":")
        assert not accepts(kafka[0], int(kafka[1]))
        assert not accepts(clickhouse[0], int(clickhouse[1]))
    assert not Path(".tokenmill", ENVIRONMENT_FILE).exists()
    assert _stored_events() == sent
    with pytest.raises(SystemExit) as refused:
        main(["up"])
    assert refused.value.code == 2


def _stored_events() -> int:
    query = subprocess.run(
        [*COMMAND, "query", "--format", "TSV", "SELECT count() FROM usage_raw"],
        env=plain_environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(query.stdout)
