"""`tokenmill demo` as a new user meets it: a report of a fixed shape, the same each time, data that can be asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.expected import choice
from tests.end_to_end.installation import COMMAND, Ended, plain_environ, run_command
from tests.support import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.chaos]

_REQUESTS = 5_000


def _demo(directory: Path, *arguments: str) -> tuple[Ended, dict[str, Any]]:
    ended = run_command("demo", *arguments, "--json", "report.json", cwd=directory, timeout=120)
    assert ended.code == 0, ended
    report: dict[str, Any] = json.loads((directory / "report.json").read_text())
    return ended, report


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(directory: Path) -> tuple[Ended, dict[str, Any]]:
    return _demo(directory, "--requests", str(_REQUESTS))


def test_the_report_has_the_agreed_shape(first: tuple[Ended, dict[str, Any]]) -> None:
    _, report = first
    assert list(report) == ["events", "tokens", "requests", "invoices", "reconciliation", "rates"]
    assert list(report["events"]) == ["accepted", "rated", "unrated", "duplicate", "dead_letter", "quarantined"]
    assert all(type(number) is int for number in report["events"].values())
    assert report["events"]["accepted"] == sum(report["events"].values()) - report["events"]["accepted"]
    assert list(report["tokens"]) == ["input", "cache_read", "output", "reasoning"]
    assert all(_is_exact(text) for text in report["tokens"].values())
    assert type(report["requests"]) is int
    assert list(report["reconciliation"]) == ["missing", "duplicated", "amount_difference"]
    assert report["reconciliation"] == {"missing": 0, "duplicated": 0, "amount_difference": "0"}
    assert list(report["rates"]) == ["produce_events_per_s", "rate_events_per_s", "store_rows_per_s"]
    assert all(type(rate) is int and rate > 0 for rate in report["rates"].values())


def test_the_invoices_of_the_report_add_up(first: tuple[Ended, dict[str, Any]]) -> None:
    invoices = first[1]["invoices"]
    assert [invoice["tenant"] for invoice in invoices] == [f"tenant-{number:04d}" for number in range(12)]
    assert {invoice["currency"] for invoice in invoices} == {"USD", "EUR", "JPY", "KWD"}
    for invoice in invoices:
        assert list(invoice) == ["tenant", "period", "currency", "total", "lines"]
        assert invoice["period"] == "2026-01"
        for line in invoice["lines"]:
            assert list(line) == ["sku", "meter", "quantity", "amount"]
            assert _is_exact(line["quantity"])
            assert _is_exact(line["amount"])
        assert Decimal(invoice["total"]) == sum(Decimal(line["amount"]) for line in invoice["lines"])


def _is_exact(text: object) -> bool:
    """A decimal as text, in plain notation."""
    return isinstance(text, str) and format(Decimal(text), "f") == text


def test_the_demo_shows_what_it_promises(first: tuple[Ended, dict[str, Any]]) -> None:
    shown = first[0].out
    for part in (
        "Balance: where every event that was read ended",
        "Usage and money by tenant and model",
        "GPU-hours and tokens by GPU type",
        "Invoice of tenant-0000 for 2026-01",
        "One GPU for a year: sold as tokens, or rented by the hour",
        "157,680.00",
        "315,360.00",
        "18,396.00",
        "Reconciliation: in balance, 0 missing, 0 duplicated, amounts differ by 0",
        "Try:",
    ):
        assert part in shown, part
    for gpu_type in ("H100", "H200", "B200"):
        assert gpu_type in shown
    assert max(len(line) for line in shown.splitlines()) <= 100
    assert "\x1b" not in shown + first[0].err


def test_progress_is_shown_and_no_log_line_is(first: tuple[Ended, dict[str, Any]]) -> None:
    lines = first[0].err.splitlines()
    assert lines[0] == "tokenmill demo: starting the embedded parts"
    assert len(lines) == 11
    assert all(line.startswith("✓ ") and line.endswith(" s") for line in lines[1:])


def test_queries_answer_from_the_data_afterwards(first: tuple[Ended, dict[str, Any]], directory: Path) -> None:
    _, report = first
    sql = "SELECT count() AS n, toString(sum(input_tokens)) AS i FROM usage_raw"
    (row,) = run_command("query", "--json", sql, cwd=directory).json()["data"]
    # Raw holds duplicates too.
    assert int(row["n"]) == report["requests"] + report["events"]["duplicate"]
    assert int(row["i"]) >= int(report["tokens"]["input"])
    sql = "SELECT tenant_id, sum(amount) AS amount FROM rated WHERE tenant_id LIKE 'tenant-%' GROUP BY tenant_id"
    amounts = {
        each["tenant_id"]: Decimal(each["amount"])
        for each in run_command("query", "--json", sql, cwd=directory).json()["data"]
    }
    for invoice in report["invoices"]:
        # Each line is rounded, by half a unit at most.
        unit = Decimal(1).scaleb(Decimal(invoice["total"]).as_tuple().exponent)  # type: ignore[arg-type]
        assert abs(amounts[invoice["tenant"]] - Decimal(invoice["total"])) <= unit * len(invoice["lines"]) / 2


def test_invoices_are_shown_afterwards_without_any_configuration(
    first: tuple[Ended, dict[str, Any]], directory: Path
) -> None:
    shown = run_command("invoice", "--json", cwd=directory).json()["invoices"]
    named = ("tenant", "period", "currency", "total")
    assert [[each[name] for name in named] for each in shown] == [
        [each[name] for name in named] for each in first[1]["invoices"]
    ]


def test_a_second_demo_has_the_same_result(first: tuple[Ended, dict[str, Any]], directory: Path) -> None:
    _, again = _demo(directory, "--requests", str(_REQUESTS))
    assert {**again, "rates": None} == {**first[1], "rates": None}


MOONCAKE = [
    '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2]}',
    '{"timestamp": 3000, "input_length": 7322, "output_length": 490, "hash_ids": [3, 4, 5]}',
    '{"timestamp": 3000, "input_length": -1, "output_length": 490, "hash_ids": [0]}',
    "{not JSON",
    '{"timestamp": 7200000, "input_length": 2287, "output_length": 316, "hash_ids": [6]}',
    '{"timestamp": 7200000, "input_length": 2287, "output_length": 316, "hash_ids": [7]}',
]
BURSTGPT = [
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
    "5,ChatGPT,472,18,490,Conversation log",
    "45,ChatGPT,1087,230,1317,Conversation log",
    "118,GPT-4,417,many,693,Conversation log",
    "3700,GPT-4,417,276,693,API log",
]
TRACES = {
    # Lines; data rows by number with input and output; lines of the file that are none.
    "mooncake": (MOONCAKE, {1: (6758, 500), 2: (7322, 490), 5: (2287, 316), 6: (2287, 316)}, [3, 4]),
    "burstgpt": (BURSTGPT, {1: (472, 18), 2: (1087, 230), 4: (417, 276)}, [4]),
}


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_with_a_relative_clock_runs_through(name: str, tmp_path: Path) -> None:
    lines, rows, malformed = TRACES[name]
    # The format is recognised from the content, whatever the name says.
    (tmp_path / "trace.txt").write_text("\n".join(lines) + "\n")
    ended, report = _demo(
        tmp_path, "--trace", "trace.txt", "--start", "2026-03-31T23:00:00Z", "--tenants", "3", "--models", "2"
    )
    assert report["events"] == {
        "accepted": len(rows) + len(malformed),
        "rated": len(rows),
        "unrated": 0,
        "duplicate": 0,
        "dead_letter": len(malformed),
        "quarantined": 0,
    }
    assert report["requests"] == len(rows)
    assert report["tokens"]["input"] == str(sum(tokens for tokens, _ in rows.values()))
    assert report["tokens"]["output"] == str(sum(tokens for _, tokens in rows.values()))
    assert report["reconciliation"] == {"missing": 0, "duplicated": 0, "amount_difference": "0"}
    said = [line for line in ended.err.splitlines() if line.startswith("trace.txt, line ")]
    assert [int(line.split(", line ")[1].split(":")[0]) for line in said] == malformed

    output: Counter[tuple[str, str]] = Counter()
    for number, (_, tokens) in rows.items():
        output[f"tenant-{choice(0, number, 'tenant', 3):04d}", f"model-{choice(0, number, 'model', 2):02d}"] += tokens
    found: Counter[tuple[str, str]] = Counter()
    for invoice in report["invoices"]:
        assert invoice["period"] in ("2026-03", "2026-04")
        for line in invoice["lines"]:
            if line["meter"] == "output":
                found[invoice["tenant"], line["sku"].split("/")[0]] += int(line["quantity"])
    assert found == output


def _descendants(pid: int) -> set[int]:
    """Processes below this one."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(line.split()[0]): int(line.split()[1]) for line in listed.splitlines()}
    found = {pid}
    for _ in range(5):
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {pid}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demo_that_is_interrupted_stops_all_that_it_started(number: int, code: int, tmp_path: Path) -> None:
    with (tmp_path / "err").open("w") as err:
        demo = subprocess.Popen(
            [*COMMAND, "demo", "--requests", "1000"], cwd=tmp_path, env=plain_environ(), stdout=err, stderr=err
        )
    try:
        # Broker, store, worker and sink.
        eventually(lambda: len(_descendants(demo.pid)) >= 4, 30, what="the demo's processes")
        time.sleep(0.5)
        started = _descendants(demo.pid)
        demo.send_signal(number)
        assert demo.wait(30) == code
    finally:
        demo.kill()
        demo.wait()
    said = (tmp_path / "err").read_text()
    assert "Traceback" not in said
    assert all(line.startswith(("tokenmill demo: ", "✓ ")) for line in said.splitlines() if line), said
    eventually(lambda: not any(_alive(pid) for pid in started), 5, what="the end of the demo's processes")


def test_a_reader_that_goes_away_early_is_no_error(directory: Path, first: tuple[Ended, dict[str, Any]]) -> None:
    command = [*COMMAND, "query", "SELECT number FROM numbers(2000000)"]
    query = subprocess.Popen(
        command, cwd=directory, env=plain_environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert query.stdout is not None
    assert query.stderr is not None
    assert query.stdout.readline() == b"number\n"
    query.stdout.close()
    assert query.stderr.read() == b""
    assert query.wait(30) == 0
