"""Commands that talk to ClickHouse only, against the embedded one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.clickhouse.process import EmbeddedClickHouse
from tests.cli.conftest import Ended, Run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def ask(store: EmbeddedClickHouse, tokenmill: Run) -> Run:
    def run(*arguments: str) -> Ended:
        return tokenmill(arguments[0], "--clickhouse", store.settings("default").url, *arguments[1:])

    return run


def test_a_result_in_a_pipe_is_tab_separated_with_names(ask: Run) -> None:
    ended = ask("query", "SELECT number AS n, toString(n) AS text FROM numbers(2)")
    assert (ended.code, ended.out, ended.err) == (0, "n\ttext\n0\t0\n1\t1\n", "")


def test_amounts_in_json_are_texts(ask: Run) -> None:
    answer = json.loads(ask("query", "--json", "SELECT toDecimal128('0.100000000001', 12) AS amount, 2 AS n").out)
    assert answer["data"] == [{"amount": "0.100000000001", "n": 2}]


def test_a_format_may_be_chosen_by_flag_or_in_the_query(ask: Run) -> None:
    assert ask("query", "--format", "CSV", "SELECT 1, 'a'").out == '1,"a"\n'
    assert ask("query", "SELECT 1, 'a' FORMAT CSV").out == '1,"a"\n'
    assert ask("query", "SELECT 1, 'a' format csv ;").out == '1,"a"\n'
    assert ask("query", "SELECT 'the format x'").out.endswith("\nthe format x\n")


def test_what_clickhouse_refuses_is_one_line(ask: Run) -> None:
    for sql, said in {
        "SELEC 1": "running the query: Syntax error: failed at position 7",
        "SELECT * FROM nowhere": "running the query: Unknown table expression identifier 'nowhere'",
        "SELECT 1; SELECT 2": "running the query: Syntax error (Multi-statements are not allowed)",
    }.items():
        ended = ask("query", sql)
        assert ended.code == 1
        assert ended.out == ""
        assert ended.err.startswith(f"Error: {said}")
        assert ended.err.count("\n") == 1


def test_a_database_that_is_not_there_leads_to_migrate(store: EmbeddedClickHouse, tokenmill: Run) -> None:
    ended = tokenmill("invoice", "--clickhouse", store.settings("nowhere").url)
    assert ended.code == 1
    assert "has no database 'nowhere': run `tokenmill migrate`" in ended.err


def test_migrations_are_shown_applied_and_then_done(store: EmbeddedClickHouse, tokenmill: Run) -> None:
    url = store.settings("fresh").url
    planned = json.loads(tokenmill("migrate", "--dry-run", "--json", "--clickhouse", url).out)
    assert planned["dry_run"] is True
    assert planned["applied"]
    assert [each["number"] for each in planned["applied"]] == list(range(1, len(planned["applied"]) + 1))
    assert {type(each[name]) for each in planned["applied"] for name in ("number", "statements")} == {int}

    applied = tokenmill("migrate", "--clickhouse", url)
    assert applied.out.count("\n") == len(planned["applied"])
    assert applied.out.startswith("applied 0001 ")
    assert tokenmill("migrate", "--clickhouse", url).out == "nothing to do: the tables are up to date\n"
    assert json.loads(tokenmill("migrate", "--json", "--clickhouse", url).out) == {"dry_run": False, "applied": []}

    assert tokenmill("invoice", "--clickhouse", url).out == "no invoice: nothing is charged to anybody\n"
    assert tokenmill("invoice", "--tenant", "t", "--period", "2026-01", "--clickhouse", url).out == (
        "no invoice: nothing is charged to t in 2026-01\n"
    )
    assert json.loads(tokenmill("invoice", "--json", "--clickhouse", url).out) == {"invoices": []}


def test_without_configuration_the_store_of_the_data_directory_answers(tokenmill: Run) -> None:
    data = Path(".tokenmill/clickhouse").absolute()
    with EmbeddedClickHouse(data) as running:
        tokenmill("migrate", "--clickhouse", running.settings().url)
        # A process serves the directory: it is asked, and goes on.
        assert tokenmill("query", "SELECT count() FROM rated").out == "count()\n0\n"
        assert running.pid is not None
    # Nobody does: a process is started for the query.
    assert tokenmill("query", "SELECT count() FROM rated").out == "count()\n0\n"
    elsewhere = Path("elsewhere")
    elsewhere.mkdir()
    os.chdir(elsewhere)
    assert tokenmill("query", "--data-dir", str(data.parent), "SELECT count() FROM rated").out == "count()\n0\n"


def test_a_configured_store_is_asked_also_where_a_data_directory_is(
    ask: Run, store: EmbeddedClickHouse, monkeypatch: pytest.MonkeyPatch, tokenmill: Run
) -> None:
    Path(".tokenmill/clickhouse/engine").mkdir(parents=True)
    assert ask("query", "SELECT 1").out == "1\n1\n"
    monkeypatch.setenv("TOKENMILL_CLICKHOUSE", store.settings("default").url)
    assert tokenmill("query", "SELECT 1").out == "1\n1\n"
