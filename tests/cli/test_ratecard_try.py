"""`ratecard try` and `rerate` by hand: tables, JSON, the page, and an order that makes the month cost what was shown."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from infra.cli.ratecard.chart import chart_page
from infra.cli.ratecard.try_view import TrialReport
from infra.clickhouse import connect
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.migrations import apply
from rating.trial import LineId, Reach, TenantTrial, TrialLine, Waiting
from schemas.control import AccountAssigned, RateCardActivated, decode_control
from schemas.instants import from_microseconds
from tests.cli.conftest import Ended, Run
from tests.sinks.filled import fill, run_of
from tests.streams.support import Log, card_document, per_unit, usage

if TYPE_CHECKING:
    from schemas.rerating import RerateOrdered

OUTPUT = {
    "sku": "{model}/output",
    "meter": "output",
    "charge": {"model": "graduated", "tiers": [{"up_to": 25, "price": "1"}, {"price": "0.5"}]},
}


def document(price: str, version: int = 1) -> dict[str, Any]:
    return card_document(per_unit("{model}/input", "input", price), OUTPUT, version=version, not_charged=["requests"])


def january() -> Log:
    """Two tenants with 200 input and 20 output tokens each; January is closed; version 2 is right, and published late."""
    log = Log()
    log.card(document("0.1"))
    log.assign()
    for tenant in ("acme", "bell"):
        log.batch([usage(f"{tenant}-{n}", timedelta(days=n), tenant_id=tenant) for n in range(2)])
    log.batch([usage("feb", timedelta(days=31))])
    log.card(document("0.01", version=2))
    return log


FILLED: set[tuple[int, str]] = set()


@dataclass
class Shop:
    """A store filled from a log, and the commands on it."""

    store: EmbeddedClickHouse
    run: Run
    database: str = ""

    def fill(self, log: Log, database: str) -> None:
        """Store a log once in a database of this name, and ask that one from now on."""
        self.database = database
        if (id(self.store), database) in FILLED:
            return
        FILLED.add((id(self.store), database))
        settings = self.store.settings(database)
        client = connect(settings, database="")
        apply(client, database)
        fill(connect(settings), run_of(log))

    def __call__(self, *arguments: str) -> Ended:
        return self.run(*arguments, "--clickhouse", self.store.settings(self.database).url)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def shop(store: EmbeddedClickHouse, tokenmill: Run, tmp_path: Path) -> Shop:
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(document("0.2", version=3)))
    return Shop(store, tokenmill)


def test_a_trial_shows_old_and_new_and_who_crosses_a_tier(shop: Shop, tmp_path: Path) -> None:
    shop.fill(january(), "january")
    ended = shop("ratecard", "try", "--card", "new.yaml", "--period", "2026-01")
    assert (ended.code, ended.err) == (0, "")
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert lines[0] == "card version 3 on 2026-01: 2 tenants"
    assert "acme 40.00 60.00 +20.00 +50.0 %" in lines
    assert "llama/input 200 20.00 40.00 +20.00 +100.0 %" in lines
    assert "total, USD 80.00 120.00 +40.00 +50.0 %" in lines

    tiers = {"model": "graduated", "tiers": [{"up_to": 15, "price": "1"}, {"price": "0"}]}
    crossing = card_document(per_unit("{model}/input", "input", "0.1"), {**OUTPUT, "charge": tiers}, version=4)
    (tmp_path / "crossing.yaml").write_text(yaml.safe_dump(crossing))
    ended = shop("ratecard", "try", "--card", "crossing.yaml", "--period", "2026-01", "--tenant", "acme", "--json")
    assert ended.code == 1, "requests have no price under this card"
    (acme,) = json.loads(ended.out)["tenants"]
    output = {line["sku"]: line for line in acme["lines"]}["llama/output"]
    assert (output["old"], output["new"], output["crosses_tier"]) == ("20.00", "15.00", True)
    assert (output["old_tier"], output["new_tier"]) == ({"above": "0", "up_to": "25"}, {"above": "15", "up_to": None})
    assert acme["without_price"]["new"] == [{"meter": "requests", "quantity": "2", "unit": "requests"}]
    assert acme["totals"] == [
        {"currency": "USD", "old": "40.00", "new": "35.00", "change": "-5.00", "percent": "-12.5"}
    ]


def test_a_trial_of_nothing_and_of_nobody_is_said(shop: Shop) -> None:
    shop.fill(january(), "january")
    ended = shop("ratecard", "try", "--card", "new.yaml", "--period", "2027-01")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "nobody used anything in this month")
    ended = shop("ratecard", "try", "--card", "new.yaml", "--period", "2026-01", "--tenant", "acne")
    assert ended.err == "Error: tenant acne has no usage in 2026-01, did you mean acme?\n"
    ended = shop("ratecard", "try", "--card", "new.yaml", "--period", "2026-01", "--chart", "chart.png")
    assert (ended.code, "name a file that ends in .html" in ended.err) == (2, True)


def test_the_chart_is_one_page_without_scripts_that_says_the_same(shop: Shop) -> None:
    shop.fill(january(), "january")
    ended = shop("ratecard", "try", "--card", "new.yaml", "--period", "2026-01", "--chart", "chart.html")
    assert ended.err == "chart: chart.html\n"
    page = Path("chart.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert all(text in page for text in ("acme", "llama/input", "+20.00 (+50.0 %)", "USD charged", "120.00"))
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(drawing)  # noqa: S314  # our own drawing


def trial(tenant: str, old: str, new: str, sku: str = "a") -> TenantTrial:
    amounts = Decimal(old), Decimal(new)
    line = TrialLine(LineId(sku, "input", "USD"), Decimal(5), "tokens", *amounts, None, Reach(Decimal(3), None))
    return TenantTrial(tenant, (line,), (), (Waiting("images", Decimal(2), "images"),))


def test_bars_are_as_long_as_the_amounts_say_and_names_are_escaped() -> None:
    some = (trial("<b>&", "0", "300"), trial("less", "100", "0"), trial("x" * 80, "1", "1.01"))
    page = chart_page(TrialReport("<title>", "a & b", "2026-01", some, 3))
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    drawing = ET.fromstring(re.findall(r"<svg.*?</svg>", page, re.DOTALL)[0])  # noqa: S314  # our own drawing
    bars = {bar.get("class"): bar for bar in drawing.iter("{http://www.w3.org/2000/svg}rect")}
    room = 860 - 210 - 190
    assert int(bars["less"].get("width", "0")) == round(100 / 400 * room)
    widths = sorted(int(bar.get("width", "0")) for bar in drawing.iter("{http://www.w3.org/2000/svg}rect"))
    assert widths == [1, 115, 345], "something is never nothing"
    assert "Ends in another tier: 3" in page
    assert "Without a price under the new card" in page


@dataclass
class Kafka:
    """What `rerate` would read from Kafka and write to it."""

    log: Log
    orders: list[RerateOrdered]


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    """The catalogue and the event time of a log, and a writer that appends to it."""
    from infra.cli.status.look import PartitionTime
    from producers.control import PublishedCatalog

    made = Kafka(january(), [])

    def read_catalog(_: object) -> PublishedCatalog:
        written = [each for each in made.log.records if b".control." in each.headers.get("ce_type", b"")]
        controls = [decode_control(each.value, each.headers.items()) for each in written]
        cards = {(c.card["id"], str(c.card["version"])): c for c in controls if isinstance(c, RateCardActivated)}
        assigned = {(c.tenant_id, str(c.effective_from)): c for c in controls if isinstance(c, AccountAssigned)}
        return PublishedCatalog(cards, assigned)

    class Writer:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> Writer:
            return self

        def __exit__(self, *_: object) -> None: ...
        def order_rerates(self, orders: list[RerateOrdered]) -> None:
            made.orders += orders
            for order in orders:
                made.log.control(order)

    class Look:
        times = [  # noqa: RUF012  # a stand-in
            PartitionTime(partition, 1, usage("x", timedelta(days=31)).ended_at, from_microseconds(0))
            for partition in range(12)
        ]

    monkeypatch.setattr("infra.cli.rerate.require_topics", lambda *_: None)
    monkeypatch.setattr("producers.control.read_catalog", read_catalog)
    monkeypatch.setattr("producers.control.ControlWriter", Writer)
    monkeypatch.setattr("infra.cli.status.kafka_look.look_at_kafka", lambda _: Look)
    return made


def test_an_order_makes_a_closed_month_cost_what_was_shown_and_then_there_is_nothing_left(
    shop: Shop, kafka: Kafka
) -> None:
    shop.fill(kafka.log, "january")
    shown = json.loads(shop("rerate", "--period", "2026-01", "--dry-run", "--json").out)
    assert kafka.orders == []
    assert shown["totals"] == [
        {"currency": "USD", "old": "80.00", "new": "44.00", "change": "-36.00", "percent": "-45.0"}
    ]
    assert shown["orders"] == [
        {"tenant": tenant, "month": "closed", "booked_in": "2026-02"} for tenant in ("acme", "bell")
    ]
    ended = shop("rerate", "--period", "2026-01", "--tenant", "acme", "--reason", "ten times too dear")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "ordered for acme: adjustments in 2026-02")
    (order,) = kafka.orders
    assert [(price.card_id, price.card_version) for price in order.prices] == [("card", 2)]
    assert order.reason == "ten times too dear"

    shop.fill(kafka.log, "after")
    answer = json.loads(shop("rerate", "--period", "2026-01", "--dry-run", "--json").out)
    assert [each["tenant"] for each in answer["tenants"]] == ["bell"]
    ended = shop("rerate", "--period", "2026-01", "--tenant", "acme", "--dry-run")
    assert ended.out == "nothing to correct: 2026-01 was charged as the prices say\n"
    back = json.loads(shop("rerate", "--period", "2026-01", "--card", "card:1", "--dry-run", "--json").out)
    assert {each["tenant"]: each["totals"][0]["change"] for each in back["tenants"]} == {"acme": "18.00"}


def test_an_open_month_gets_no_order(shop: Shop, kafka: Kafka) -> None:
    shop.fill(kafka.log, "january")
    ended = shop("rerate", "--period", "2026-02", "--reason", "x")
    assert (ended.code, ended.out) == (0, "nothing to correct: 2026-02 was charged as the prices say\n")
    ended = shop("rerate", "--period", "2026-02", "--card", "card:1", "--reason", "x")
    assert "no order for acme: 2026-02 is open there" in ended.out
    assert kafka.orders == []


def test_what_cannot_be_ordered_is_said(shop: Shop, kafka: Kafka) -> None:
    shop.fill(kafka.log, "january")
    for arguments, code, said in (
        ((), 2, "give a --reason"),
        (("--reason", " "), 2, "printable characters"),
        (("--reason", "x", "--card", "cart"), 1, "no card 'cart' is published, did you mean card?"),
        (("--reason", "x", "--card", "card:9"), 1, "card card has no version 9 (there are: 1, 2)"),
        (("--reason", "x", "--tenant", "acne"), 1, "tenant acne has no usage in 2026-01, did you mean acme?"),
    ):
        ended = shop("rerate", "--period", "2026-01", *arguments)
        assert (ended.code, said in ended.err) == (code, True), ended.err
    assert kafka.orders == []
