"""Showback of what is stored: usage by project and key from raw rows, amounts from the rated ones."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from infra.clickhouse import connect
from infra.migrations import apply
from rating.money import exact_sum
from rating.showback import Owner
from sinks.invoices import load_cards
from sinks.showback import Showback, load_showback
from tests.sinks.filled import fill, run_of
from tests.streams.support import Log, card_document, per_unit, usage

if TYPE_CHECKING:
    from infra.embedded.clickhouse.process import EmbeddedClickHouse

CARD = card_document(
    per_unit("{model}/input", "input", "0.15", 1_000_000),
    per_unit("long-input", "input", "0.30", 1_000_000, context_bracket={"above": 32_000}),
    per_unit("pages", "units.pages", "0.007"),
    flat_fees=[{"sku": "fee", "amount": "20"}],
    not_charged=["output", "requests"],
)
EVENTS = [
    usage(
        f"e{number}",
        timedelta(minutes=7 * number),
        project_id=("alpha", "beta", None)[number % 3],
        api_key_id=f"key-{number % 2}",
        response_model=("llama", "qwen")[number % 2],
        input_tokens=33_333 if number % 5 == 0 else 101 + number,
        cache_read_input_tokens=number,
        units={"pages": f"{number}.125"},
        status="error" if number % 11 == 10 else "success",
    )
    for number in range(40)
]


@pytest.fixture(scope="module")
def found(clickhouse: EmbeddedClickHouse) -> Showback:
    log = Log()
    log.card(CARD)
    log.assign("*")
    log.batch(EVENTS)
    log.single(EVENTS[7])  # sent again: not counted
    run = run_of(log)
    settings = clickhouse.settings("showback")
    apply(connect(settings, database=""), settings.database)
    client = connect(settings)
    fill(client, run)
    (only,) = load_showback(client, run.made, "acme", "2026-01", load_cards(client, run.made))
    return only


def test_each_project_and_key_bears_what_its_own_usage_costs(found: Showback) -> None:
    expected: dict[tuple[Owner, str], Fraction] = {}
    for event in EVENTS:
        if event.status != "success":
            continue
        owner = Owner(event.project_id or "", event.api_key_id or "")
        line, price = (
            ("long-input", "0.30") if event.input_tokens > 32_000 else (f"{event.response_model}/input", "0.15")
        )
        for name, amount in (
            (line, event.input_tokens * Fraction(price) / 1_000_000),
            ("pages", Fraction(event.units["pages"]) * Fraction("0.007")),
        ):
            expected[owner, name] = expected.get((owner, name), Fraction(0)) + amount
    shared = {(each.owner, each.sku): each.amount for each in found.shares if each.amount and each.owner is not None}
    assert shared.keys() == expected.keys()
    # Prices are per unit here, so every share is what the owner's usage costs; hours are divided to 10^-12 each.
    for place, amount in expected.items():
        assert abs(Fraction(shared[place]) - amount) <= Fraction(40, 10**12)


def test_shares_and_rounding_sum_to_the_invoice(found: Showback) -> None:
    assert exact_sum(each.amount for each in found.shares) == found.exact_total
    assert exact_sum((found.exact_total, found.rounding)) == found.invoice_total
    assert [(each.sku, each.amount) for each in found.shares if each.owner is None] == [("fee", Decimal(20))]


def test_nothing_is_shared_where_nothing_is_charged(clickhouse: EmbeddedClickHouse, found: Showback) -> None:
    from infra.config import Settings

    client = connect(clickhouse.settings("showback"))
    cards = load_cards(client, Settings())
    assert load_showback(client, Settings(), "nobody", found.period, cards) == []
    assert load_showback(client, Settings(), "acme", "2025-01", cards) == []
