"""Reconciliation names what was deleted, doubled or changed by hand, and finds nothing where nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from infra.clickhouse import connect
from infra.config import Settings
from rating.errors import InvoiceError
from sinks.balance import load_balance
from sinks.invoices import list_invoices, load_cards, load_invoice
from sinks.queries import token_prices, tokens_and_money
from sinks.reconcile import reconcile
from tests.conftest import MakeSettings
from tests.sinks import samples, world
from tests.sinks.conftest import Stored
from tests.sinks.support import produce, run_until_stored
from tests.support import Broker

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(broker: Broker, make_settings: MakeSettings, stored: Stored) -> Settings:
    made = stored(make_settings(broker, partitions="2", sink_interval_s="0.1"))
    world.build(made)
    return made


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    client = connect(settings.clickhouse)
    yield client
    client.close()


def test_what_is_sound_reconciles_and_what_is_damaged_is_named(settings: Settings, client: Client) -> None:
    """One world for all damages, one after the other: building it takes seconds."""
    report = reconcile(settings)
    assert report.problems == ()
    assert report.ok
    assert (report.missing, report.duplicated, report.amount_difference) == (0, 0, Decimal(0))
    assert report.compared["offered"] == report.compared["read"] == report.compared["usage_raw_stored"] == 90
    assert report.compared["rated_keys"] == 9
    assert report.compared["invoices"] == 1

    _a_deleted_raw_row(settings, client)
    _a_doubled_raw_row(settings, client)
    _a_deleted_exclusion(settings, client)
    _a_deleted_rated_row(settings, client)
    _a_changed_rated_row(settings, client)
    _a_deleted_ledger_entry(settings, client)


def _a_deleted_raw_row(settings: Settings, client: Client) -> None:
    client.command("DELETE FROM usage_raw WHERE id = 'p0-11'")
    report = reconcile(settings)
    topic = settings.topics.usage_events
    assert report.missing == 1
    assert not report.ok
    assert report.problems[0] == f"usage_raw: {topic} partition 0, offset 1, row 11 is missing"
    assert any("tenant-0, 2026-01-01T01:00:00Z, input: raw rows that count sum to" in line for line in report.problems)
    assert report.as_json()["missing"] == 1
    client.command(
        "INSERT INTO usage_raw SELECT * REPLACE (11 AS kafka_row, 111 AS input_tokens, 'p0-11' AS id) FROM usage_raw "
        "WHERE usage_raw.id = 'p0-12'"
    )
    assert reconcile(settings).ok


def _a_doubled_raw_row(settings: Settings, client: Client) -> None:
    client.command("INSERT INTO usage_raw SELECT * FROM usage_raw WHERE id = 'p0-3'")
    report = reconcile(settings)
    assert (report.missing, report.duplicated) == (0, 1)
    assert report.problems[0].endswith("partition 0, offset 1, row 3 is there 2 times")
    client.command("DELETE FROM usage_raw WHERE id = 'p0-3'")
    client.command(
        "INSERT INTO usage_raw SELECT * REPLACE (3 AS kafka_row, 103 AS input_tokens, 'p0-3' AS id) FROM usage_raw "
        "WHERE usage_raw.id = 'p0-4'"
    )
    assert reconcile(settings).ok


def _a_deleted_exclusion(settings: Settings, client: Client) -> None:
    client.command("CREATE TABLE kept AS exclusions")
    client.command("INSERT INTO kept SELECT * FROM exclusions WHERE source_row = 4")
    client.command("DELETE FROM exclusions WHERE source_row = 4")
    report = reconcile(settings)
    assert report.missing == 1
    assert "exclusions:" in report.problems[0]
    assert any("raw rows that count sum to" in line for line in report.problems)
    client.command("INSERT INTO exclusions SELECT * FROM kept")
    client.command("DROP TABLE kept SYNC")
    assert reconcile(settings).ok


def _a_deleted_rated_row(settings: Settings, client: Client) -> None:
    client.command("CREATE TABLE kept AS rated_state")
    condition = "sku = 'chat/input' AND window_start = '2026-01-01 01:00:00'"
    client.command(f"INSERT INTO kept SELECT * FROM rated_state WHERE {condition}")
    client.command(f"DELETE FROM rated_state WHERE {condition}")
    report = reconcile(settings)
    amount = Decimal(sum(100 + n for n in range(10, 20)) * 2) * world.PRICE
    assert report.missing == 1
    assert report.amount_difference == 2 * amount  # in the state, and in the invoice made from it
    assert report.problems[0].startswith(
        "rated_state: no row for tenant-0, chat/input, usage, hour 2026-01-01T01:00:00Z, service period 2026-01"
    )
    assert report.problems[1].startswith("invoice of tenant-0 for 2026-01: Kafka comes to")
    client.command("INSERT INTO rated_state SELECT * FROM kept")
    client.command("DROP TABLE kept SYNC")
    assert reconcile(settings).ok


def _a_changed_rated_row(settings: Settings, client: Client) -> None:
    client.command(
        "INSERT INTO rated_state SELECT * REPLACE (amount + toDecimal128('0.5', 12) AS amount, revision + 1 AS revision) "
        "FROM rated WHERE sku = 'chat/output' AND window_start = '2026-01-01 00:00:00'"
    )
    report = reconcile(settings)
    assert report.missing == 0
    assert "chat/output" in report.problems[0]
    assert report.amount_difference == 1
    client.command("DELETE FROM rated_state WHERE sku = 'chat/output' AND revision = 101 AND amount > 0.4")
    assert reconcile(settings).ok


def _a_deleted_ledger_entry(settings: Settings, client: Client) -> None:
    client.command("DELETE FROM rated_ledger WHERE revision = 1")
    report = reconcile(settings)
    assert report.missing == 1
    assert any(line.startswith("rated_ledger: tenant-0, chat/input") and "sum to" in line for line in report.problems)
    assert any("does not follow the one before it" in line for line in report.problems)


def test_batches_that_never_arrived_and_balances_that_do_not_add_up_are_named(settings: Settings) -> None:
    produce(settings, settings.topics.usage_events, samples.token_batch(2, number=3), partition=1)
    produce(settings, settings.topics.usage_events, samples.token_batch(2, number=6), (b"garbage", []), partition=1)
    run_until_stored(settings)
    report = reconcile(settings)
    assert any("source 'node-1', epoch 7: batches never arrived: 4, 5" in line for line in report.problems)
    assert any(
        "partition 1: the log offers 65 events, the worker's balance says 60 were read" in line
        for line in report.problems
    )
    assert any("partition 1, offset 4 cannot be read and is in no dead letter" in line for line in report.problems)
    assert report.missing == 3


def test_sinks_that_are_behind_are_called_so(settings: Settings) -> None:
    produce(settings, settings.topics.usage_events, samples.token_batch(2, number=3), partition=1)
    report = reconcile(settings)
    assert any("run the sinks, wait, and reconcile again" in line for line in report.problems)


def test_the_invoice_of_a_tenant_comes_from_clickhouse(settings: Settings, client: Client) -> None:
    cards = load_cards(client, settings)
    assert [(card.id, card.version) for card in cards] == [("standard", 1)]
    invoice = load_invoice(client, "tenant-0", "2026-01", cards)
    records = world.rated_records()
    lines = {line.sku: line for line in invoice.lines}
    assert lines["chat/input"].quantity == world.total_input(records)
    assert lines["chat/input"].exact_amount == world.total_input(records) * world.PRICE
    assert [tier.quantity for tier in lines["chat/input"].tiers] == [world.total_input(records)]
    [summary] = list_invoices(client)
    assert (summary.tenant_id, summary.period, summary.currency) == ("tenant-0", "2026-01", "EUR")
    assert summary.amount == sum((line.exact_amount for line in invoice.lines), Decimal(0))
    with pytest.raises(InvoiceError, match="no invoice for 2026-02"):
        load_invoice(client, "tenant-0", "2026-02", cards)


def test_the_balance_adds_up_over_partitions_and_sources(settings: Settings, client: Client) -> None:
    balance = load_balance(client)
    assert (balance.total.read, balance.total.rated, balance.total.duplicate, balance.total.dead_letter) == (
        90,
        59,
        30,
        1,
    )
    assert balance.total.accepted == 90
    assert balance.by_source().keys() == {"node"}


def test_usage_and_money_agree_with_the_invoice(settings: Settings, client: Client) -> None:
    over_all_models, usage = tokens_and_money(client, settings)
    assert (usage.tenant_id, usage.model, usage.requests) == ("tenant-0", "model-0", 59)
    assert usage.input_tokens == world.total_input(world.rated_records())
    assert over_all_models.amounts == {"EUR": list_invoices(client)[0].amount}
    [price] = token_prices(client, settings)
    assert price.per_million == 1
    assert price.tokens == usage.input_tokens + usage.output_tokens
