"""Lines that count something else of a meter than its sum bring money, and no tokens."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from infra.config import Settings
from rating.aggregations.gathered import Gathered
from rating.period import TenantPeriod
from sinks.queries import token_prices
from tests.rating.builders import PERIOD, START, card, catalog, key, per_unit, sku
from tests.sinks.rated_rows import store_rated

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def test_seats_on_a_token_meter_are_revenue_and_not_tokens(migrated: Settings, database: Client) -> None:
    seats = {**sku("seats", "output", per_unit("5")), "aggregation": "unique_api_keys"}
    priced = catalog(card(sku("text", "output", per_unit("2", 1_000_000)), seats))
    period = TenantPeriod("acme", PERIOD)
    period.add(key(), START, None, {"output_text": Gathered(3_000_000, api_keys={1: None, 2: None})})
    store_rated(database, period.lines(priced, closed=True))
    [price] = token_prices(database, migrated)
    assert (price.tokens, price.amount, price.per_million) == (Decimal(3_000_000), Decimal(6), Decimal(2))
    [(quantity, amount)] = database.query("SELECT sum(quantity), sum(amount) FROM kpi_revenue").result_rows
    assert (quantity, amount) == (Decimal(3_000_000), Decimal(16))
