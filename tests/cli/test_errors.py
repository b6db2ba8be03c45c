"""Whatever is wrong: one clear line, the right exit code, no traceback, no library's noise, within bounded time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.cli import reach
from infra.embedded.ports import free_port
from tests.cli.conftest import Ended, Run

USAGE_ERRORS = [
    (["query"], "Missing argument 'SQL'"),
    (["query", " ; "], "there is no query"),
    (["emit", "--requests", "-5"], "'--requests': -5 is not in the range"),
    (["emit", "--tenants", "0"], "'--tenants': 0 is not in the range"),
    (["demo", "--hours", "none"], "'--hours': 'none' is not a valid integer"),
    (["emit", "--start", "yesterday"], "'yesterday' is not an instant such as 2026-01-01T00:00:00Z"),
    (["emit", "--start", "2026-02-30"], "'2026-02-30' is not an instant"),
    (["emit", "--start", "1850-01-01"], "is outside the years 1970 to 2199"),
    (["emit", "--trace", "."], "File '.' is a directory"),
    (["emit", "--trace", "nothing.csv"], "cannot read the trace nothing.csv: No such file or directory"),
    (["demo", "--trace", "nothing.csv"], "cannot read the trace nothing.csv: No such file or directory"),
    (["demo", "--json", "nowhere/report.json"], "there is no directory nowhere"),
    (["demo", "--card", "nothing.yaml"], "cannot read the rate card nothing.yaml: No such file or directory"),
    (["demo", "--tenants", "20000"], "tenants must be from 1 to 10000, not 20000"),
    (["ratecard", "publish"], "Missing argument 'FILES...'"),
    (["ratecard", "publish", "nothing.yaml"], "cannot read the rate card nothing.yaml: No such file or directory"),
    (["account", "assign", "t", "c"], "Missing option '--from'"),
    (["account", "assign", "t", "c", "--from", "2026-02-01", "--to", "2026-01-01"], "--to: must be after --from"),
    (["invoice", "--period", "2026-13"], "'2026-13' is not a month such as 2026-01"),
    (["topics", "apply", "--replication-factor", "-1"], "-1 is not in the range"),
    (["embedded", "kafka", "--data", "x"], "Missing option '--port'"),
    (["embedded", "clickhouse", "--data", "x", "--port", "99999"], "99999 is not in the range"),
    (["reconcile", "--kafka", "nohost"], "'nohost' is not host:port"),
    (["query", "--clickhouse", "ftp://host", "SELECT 1"], "not an address http://user:password@host:port/database"),
    (["worker", "--log-level", "loud"], "must be one of debug, info, warning, error"),
    (["worker", "--deployment", "No Spaces"], "--deployment 'No Spaces': must be"),
]


def _is_clear(ended: Ended) -> None:
    assert "Traceback" not in ended.err + ended.out
    assert "Error: " in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(("arguments", "said"), USAGE_ERRORS, ids=lambda value: " ".join(value) if value else None)
def test_a_wrong_command_line_exits_with_2(arguments: list[str], said: str, tokenmill: Run) -> None:
    ended = tokenmill(*arguments)
    _is_clear(ended)
    assert said in ended.err
    assert ended.code == 2


def test_all_wrong_settings_are_named_at_once(tokenmill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"KAFKA": "nohost", "CLICKHOUSE": "http://u:secret@h:99999", "PARTITIONS": "-3"}.items():
        monkeypatch.setenv(f"TOKENMILL_{name}", value)
    monkeypatch.setenv("TOKENMILL_DEPLOYMNET", "x")
    ended = tokenmill("reconcile")
    assert ended.code == 2
    assert ended.err.startswith("Error: 4 problems\n")
    for name in ("TOKENMILL_KAFKA", "TOKENMILL_CLICKHOUSE", "TOKENMILL_PARTITIONS", "TOKENMILL_DEPLOYMNET"):
        assert name in ended.err
    assert "secret" not in ended.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the trace trace.csv is empty"),
        (b"hello\n", "trace.csv is no trace in a known format; it begins 'hello'. Known: Azure"),
        (bytes(range(256)) * 20, "trace.csv is no trace in a known format"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n", "the trace trace.csv has no rows"),
    ],
    ids=["empty", "text", "binary", "header only"],
)
def test_a_file_that_is_no_trace_starts_nothing(content: bytes, said: str, tokenmill: Run) -> None:
    Path("trace.csv").write_bytes(content)
    ended = tokenmill("demo", "--trace", "trace.csv")
    _is_clear(ended)
    assert ended.err.startswith(f"Error: {said}")
    assert ended.code == 2
    assert not Path(".tokenmill").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_trace_is_named(tokenmill: Run) -> None:
    Path("trace.csv").touch(mode=0o000)
    assert "cannot read the trace trace.csv: Permission denied" in tokenmill("emit", "--trace", "trace.csv").err


def _needs_kafka(tmp_path: Path) -> list[list[str]]:
    card = tmp_path / "card.yaml"
    card.write_text('{id: c, version: 1, currency: USD, effective_from: "2020-01-01T00:00:00Z", not_charged: [input]}')
    return [
        ["topics", "apply"],
        ["ratecard", "publish", str(card)],
        ["account", "assign", "t", "c", "--from", "2026-01-01"],
        ["emit", "--requests", "10"],
        ["reconcile"],
        ["worker"],
        ["sink"],
    ]


@pytest.mark.parametrize("number", range(7))
def test_no_broker_is_one_line_with_the_reason(
    number: int, tokenmill: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "SERVICE_S", 0.2)
    monkeypatch.setattr(reach, "COMMAND_S", 0.2)
    address = f"127.0.0.1:{free_port()}"
    ended = tokenmill(*_needs_kafka(tmp_path)[number], "--kafka", address)
    reason = "Connection refused"
    assert ended.err == f"Error: no Kafka answers at {address} ({reason}): start it, or set TOKENMILL_KAFKA\n"
    assert ended.code == 1


def test_no_command_waits_long_for_a_broker() -> None:
    assert reach.COMMAND_S <= 10
    assert reach.SERVICE_S <= 30


def test_an_unknown_kafka_option_is_a_configuration_error(tokenmill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENMILL_KAFKA_OPTIONS", '{"nonsense": "1"}')
    ended = tokenmill("topics", "apply")
    assert ended.err == 'Error: TOKENMILL_KAFKA_OPTIONS: No such configuration property: "nonsense"\n'
    assert ended.code == 2


@pytest.mark.parametrize("arguments", [["migrate"], ["query", "SELECT 1"], ["invoice"]], ids=lambda value: value[0])
def test_no_clickhouse_is_one_line_with_the_reason(arguments: list[str], tokenmill: Run) -> None:
    port = free_port()
    ended = tokenmill(*arguments, "--clickhouse", f"http://127.0.0.1:{port}/tokenmill")
    said = f"no ClickHouse answers at 127.0.0.1:{port} (connection refused): start it, or set TOKENMILL_CLICKHOUSE"
    assert ended.err == f"Error: {said}\n"
    assert ended.code == 1


@pytest.mark.parametrize("arguments", [["query", "SELECT 1"], ["invoice"]], ids=lambda value: value[0])
def test_without_a_store_the_demo_is_recommended(
    arguments: list[str], tokenmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.cli.local_store.accepts", lambda host, port: False)
    ended = tokenmill(*arguments)
    assert ended.code == 1
    assert "there is no store in .tokenmill" in ended.err
    assert "run `tokenmill demo` first" in ended.err


def test_a_directory_that_cannot_be_made_is_named(tokenmill: Run) -> None:
    Path("file").touch()
    ended = tokenmill("demo", "--data-dir", "file/below", "--requests", "1")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "file" in ended.err.splitlines()[-1]
