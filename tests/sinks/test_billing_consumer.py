"""The consumer of docs/consume-rated-usage.md: whatever the topic does, its totals are the invoices'."""

from __future__ import annotations

import importlib.util
import json
import random
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, Producer

import infra
from infra.config import Settings
from infra.kafka import Record, client_config, write
from infra.topics import apply
from rating.cards import parse_card
from rating.money import CURRENCY_EXPONENTS, round_to_currency
from schemas.partitioning import partition_for
from schemas.rated import decode_rated
from sinks.invoices import list_invoices, load_invoice
from streams.transactions import OutgoingRecord
from tests.conftest import MakeSettings
from tests.sinks.conftest import Stored
from tests.sinks.support import run_until_stored
from tests.streams.support import Log, Run, card_document, per_unit, rate, usage
from tests.support import Broker

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SCRIPT = Path(infra.__file__).parent / "examples/consumers/rated_usage.py"
GUIDE = Path(infra.__file__).parents[1] / "docs/consume-rated-usage.md"
TIERS = [{"up_to": 2_000, "price": "0.0137"}, {"up_to": 5_000, "price": "0.0071"}, {"price": "0.0033"}]
DOLLARS = card_document(
    {"sku": "in", "meter": "input", "charge": {"model": "graduated", "per": 1, "tiers": TIERS}},
    per_unit("{model}/output", "output", "0.0333"),
    id="dollars",
    not_charged=["requests"],
    flat_fees=[{"sku": "platform-fee", "amount": "20"}],
)
CARDS: list[dict[str, Any]] = [
    DOLLARS,
    {**DOLLARS, "version": 2, "effective_from": "2026-01-15T00:00:00Z", "skus": [
        DOLLARS["skus"][0], per_unit("{model}/output", "output", "0.0111"), per_unit("images", "images", "0.04"),
    ]},
    card_document(per_unit("in", "input", "0.0057"), id="yen", currency="JPY", not_charged=["output", "requests"]),
    card_document(
        per_unit("in", "input", "0.000333"),
        per_unit("out", "output", "0.00777"),
        id="dinar",
        currency="KWD",
        not_charged=["requests"],
        minimum={"sku": "minimum", "amount": "80"},
    ),
]  # fmt: skip
Totals = dict[tuple[str, str, str], Decimal]


def at(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def usages(tenant: str, name: str, first: datetime, count: int, **changes: Any) -> list[Any]:
    drawn = random.Random(name)
    return [
        usage(
            f"{tenant}-{name}-{number}",
            first + timedelta(hours=drawn.randrange(60)),
            tenant_id=tenant,
            input_tokens=drawn.randrange(1, 400),
            output_tokens=drawn.randrange(1, 90),
            **changes,
        )
        for number in range(count)
    ]


def history() -> list[OutgoingRecord]:
    """What the rating stage publishes about three months of three tenants, flush by flush."""
    log = Log()
    for card in CARDS[:1] + CARDS[2:]:
        log.card(card)
    tenants = {"acme": "dollars", "kobe": "yen", "gulf": "dinar"}
    for tenant, card_id in tenants.items():
        log.assign(tenant, card_id)
    for tenant in tenants:
        for number, day in enumerate((2, 9, 16, 12)):
            events = usages(tenant, f"on-time-{number}", at(1, day), 12, images=1 if tenant == "acme" else 0)
            log.batch(events)
            log.batch(events[3:7])  # duplicates
    log.card(CARDS[1])  # changes prices from the middle of January, and gives images one from then on
    log.batch(usages("acme", "after", at(1, 18), 5))
    log.tick(at(2, 3))  # January closes
    for tenant in tenants:
        log.batch(usages(tenant, "february", at(2, 3), 6))
        log.batch(usages(tenant, "late", at(1, 5), 5))
        log.batch(usages(tenant, "later", at(1, 20), 3))
    log.tick(at(3, 3))
    log.batch(usages("gulf", "latest", at(1, 25), 4))
    log.batch(usages("acme", "latest", at(2, 5), 2))
    run: Run = rate(log.records)
    while run.read < len(run.records):
        run.feed(2)
        run.flush()
    return run.to(run.made.topics.usage_rated)


HISTORY = history()


def publish(settings: Settings, records: Sequence[OutgoingRecord]) -> None:
    placed = []
    for record in records:
        tenant = decode_rated(record.value or b"").tenant_id
        partition = partition_for(tenant, settings.partitions)
        placed.append(Record(record.key, record.value, partition, list(record.headers)))
    write(settings, settings.topics.usage_rated, placed)


def abort(settings: Settings, record: OutgoingRecord) -> None:
    """Write a record with a higher revision and another amount in a transaction that is taken back."""
    wrong = json.loads(record.value or b"") | {"revision": 2**52, "amount": "1000000"}
    producer = Producer(client_config(settings, transactional_id=f"{settings.deployment}.aborted"))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(settings.topics.usage_rated, json.dumps(wrong).encode(), record.key, 0)
    producer.flush(30)
    producer.abort_transaction(30)


def run_script(settings: Settings, database: Path) -> Totals:
    command = [sys.executable, str(SCRIPT), settings.kafka.bootstrap, str(database), settings.topics.usage_rated]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [line.split() for line in done.stdout.splitlines()]
    return {(tenant, period, currency): Decimal(total) for tenant, period, currency, total in rows}


def invoiced(client: Client) -> Totals:
    cards = [parse_card(card) for card in CARDS]
    totals = {}
    for each in list_invoices(client):
        invoice = load_invoice(client, each.tenant_id, each.period, cards, each.currency)
        assert invoice.provisional == each.provisional
        totals[each.tenant_id, each.period, each.currency] = invoice.total
    return totals


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rated_usage", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.kafka
def test_its_totals_are_the_invoices_after_duplicates_replays_late_usage_and_adjustments(
    broker: Broker, make_settings: MakeSettings, stored: Stored, database: Client, tmp_path: Path, script: ModuleType
) -> None:
    settings = stored(make_settings(broker, sink_interval_s="0.1"))
    apply(settings)
    bills = tmp_path / "bills.db"
    half = len(HISTORY) // 2
    publish(settings, HISTORY[:half])
    assert run_script(settings, bills)
    publish(settings, HISTORY[half:])
    again = random.Random(1).sample(HISTORY, len(HISTORY) * 2 // 3)
    publish(settings, again)  # old revisions after newer ones
    if broker.real:  # the embedded one shows what was aborted
        abort(settings, HISTORY[0])
    totals = run_script(settings, bills)
    run_until_stored(settings)
    expected = invoiced(database)
    provisional = {each.period: each.provisional for each in list_invoices(database) if each.tenant_id == "acme"}
    assert provisional == {"2026-01": False, "2026-02": False, "2026-03": True}, "also where records fell to nothing"
    assert totals == expected
    assert {("acme", "2026-01", "USD"), ("kobe", "2026-02", "JPY"), ("gulf", "2026-03", "KWD")} <= set(totals)

    # Everything from the beginning once more, into the same database and into an empty one.
    for path in (bills, tmp_path / "new.db"):
        start = {"group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest", "enable.partition.eof": True}
        consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap, "enable.auto.commit": False, **start})
        consumer.subscribe([settings.topics.usage_rated])
        with closing(sqlite3.connect(path)) as bill_book:
            bill_book.execute(script.TABLE)
            script.read_to_the_end(consumer, bill_book)
            assert script.invoices(bill_book) == expected
        consumer.close()


