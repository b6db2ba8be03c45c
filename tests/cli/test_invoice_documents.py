"""Finalizing, crediting, sharing and settling by command: what is printed, exit codes, and that repeating changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import yaml

from infra.card_files import EXAMPLES
from infra.clickhouse import connect
from infra.config import Settings, parse_clickhouse
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.migrations import apply
from rating.cards import parse_card
from rating.period import TenantPeriod
from rating.windows import first_hour
from tests.cli.conftest import Ended, Run
from tests.rating.builders import catalog, key
from tests.sinks.rated_rows import store_card, store_rated

CARD = parse_card(yaml.safe_load((EXAMPLES / "marketplace.yaml").read_text()))
CLOSED, OPEN = "2026-01", "2026-02"


@dataclass(frozen=True)
class Shop:
    """A store where January is closed and February is open."""

    url: str
    run: Run

    def __call__(self, command: str, *arguments: str) -> Ended:
        return self.run(*command.split(), *arguments, "--clickhouse", self.url)

    def json(self, command: str, *arguments: str) -> Any:
        return json.loads(self(command, *arguments, "--json").out)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("documents")) as store:
        settings = store.settings("documents")
        apply(connect(settings, database=""), settings.database)
        client = connect(settings)
        store_card(client, CARD, Settings())
        for tenant in ("acme", "[bell]"):
            for period in (CLOSED, OPEN):
                made = TenantPeriod(tenant, period)
                quantities = {"input_uncached": Decimal(10_000_000), "output_text": Decimal(5_000_000)}
                made.add(key("model-01", tenant), first_hour(period), None, quantities)
                made.add(key("model-09", tenant), first_hour(period), None, quantities)
                store_rated(client, made.lines(catalog(CARD), closed=period == CLOSED))
        client.close()
        yield settings.url


@pytest.fixture
def shop(url: str, tokenmill: Run) -> Shop:
    return Shop(url, tokenmill)


def test_an_open_month_is_not_made_final_and_a_closed_one_is_shown_as_such(shop: Shop) -> None:
    ended = shop("invoice finalize", "--period", OPEN)
    assert ended.code == 1
    assert ended.out.count("draft: its month is open") == 2
    assert "Kafka is not named" in ended.err
    stages = {each["tenant"]: each["stage"] for each in shop.json("invoice", "--period", CLOSED)["invoices"]}
    # Its month is over, and nothing of it can change.
    assert stages == {"acme": "closed", "[bell]": "closed"}
    assert "Invoice of [bell] for 2026-01 (closed, not final yet)" in shop("invoice", "--tenant", "[bell]").out
    assert shop("invoice list").out == "no document was issued yet: tokenmill invoice finalize\n"


@pytest.fixture
def issued(shop: Shop) -> Shop:
    assert shop("invoice finalize", "--issuer", "telco", "--period", CLOSED).code == 0
    return shop


def test_finalizing_again_changes_nothing(issued: Shop) -> None:
    again = issued.json("invoice finalize", "--issuer", "other", "--period", CLOSED)["invoices"]
    assert [(each["document_id"], each["result"], each["total"]) for each in again] == [
        ("telco-000001", "was_final", "11.00"), ("telco-000002", "was_final", "11.00"),
    ]  # fmt: skip
    assert issued("invoice finalize").code == 0, "without --period open months are no failure"
    assert issued("invoice verify").out.endswith("documents, all as they were issued\n")
    shown = issued("invoice show", "telco-000001")
    assert "Invoice telco-000001 of [bell] for 2026-01" in shown.out
    content = issued.json("invoice show", "telco-000001")
    assert f"SHA-256 {content['content_hash']}" in shown.out
    final = issued.json("invoice", "--tenant", "[bell]", "--period", CLOSED)["invoices"][0]
    assert (final["stage"], final["document"]["content_hash"]) == ("final", content["content_hash"])


def test_a_credit_note_names_lines_by_sku_or_number(issued: Shop) -> None:
    arguments = ("telco-000002", "--line", "labs/model-01/output=0.50", "--reason", "slow [start]")
    made = issued("invoice credit-note", *arguments)
    assert made.code == 0
    assert "labs/model-01/output (line 2 of telco-000002)" in made.out
    assert "-0.50 USD" in made.out
    assert "corrects telco-000002: slow [start]" in made.out
    again = issued.json("invoice credit-note", *arguments)
    assert again["issued"] is False
    by_number = issued.json("invoice credit-note", "telco-000002", "--line", "2=0.50", "--reason", "slow [start]")
    assert by_number["document_id"] == again["document_id"]
    assert "credited: -0.50 USD (slow [start])" in issued("invoice", "--tenant", "acme", "--period", CLOSED).out
    assert "credit of telco-000002" in issued("invoice list", "--tenant", "acme").out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("telco-000002", "--reason", "r"), 2, "say what is credited"),
        (("telco-000002", "--all", "--line", "1=1", "--reason", "r"), 2, "say what is credited"),
        (("telco-000002", "--line", "1", "--reason", "r"), 2, "is not LINE=AMOUNT"),
        (("telco-000002", "--line", "1=1e2", "--reason", "r"), 2, "is not a decimal in plain notation"),
        (("telco-000002", "--line", "nope=1", "--reason", "r"), 2, "no line is 'nope' on telco-000002"),
        (("telco-000002", "--line", "1=1", "--line", "1=1", "--reason", "r"), 2, "is named twice"),
        (("telco-000002", "--line", "1=1000", "--reason", "r"), 1, "more than the"),
        (("telco-999999", "--all", "--reason", "r"), 1, "there is no document telco-999999"),
    ],
)
def test_credits_that_cannot_be_say_why(issued: Shop, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended = issued("invoice credit-note", *arguments)
    assert ended.code == code
    assert said in ended.err


def test_a_statement_shares_what_was_invoiced(issued: Shop) -> None:
    (made,) = issued.json("seller statement", "--period", CLOSED)["statements"]
    assert (made["seller"], made["final"], made["gross"], made["seller_amount"], made["operator_amount"]) == (
        "labs", True, "13.00", "10.00", "3.00",
    )  # fmt: skip
    assert [line["share_percent"] for line in made["lines"]] == [["70"], ["80"]] * 2
    shown = issued("seller statement", "--period", OPEN, "--seller", "labs")
    assert "Statement of labs for 2026-02 in USD (not final)" in shown.out
    nothing = issued("seller statement", "--period", OPEN, "--seller", "nobody")
    assert nothing.out == "no statement: nothing of nobody is charged in 2026-02\n"


def test_showback_without_raw_usage_shares_nothing_and_still_adds_up(issued: Shop) -> None:
    (made,) = issued.json("showback", "--tenant", "acme", "--period", CLOSED)["showback"]
    assert (made["exact_total"], made["rounding"], made["invoice_total"]) == ("11", "0", "11.00")
    assert {share["project"] for share in made["shares"]} == {None}
    assert "(not shared)" in issued("showback", "--tenant", "acme", "--period", CLOSED, "--lines").out
    nobody = issued("showback", "--tenant", "nobody", "--period", CLOSED)
    assert nobody.out == "nothing is charged to nobody in 2026-01\n"


def test_service_levels_without_requests_are_not_judged(issued: Shop) -> None:
    shown = issued("sla report", "--period", CLOSED)
    assert shown.code == 0
    assert shown.out.count("too few requests") == 4
    assert issued("sla credit", "--period", CLOSED).out == "nothing new to credit\n"
    assert "no service level" in issued("sla report", "--period", "2020-01").out


def test_a_store_without_the_table_leads_to_migrate(tokenmill: Run, url: str) -> None:
    client = connect(parse_clickhouse(url), database="")
    client.command("CREATE DATABASE IF NOT EXISTS bare")
    bare = url.replace("/documents", "/bare")
    ended = tokenmill("invoice", "verify", "--clickhouse", bare)
    assert ended.code == 1
    assert "has no invoice documents yet: run `tokenmill migrate`" in ended.err
