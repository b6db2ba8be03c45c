"""An invoice shows how each amount came about."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from infra.cli import invoice_view
from rating import build_invoice, rate
from rating.cards import RateCard
from rating.invoices import Invoice
from tests.rating.builders import (
    PERIOD,
    START,
    Document,
    card,
    graduated,
    key,
    package,
    per_unit,
    percentages,
    sku,
    volume,
)


def made(charge: Document, used: int, **fields: object) -> Invoice:
    priced: RateCard = card({**sku("images", "images", charge), **fields})
    records = rate(priced, [(key(), START, {"images": Decimal(used)})])
    return build_invoice("acme", PERIOD, "USD", records, [priced])


def shown(invoice: Invoice, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The rows of the line, words parted by one space."""
    invoice_view.show_invoice(invoice)
    rows = [" ".join(row.split()) for row in capsys.readouterr().out.splitlines()]
    first = next(number for number, row in enumerate(rows) if row.startswith("images"))
    return rows[first : rows.index("", first)]


def test_every_step_of_an_amount_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    invoice = made(
        graduated((10, "2", "0"), (None, "1", "3")),
        1420,
        quantity={"divide_by": 100, "round": "up", "unit": "credits"},
        included="2",
        discount_percent="10",
        maximum="20",
    )
    assert shown(invoice, capsys) == [
        "images 1,420 images 20.00 USD",
        "included: 2 2 credits 0",
        "up to 10 at 2 per 1 10 credits 20",
        "above 10 at 1 per 1 3 credits 6",
        "10 % off -2.6",
        "at most 20 -3.4",
    ]


@pytest.mark.parametrize(
    ("charge", "rows"),
    [
        (package("15", 10), ["images 21 images 45.00 USD", "at 15 per started 10 21 45"]),
        (percentages((None, "2", "0")), ["images 21 images 0.42 USD", "at 2 % 21 0.42"]),
        ({"model": "dynamic", "multiplier": "1.5"}, ["images 21 images 31.50 USD", "at 1.5 times 21 31.5"]),
        (volume((20, "2", "0"), (None, "1", "0")), ["images 21 images 21.00 USD", "above 20 at 1 per 1 21 21"]),
        (per_unit("2"), ["images 21 images 42.00 USD"]),
    ],
)
def test_a_price_that_is_more_than_a_price_per_unit_is_said(
    charge: Document, rows: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(made(charge, 21), capsys) == rows


def test_usage_above_a_commitment_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    invoice = made(per_unit("1"), 14, commitment={"amount": "10", "overage_factor": "1.5"})
    assert shown(invoice, capsys) == [
        "images 14 images 16.00 USD",
        "at 1 per 1 14 14",
        "1.5 times the price above the commitment 2",
    ]


def test_as_json_each_step_says_what_it_is() -> None:
    found: Any = invoice_view.invoice_json(made(package("15", 10), 21, discount_percent="50"))
    (line,) = found["lines"]
    assert [(step["kind"], step["basis"], step["per"], step["unit"], step["amount"]) for step in line["tiers"]] == [
        ("tier", "packages", "10", "images", "45"),
        ("discount", "percent", "100", "images", "-22.5"),
    ]