def test_the_history_has_what_a_billing_system_can_meet() -> None:
    records = [decode_rated(record.value or b"") for record in HISTORY]
    assert {record.kind for record in records} == {"usage", "unrated", "flat_fee", "minimum", "adjustment"}
    assert {record.provisional for record in records} == {True, False}
    assert len({record.key for record in records}) < len(records) / 2
    adjustments = [record for record in records if record.kind == "adjustment"]
    assert {(each.service_period, each.billing_period) for each in adjustments} >= {
        ("2026-01", "2026-02"),
        ("2026-01", "2026-03"),
        ("2026-02", "2026-03"),
    }
    assert any(record.amount is not None and record.amount < 0 for record in records)


def test_the_running_sum_of_the_differences_to_previous_is_the_last_amount(script: ModuleType) -> None:
    sums: dict[bytes, Decimal] = {}
    last: dict[bytes, Decimal | None] = {}
    for record in (decode_rated(record.value or b"") for record in HISTORY):
        before = record.previous.amount if record.previous else None
        sums[record.key] = sums.get(record.key, Decimal(0)) + (record.amount or 0) - (before or 0)
        last[record.key] = record.amount
    assert sums == {key: amount or 0 for key, amount in last.items()}


def test_it_rounds_every_currency_as_invoices_do(script: ModuleType) -> None:
    for currency in CURRENCY_EXPONENTS:
        with closing(sqlite3.connect(":memory:")) as bill_book:
            bill_book.execute(script.TABLE)
            record = {"tenant_id": "a", "billing_period": "b", "currency": currency, "amount": "0.123455"}
            record |= {"service_period": "b", "kind": "usage", "sku": "s", "meter": "m"}
            bill_book.execute(script.TAKE, (b"k", 1, json.dumps(record)))
            assert script.invoices(bill_book) == {
                ("a", "b", currency): round_to_currency(Decimal("0.123455"), currency)
            }


def test_it_stands_in_the_guide_word_for_word_and_needs_nothing_of_tokenmill() -> None:
    source = SCRIPT.read_text()
    assert f"```python\n{source}```\n" in GUIDE.read_text()
    assert not [line for line in source.splitlines() if line.startswith(("import", "from")) and "tokenmill" in line]
    imported = {
        line.split()[1].partition(".")[0] for line in source.splitlines() if line.startswith(("import", "from"))
    }
    assert imported == {"json", "sqlite3", "sys", "collections", "decimal", "confluent_kafka"}
