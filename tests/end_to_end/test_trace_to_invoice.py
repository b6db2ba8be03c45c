"""From a trace to invoices through the real commands: exact, and what is taken away by hand is named."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from infra.clickhouse import connect
from tests.end_to_end.conftest import Install
from tests.end_to_end.expected import Expected, invoice_lines, read_azure, read_card
from tests.end_to_end.installation import SHARED_DATA, Ended, Installation

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROWS = 600
MALFORMED = {
    5: "2023-11-16 18:15:46,-7,3",
    77: "yesterday,1,2",
    311: "2023-11-16 18:15:46,12",
    400: "2023-11-16 18:15:46,a,1",
}
"""Data rows of the generated trace that are no requests, by number."""
CARD = """\
id: trace
version: 1
currency: USD
effective_from: "2020-01-01T00:00:00Z"
skus:
  - sku: "{model}/input"
    meter: input
    match: {model: "model-*"}
    charge:
      model: graduated
      per: 1000
      tiers: [{up_to: 20000, price: "0.37"}, {up_to: 45000, price: "0.29"}, {price: "0.11"}]
  - sku: "{model}/output"
    meter: output
    match: {model: "model-*"}
    charge: {model: per_unit, price: "0.0017", per: 3}
  - sku: "{model}/output"
    meter: output
    match: {model: "model-01"}
    charge: {model: graduated, per: 7, tiers: [{up_to: 1000, price: "0.013"}, {price: "0.0119"}]}
  - sku: "{model}/requests"
    meter: requests
    match: {model: "model-*"}
    charge: {model: per_unit, price: "0.001", per: 1}
flat_fees:
  - {sku: base-fee, amount: "3.21"}
