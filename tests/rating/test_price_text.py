"""Prices in words: everything that changes what a SKU costs is in its line, so that a difference of two cards shows it."""

from __future__ import annotations

import pytest

from rating.cards import Sku
from rating.price_text import price_rows, price_text, terms_texts
from tests.rating.builders import Document, card, dynamic, graduated, package, per_unit, percentages, sku, volume

CALL: Document = {
    "model": "graduated",
    "tiers": [{"up_to": 30, "price": "0.10", "package": 30}, {"price": "0.02", "package": 6}],
}


def the_sku(charge: Document, meter: str = "input", **fields: object) -> Sku:
    return card({**sku("a", meter, charge), **fields}).skus[0]


@pytest.mark.parametrize(
    ("charge", "text"),
    [
        (per_unit("0.150", 1_000_000), "0.15 per 1,000,000 tokens"),
        (graduated((10, "2", "0"), (None, "1", "3"), per=10), "2 up to 10, 3 flat + 1 above, per 10 tokens"),
        (volume((10, "2", "0"), (None, "1", "3")), "all at 2 up to 10, all at 3 flat + 1 above, per 1 tokens"),
        (volume((None, "2", "0")), "2 per 1 tokens"),
        (package("15", 1000), "15 per started 1,000 tokens"),
        (CALL, "0.1 per started 30 tokens up to 30, 0.02 per started 6 tokens above"),
        (percentages((1000, "3", "10"), (None, "2.5", "0")), "10 flat + 3 % up to 1,000, 2.5 % above, of the amount"),
        (dynamic("1.25"), "1.25 times the amount"),
        ({"model": "flat", "amount": "9.90"}, "9.9 flat"),
    ],
)
def test_a_charge_in_one_line(charge: Document, text: str) -> None:
    assert price_text(the_sku(charge)) == text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"quantity": {"divide_by": 1000}}, "quantity divided by 1,000"),
        ({"quantity": {"divide_by": 8, "multiply_by": "1.5", "unit": "x"}}, "quantity divided by 8, times 1.5 = x"),
        ({"quantity": {"round": "up"}}, "quantity rounded up to whole units"),
        ({"quantity": {"round": "down", "decimals": 2}}, "quantity rounded down to 2 decimals"),
        ({"quantity": {"round": "nearest", "decimals": -2}}, "quantity rounded to multiples of 100"),
        ({"included": 1000}, "the first 1,000 included"),
        ({"included": {"quantity": 100, "rollover": 50}}, "the first 100 included, up to 50 of the rest carried over"),
        ({"discount_percent": "12.50"}, "12.5 % off"),
        ({"maximum": "100.00"}, "at most 100 a month"),
        ({"minimum": "5"}, "at least 5 a month"),
        ({"commitment": {"amount": "50"}}, "commitment of 50 a month"),
        (
            {"commitment": {"quantity": "50", "overage_factor": "1.5", "true_up": False}},
            "commitment of 50 tokens a month without true-up, 1.5 times the price above it",
        ),
        ({"tier_scope": "hour"}, "each window by itself"),
    ],
)
def test_what_changes_the_price_beside_the_charge(fields: Document, words: str) -> None:
    priced = the_sku(per_unit("1"), **fields)
    assert terms_texts(priced) == [words]
    assert price_text(priced).endswith(f"; {words}")


def test_prices_are_per_converted_unit_and_name_it() -> None:
    assert price_text(the_sku(per_unit("1"), quantity={"divide_by": 8, "unit": "credits"})).startswith(
        "1 per 1 credits;"
    )
    assert price_text(the_sku(per_unit("1"), quantity={"divide_by": 8})).startswith("1 per 1 converted units;")
    assert price_text(the_sku(per_unit("1"), quantity={"round": "up"})).startswith("1 per 1 tokens;")


def test_rows_of_a_table() -> None:
    assert price_rows(the_sku(volume((10, "2", "5"), (None, "1", "0"), per=1000))) == [
        ("5", "month", "all, up to 10"),
        ("2", "1,000 tokens", "all, up to 10"),
        ("1", "1,000 tokens", "all, above 10"),
    ]
    assert price_rows(the_sku(CALL)) == [
        ("0.1", "started 30 tokens", "up to 30"),
        ("0.02", "started 6 tokens", "above 30"),
    ]
    assert price_rows(the_sku(dynamic("1.25"))) == [("1.25 times", "amount", "")]


def test_a_percentage_of_events_says_its_fee_its_bounds_and_what_is_free() -> None:
    charge: Document = {
        "model": "percentage", "rate": "1.3", "fixed_fee": "0.20", "free_events": 3, "free_amount": "500",
        "minimum_per_event": "1.75", "maximum_per_event": "12",
    }  # fmt: skip
    priced = the_sku(charge, "units.sales")
    assert price_text(priced) == "1.3 % + 0.2 of each event, the first 3 events or 500 free, at least 1.75, at most 12"
    assert [row.price for row in price_rows(priced)] == ["1.3 %", "0.2", "free", "free", "1.75", "12"]
