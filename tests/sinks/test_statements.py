"""Statements of what is stored: corrections stand on the statement of the month in which they were issued."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from rating.cards import RateCard
from rating.credit_notes import CreditRequest
from rating.period import TenantPeriod
from rating.statements import Statement
from rating.windows import first_hour
from sinks.finalize import credit, finalize
from sinks.statements import load_statements
from tests.rating.builders import card, catalog, key, per_unit, sku
from tests.sinks.rated_rows import store_rated

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CARD: RateCard = card(
    sku("own", "input", per_unit("0.01")),
    {**sku("resold", "output", per_unit("0.01")), "seller_id": "labs"},
    revenue_shares=[{"seller_id": "labs", "share_percent": "70"}],
)
JANUARY, FEBRUARY, MARCH = "2026-01", "2026-02", "2026-03"


def rate_month(client: Client, tenant: str, quantity: int) -> None:
    made = TenantPeriod(tenant, JANUARY)
    quantities = {"output_text": Decimal(quantity), "input_uncached": Decimal(77)}
    made.add(key(tenant=tenant), first_hour(JANUARY), None, quantities)
    store_rated(client, made.lines(catalog(CARD), closed=True))


def make_final(client: Client, month: int, **options: object) -> None:
    at = datetime(2026, month, 5, tzinfo=UTC)
    list(finalize(client, "telco", [CARD], by="anna", now=lambda: at, **options))  # type: ignore[arg-type]


def give_back(client: Client, month: int, document: str, amounts: dict[int, Decimal] | None, reason: str) -> None:
    at = datetime(2026, month, 5, tzinfo=UTC)
    credit(client, None, CreditRequest(document, reason, amounts), by="anna", now=lambda: at)


def due(client: Client, period: str) -> list[tuple[str, str | None, str, str]]:
    found: list[Statement] = load_statements(client, period, [CARD])
    assert [each.seller_id for each in found] == ["labs"] * len(found)
    return [
        (line.tenant_id, line.document_id, f"{line.gross:f}", f"{line.seller_amount:f}")
        for each in found
        for line in each.lines
    ]


def test_corrections_do_not_change_an_old_statement(database: Client) -> None:
    rate_month(database, "acme", 1003)
    rate_month(database, "bell", 50)
    assert due(database, JANUARY) == [("acme", None, "10.03", "7.02"), ("bell", None, "0.50", "0.35")]
    make_final(database, 2)
    january = [("acme", "telco-000001", "10.03", "7.02"), ("bell", "telco-000002", "0.50", "0.35")]
    assert due(database, JANUARY) == january

    # Lines go by kind, then id: own is 1, resold is 2.
    give_back(database, 2, "telco-000001", {1: Decimal("0.77")}, "nothing of the seller's")
    assert due(database, FEBRUARY) == []
    give_back(database, 2, "telco-000001", {2: Decimal("3.01")}, "slow")
    give_back(database, 3, "telco-000001", None, "wrong tenant")
    make_final(database, 3, tenant="acme", period=JANUARY, replace=True)
    assert due(database, JANUARY) == january
    assert due(database, FEBRUARY) == [("acme", "telco-000004", "-3.01", "-2.11")]
    # What is left goes back in full, and the invoice in its place is charged anew.
    assert due(database, MARCH) == [
        ("acme", "telco-000005", "-7.02", "-4.91"),
        ("acme", "telco-000006", "10.03", "7.02"),
    ]


def test_a_seller_is_asked_for_alone(database: Client) -> None:
    rate_month(database, "acme", 100)
    assert [each.seller_id for each in load_statements(database, JANUARY, [CARD], seller_id="labs")] == ["labs"]
    assert load_statements(database, JANUARY, [CARD], seller_id="other") == []
    assert load_statements(database, FEBRUARY, [CARD]) == []
