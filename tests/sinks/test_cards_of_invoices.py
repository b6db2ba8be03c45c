"""The cards that invoices are explained with: as published, and with the prices of each tenant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import orjson
import pytest
from clickhouse_connect.driver.client import Client

from infra.config import Settings
from rating.overrides import parse_overrides
from schemas.kinds import Kind
from sinks.invoices import load_cards
from tests.rating.builders import document, per_unit, sku

OWN = {"r": per_unit("0.5")}


@dataclass
class Answer:
    result_rows: list[tuple[str]]


@dataclass
class Store:
    """Control records by kind, in the order of the log."""

    cards: list[Any]
    assignments: list[Any]

    def query(self, sql: str, parameters: dict[str, str]) -> Answer:
        assert "FROM control" in sql
        records = self.cards if parameters["kind"] == Kind.RATE_CARD.value else self.assignments
        return Answer([(orjson.dumps(record).decode(),) for record in records])


def load(store: Store) -> list[tuple[str, int, object]]:
    found = load_cards(cast("Client", store), Settings())
    return [(card.id, card.version, card.overrides) for card in found]


CARDS = [
    {"card": document(sku("r", "requests", per_unit("1")))},
    {"card": document(sku("r", "requests", per_unit("2")), version=2)},
    {"card": document(id="other")},
    {"card": {"id": "broken"}},
]


def test_every_version_comes_as_published_and_with_each_tenants_prices() -> None:
    assignments = [
        {"tenant_id": "*", "card_id": "card"},
        {"tenant_id": "acme", "card_id": "card", "overrides": OWN},
        {"tenant_id": "globex", "card_id": "unknown", "overrides": OWN},
    ]
    own = parse_overrides(OWN)
    assert load(Store(CARDS, assignments)) == [
        ("card", 1, None), ("card", 2, None), ("other", 1, None), ("card", 1, own), ("card", 2, own),
    ]  # fmt: skip


@pytest.mark.parametrize("overrides", [{"r": {"model": "free"}}, {"r": "1"}, []], ids=str)
def test_prices_that_the_workers_refused_are_left_out(overrides: object) -> None:
    found = load(Store(CARDS[:1], [{"tenant_id": "acme", "card_id": "card", "overrides": overrides}]))
    assert found == [("card", 1, None)]
