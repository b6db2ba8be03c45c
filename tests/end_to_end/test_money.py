"""Money where it is delicate: currencies without and with three decimals, and an event that comes late."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.end_to_end.conftest import Install
from tests.end_to_end.installation import Installation

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.chaos]

_CARD = """\
id: {id}
version: 1
currency: {currency}
effective_from: "2020-01-01T00:00:00Z"
skus:
  - {{sku: in, meter: input, charge: {{model: per_unit, price: "{input_price}", per: 10}}}}
  - sku: out
    meter: output
    charge: {{model: graduated, per: 100, tiers: [{{up_to: 1000, price: "{first}"}}, {{price: "{then}"}}]}}
not_charged: [requests]
"""
CARDS = {
    "japan": _CARD.format(id="yen", currency="JPY", input_price="5", first="30", then="7"),
    "kuwait": _CARD.format(id="dinar", currency="KWD", input_price="0.005", first="0.030", then="0.007"),
    "late": _CARD.format(id="dollar", currency="USD", input_price="0.01", first="3.00", then="1.00"),
}


def _send(installation: Installation, events: list[tuple[str, int, int, int]]) -> None:
    """Usage as any program can send it, one CloudEvent in JSON each: (tenant, hour of the day, input, output)."""
    # Java's default partitioner, so that nothing has to be rerouted.
    producer = Producer({"bootstrap.servers": installation.settings.kafka.bootstrap, "partitioner": "murmur2_random"})
    for tenant, hour, input_tokens, output_tokens in events:
        time = datetime(2026, 1, 1, hour, 30, tzinfo=UTC).isoformat()
        identity = uuid.uuid4().hex
        data = {
            "tenant_id": tenant,
            "request_id": identity,
            "provider": "test",
            "operation": "chat",
            "endpoint": "/v1/chat/completions",
            "request_model": "model-00",
            "response_model": "model-00",
            "status": "success",
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "started_at": time,
            "ended_at": time,
        }
        event = {
            "specversion": "1.0",
            "type": "io.tokenmill.usage.token.v1",
            "id": identity,
            "source": "test",
            "time": time,
            "datacontenttype": "application/json",
            "data": data,
        }
        headers = [("content-type", b"application/cloudevents+json")]
        producer.produce(installation.settings.topics.usage_events, json.dumps(event), tenant, headers=headers)
    assert producer.flush(20) == 0


@dataclass(frozen=True)
class Day:
    """Invoices and rated records of the tenant `late`, before and after its late event."""

    installation: Installation
    before: dict[str, Any]
    after: dict[str, Any]
    rated_before: list[dict[str, Any]]
    rated_after: list[dict[str, Any]]


def _invoices(installation: Installation) -> dict[str, Any]:
    return {each["tenant"]: each for each in installation.run("invoice", "--json").json()["invoices"]}


def _rated(installation: Installation) -> list[dict[str, Any]]:
    return installation.query(
        "SELECT toHour(window_start) AS hour, quantity, amount, toString(revision) AS revision FROM rated "
        "WHERE tenant_id = 'late' AND sku = 'out' ORDER BY hour"
    )


@pytest.fixture(scope="module")
def day(install: Install) -> Day:
    installation = install()
    files = []
    for name, text in CARDS.items():
        files.append(installation.directory / f"{name}.yaml")
        files[-1].write_text(text)
    installation.prepare(*files)
    for tenant, card in (("japan", "yen"), ("kuwait", "dinar"), ("late", "dollar")):
        installation.run("account", "assign", tenant, card, "--from", "2026-01-01")
    with installation.services("worker", "sink") as settle:
        events = [("japan", 1, 1, 1001), ("japan", 2, 2, 1), ("kuwait", 1, 1, 1001), ("kuwait", 2, 2, 1)]
        _send(installation, [*events, ("late", 1, 0, 600), ("late", 3, 0, 300), ("late", 5, 0, 250)])
        settle()
        before, rated_before = _invoices(installation), _rated(installation)
        _send(installation, [("late", 2, 0, 200)])
        settle()
    return Day(installation, before, _invoices(installation), rated_before, _rated(installation))


def _lines(invoice: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    return {
        line["sku"]: (line["quantity"], line["exact_amount"], line["amount"])
        for line in invoice["lines"]
        if not line["sku"].startswith("uncharged/")
    }


def test_a_yen_invoice_has_whole_yen_rounded_half_away_from_zero(day: Day) -> None:
    invoice = day.before["japan"]
    # 3 tokens at 5 per 10 are 1.5; 1002 tokens are 300 for the first thousand and 0.14 for two.
    assert _lines(invoice) == {"in": ("3", "1.5", "2"), "out": ("1002", "300.14", "300")}
    assert (invoice["currency"], invoice["total"]) == ("JPY", "302")


def test_a_dinar_invoice_has_three_decimals(day: Day) -> None:
    invoice = day.before["kuwait"]
    assert _lines(invoice) == {"in": ("3", "0.0015", "0.002"), "out": ("1002", "0.30014", "0.300")}
    assert (invoice["currency"], invoice["total"]) == ("KWD", "0.302")
    shown = day.installation.run("invoice", "--tenant", "kuwait").out
    assert "0.302 KWD" in shown


def _amounts(rows: list[dict[str, Any]]) -> list[tuple[int, Decimal, Decimal]]:
    return [(row["hour"], Decimal(row["quantity"]), Decimal(row["amount"])) for row in rows]


def _hours(*hours: tuple[int, int, str]) -> list[tuple[int, Decimal, Decimal]]:
    return [(hour, Decimal(quantity), Decimal(amount)) for hour, quantity, amount in hours]


def test_a_late_event_reprices_the_hours_after_it_that_cross_a_tier(day: Day) -> None:
    # 600, 300, 250: the thousand is passed in hour 5, by 150.
    assert _amounts(day.rated_before) == _hours((1, 600, "18"), (3, 300, "9"), (5, 250, "4.5"))
    # 200 in hour 2: now hour 3 passes the thousand, by 100, and hour 5 lies beyond it.
    assert _amounts(day.rated_after) == _hours((1, 600, "18"), (2, 200, "6"), (3, 300, "7"), (5, 250, "2.5"))


def test_only_hours_that_changed_have_a_higher_revision(day: Day) -> None:
    before = {row["hour"]: int(row["revision"]) for row in day.rated_before}
    after = {row["hour"]: int(row["revision"]) for row in day.rated_after}
    assert after[1] == before[1]
    assert after[3] > before[3]
    assert after[5] > before[5]


def test_the_invoice_is_the_price_of_the_month_whatever_came_late(day: Day) -> None:
    # 1150 tokens, then 1350: 30.00 for the first thousand, 1.00 per hundred beyond.
    assert day.before["late"]["total"] == "31.50"
    assert day.after["late"]["total"] == "33.50"
    assert _lines(day.after["late"])["out"] == ("1350", "33.5", "33.50")
    assert day.after["japan"] == day.before["japan"]
    assert day.installation.run("reconcile", "--json").json()["ok"] is True