"""


@dataclass(frozen=True)
class World:
    """An installation that has read a trace to its end; worker and sink have left."""

    installation: Installation
    trace: Path
    card: dict[str, Any]
    expected: Expected
    emitted: Ended


def _build(installation: Installation, trace: Path, card: Path, expected: Expected) -> World:
    installation.prepare(card)
    installation.run("account", "assign", "*", read_card(card)["id"], "--from", "2023-01-01")
    with installation.services("worker", "sink") as settle:
        emitted = installation.run("emit", "--trace", str(trace), "--json")
        settle()
    return World(installation, trace, read_card(card), expected, emitted)


def _generated(path: Path) -> None:
    """Requests over some hours and the end of a day, in no order; a few lines are no requests, one is blank."""
    chance = random.Random(7)
    start = datetime(2023, 11, 16, 18, 15, 46)
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for number in range(1, ROWS + 1):
            when = start + timedelta(seconds=chance.uniform(0, 8 * 3600))
            row = f"{when:%Y-%m-%d %H:%M:%S.%f}0,{chance.randrange(5000)},{chance.randrange(900)}"
            file.write(MALFORMED.get(number, row) + "\n")


@pytest.fixture(scope="module")
def world(install: Install) -> World:
    installation = install()
    trace, card = installation.directory / "trace.csv", installation.directory / "card.yaml"
    _generated(trace)
    card.write_text(CARD)
    return _build(installation, trace, card, read_azure(trace, malformed=frozenset(MALFORMED)))


@pytest.fixture(scope="module")
def azure(install: Install) -> World:
    trace = SHARED_DATA / "AzureLLMInferenceTrace_code.csv"
    if not trace.exists():
        pytest.skip("the Azure traces are not here")
    card = Path(__file__).parents[2] / "infra" / "examples" / "ratecards" / "standard.yaml"
    return _build(install(), trace, card, read_azure(trace))


def test_malformed_lines_are_reported_with_file_and_line(world: World) -> None:
    reported = world.emitted.err.splitlines()
    # The header is line 1.
    assert [line.split(": ")[0] for line in reported] == [f"{world.trace}, line {n + 1}" for n in MALFORMED]
    answer = world.emitted.json()
    assert (answer["events"], answer["samples"], answer["malformed_rows"]) == (ROWS, 0, len(MALFORMED))
    assert (answer["acknowledged"], answer["rejected"], answer["unconfirmed"]) == (ROWS, 0, 0)


def test_malformed_lines_are_dead_letters_that_name_file_and_line(world: World) -> None:
    rows = world.installation.query("SELECT code, reason, payload FROM dead_letters ORDER BY length(reason), reason")
    assert {row["code"] for row in rows} == {"undecodable"}
    payloads = [json.loads(row["payload"]) for row in rows]
    assert {(each["line"], each["text"]) for each in payloads} == {(n + 1, text) for n, text in MALFORMED.items()}
    for row, payload in zip(rows, payloads, strict=True):
        assert row["reason"].startswith(f"{world.trace}, line {payload['line']}: ")


def test_the_balance_accounts_for_every_line(world: World) -> None:
    report = world.installation.run("reconcile", "--json").json()
    assert report["ok"] is True
    assert (report["missing"], report["duplicated"], report["amount_difference"], report["problems"]) == (0, 0, "0", [])
    assert report["compared"]["offered"] == report["compared"]["read"] == ROWS
    assert report["compared"]["usage_raw_stored"] == ROWS - len(MALFORMED)
    assert all(type(number) is int for number in report["compared"].values())
    said = world.installation.run("reconcile")
    assert said.out.endswith("\nin balance: 0 missing, 0 duplicated, amounts differ by 0\n")
    assert f"usage_raw {ROWS - len(MALFORMED)} {ROWS - len(MALFORMED)}" in [
        " ".join(line.split()) for line in said.out.splitlines()
    ]
    assert said.err == ""


@pytest.mark.parametrize("name", ["world", "azure"])
def test_log_raw_and_rated_have_the_tokens_of_the_file(name: str, request: pytest.FixtureRequest) -> None:
    world: World = request.getfixturevalue(name)
    total = world.expected.total
    log = world.installation.usage_in_the_log()
    assert (log.num_rows, pc.sum(log["input_tokens"]).as_py(), pc.sum(log["output_tokens"]).as_py()) == (
        total.requests,
        total.input,
        total.output,
    )
    wanted = {key: (sums.requests, sums.input, sums.output) for key, sums in world.expected.by_key.items()}
    raw = world.installation.query(
        "SELECT tenant_id, response_model, toUInt32(count()) AS n, toInt64(sum(input_tokens)) AS i, "
        "toInt64(sum(output_tokens)) AS o FROM usage_raw GROUP BY ALL SETTINGS output_format_json_quote_64bit_integers = 0"
    )
    assert {(row["tenant_id"], row["response_model"]): (row["n"], row["i"], row["o"]) for row in raw} == wanted
    assert _rated(world) == wanted


def _rated(world: World) -> dict[tuple[str, str], tuple[int, int, int]]:
    rows = world.installation.query(
        "SELECT tenant_id, dimensions['model'] AS model, splitByChar('_', toString(meter))[1] AS what, "
        "sum(quantity) AS quantity FROM rated WHERE kind = 'usage' GROUP BY ALL"
    )
    found = {(row["tenant_id"], row["model"], row["what"]): int(Decimal(row["quantity"])) for row in rows}
    keys = {key[:2] for key in found}
    return {key: (found[*key, "requests"], found[*key, "input"], found[*key, "output"]) for key in keys}


def test_the_azure_code_trace_has_its_known_totals(azure: World) -> None:
    total = azure.expected.total
    assert (total.requests, total.input, total.output) == (8_819, 18_059_974, 245_896)
    answer = azure.emitted.json()
    assert (answer["events"], answer["malformed_rows"]) == (8_819, 0)
    report = azure.installation.run("reconcile", "--json").json()
    assert report["ok"] is True
    assert report["compared"]["offered"] == 8_819


@pytest.mark.parametrize("name", ["world", "azure"])
def test_invoices_equal_a_computation_from_file_and_card_alone(name: str, request: pytest.FixtureRequest) -> None:
    world: World = request.getfixturevalue(name)
    invoices = world.installation.run("invoice", "--json").json()["invoices"]
    assert [invoice["tenant"] for invoice in invoices] == world.expected.tenants
    for invoice in invoices:
        wanted = invoice_lines(world.card, world.expected, invoice["tenant"])
        lines = {line["sku"]: (Decimal(line["quantity"]), Decimal(line["amount"])) for line in invoice["lines"]}
        assert lines == wanted
        assert Decimal(invoice["total"]) == sum(amount for _, amount in wanted.values())
        assert (invoice["period"], invoice["currency"]) == ("2023-11", world.card["currency"])


def test_an_invoice_shows_its_lines_and_tiers(world: World) -> None:
    tenant = world.expected.tenants[0]
    (invoice,) = world.installation.run("invoice", "--tenant", tenant, "--period", "2023-11", "--json").json()[
        "invoices"
    ]
    for line in invoice["lines"]:
        assert all(isinstance(line[name], str) for name in ("sku", "meter", "quantity", "amount", "exact_amount"))
        assert sum(Decimal(tier["quantity"]) for tier in line["tiers"]) in (0, Decimal(line["quantity"]))
        assert sum(Decimal(tier["amount"]) for tier in line["tiers"]) in (0, Decimal(line["exact_amount"]))
    tiers = next(line["tiers"] for line in invoice["lines"] if line["sku"].endswith("/input"))
    assert [tier["up_to"] for tier in tiers] == ["20000", "45000", None][: len(tiers)]
    shown = world.installation.run("invoice", "--tenant", tenant).out
    assert f"Invoice of {tenant} for 2023-11" in shown
    assert f"{Decimal(invoice['total']):,} USD" in shown
    assert world.installation.run("invoice", "--period", "2024-01").out.startswith("no invoice")


def test_applying_everything_again_changes_nothing(world: World) -> None:
    run = world.installation.run
    assert run("topics", "apply", "--json").json() == {"changes": []}
    assert run("migrate", "--json").json() == {"dry_run": False, "applied": []}
    card = str(world.installation.directory / "card.yaml")
    (published,) = run("ratecard", "publish", card, "--json").json()["cards"]
    assert (published["file"], published["id"], published["version"], published["published"]) == (
        card,
        "trace",
        1,
        False,
    )
    assigned = run("account", "assign", "*", "trace", "--from", "2023-01-01", "--json").json()
    assert (assigned["tenant"], assigned["card"], assigned["assigned"]) == ("*", "trace", False)


def test_what_contradicts_what_is_published_is_refused(world: World) -> None:
    run = world.installation.run
    other = world.installation.directory / "other.yaml"
    other.write_text(CARD.replace("3.21", "3.22"))
    assert "card trace version 1 is published with other content" in run("ratecard", "publish", str(other), code=1).err
    assert (
        "no card 'nowhere' is published" in run("account", "assign", "t", "nowhere", "--from", "2026-01-01", code=1).err
    )
    assert "effective_from" not in run("account", "assign", "", "trace", "--from", "2026-01-01", code=2).err


@pytest.fixture
def taken(world: World) -> Iterator[Any]:
    """`taken(table, condition)` deletes the rows by hand; they are put back after the test."""
    client = connect(world.installation.settings.clickhouse)
    tables: list[str] = []

    def take(table: str, condition: str) -> None:
        client.command(f"CREATE TABLE taken_{table} AS {table} ENGINE = MergeTree ORDER BY tuple()")
        client.command(f"INSERT INTO taken_{table} SELECT * FROM {table} WHERE {condition}")
        assert int(client.command(f"SELECT count() FROM taken_{table}")) == 1
        tables.append(table)
        client.command(f"ALTER TABLE {table} DELETE WHERE {condition} SETTINGS mutations_sync = 2")

    yield take
    for table in tables:
        client.command(f"INSERT INTO {table} SELECT * FROM taken_{table} SETTINGS insert_deduplicate = 0")
        client.command(f"DROP TABLE taken_{table}")
    client.close()


def test_a_deleted_raw_row_is_named(world: World, taken: Any) -> None:
    (row,) = world.installation.query(
        "SELECT topic, kafka_partition AS p, kafka_offset AS o, kafka_row AS r FROM usage_raw ORDER BY id LIMIT 1 OFFSET 100"
    )
    taken("usage_raw", f"kafka_partition = {row['p']} AND kafka_offset = {row['o']} AND kafka_row = {row['r']}")
    report = world.installation.run("reconcile", "--json", code=1).json()
    assert (report["ok"], report["missing"], report["duplicated"]) == (False, 1, 0)
    place = f"{row['topic']} partition {row['p']}, offset {row['o']}, row {row['r']}"
    assert any(place in problem and "missing" in problem for problem in report["problems"]), report["problems"]
    said = world.installation.run("reconcile", code=1)
    assert place in said.out
    assert "NOT in balance: 1 missing" in said.out


@pytest.mark.parametrize("table", ["rated_state", "rated_ledger"])
def test_a_deleted_rated_row_is_named(table: str, world: World, taken: Any) -> None:
    (row,) = world.installation.query(
        "SELECT tenant_id, sku, toString(window_start) AS start, revision, amount FROM rated "
        "WHERE meter = 'output' ORDER BY amount DESC LIMIT 1"
    )
    chosen = f"tenant_id = '{row['tenant_id']}' AND sku = '{row['sku']}' AND window_start = '{row['start']}'"
    taken(table, f"{chosen} AND revision = {row['revision']}")
    report = world.installation.run("reconcile", "--json", code=1).json()
    assert report["ok"] is False
    assert report["missing"] >= 1
    assert Decimal(report["amount_difference"]) > 0
    assert any(row["tenant_id"] in problem and row["sku"] in problem for problem in report["problems"]), report[
        "problems"
    ]


def test_after_all_that_everything_is_in_balance_again(world: World) -> None:
    assert world.installation.run("reconcile", "--json").json()["ok"] is True


def test_the_generated_trace_is_worth_testing_with(world: World) -> None:
    """Its amounts cross every tier, and it has lines that only a careful reader of CSV takes."""
    sums = [each.input for each in world.expected.by_key.values()]
    assert min(sums) < 45_000 < max(sums)
    with world.trace.open(newline="", encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == ROWS + 1
