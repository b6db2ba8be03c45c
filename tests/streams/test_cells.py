"""Charges that choose among charges, through the stream: by region, by length of the request, by the time of day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.streams.support import Log, card_document, per_unit, rate, rate_in_steps, usage

START = datetime(2026, 3, 28, tzinfo=UTC)
"""A Saturday; summer time begins in Berlin on the next day at 01:00 UTC."""


def price(amount: str) -> dict[str, Any]:
    return {"model": "per_unit", "price": amount}


def sku(name: str, meter: str, charge: dict[str, Any]) -> dict[str, Any]:
    return {"sku": name, "meter": meter, "charge": charge}


def night(name: str, begin: str, end: str, default: str | None = None) -> dict[str, Any]:
    bucket = {"name": name, "from": begin, "to": end, "charge": price("2")}
    made: dict[str, Any] = {"model": "time_of_day", "time_zone": "Europe/Berlin", "buckets": [bucket]}
    return made if default is None else made | {"default": price(default)}


TIERS = {"model": "graduated", "tiers": [{"up_to": 150, "price": "1"}, {"price": "0.5"}], "flat_on_zero": False}
BY_LENGTH = {
    "model": "context",
    "brackets": [{"up_to": 128_000, "charge": price("0.1")}, {"charge": price("0.2")}],
}
BY_REGION = {
    "model": "matrix",
    "by": ["region"],
    "cells": [{"region": "eu", "charge": TIERS}, {"region": "us", "charge": BY_LENGTH}],
}


def card(version: int = 1, **changes: Any) -> dict[str, Any]:
    return card_document(
        sku("{model}/input", "input", BY_REGION),
        sku("output", "output", night("night", "22:00", "06:00", "1")),
        per_unit("requests", "requests", "0"),
        version=version,
        **changes,
    )


def log_with(document: dict[str, Any]) -> Log:
    log = Log()
    log.card(document)
    log.assign()
    return log


def events() -> list[Any]:
    made = []
    for hour in range(0, 48, 3):
        for region, tokens in (("eu", 100), ("us", 100), ("us", 200_000), ("ap", 7)):
            name = f"{hour}-{region}-{tokens}"
            made.append(usage(name, START + timedelta(hours=hour), region=region, input_tokens=tokens, output_tokens=1))
    return made


def totals(log: Log, step: int, restart: bool = False) -> dict[str, tuple[str, str]]:
    """Quantity and amount of the month by line."""
    run = rate_in_steps(log.records, step, restart=restart)
    found: dict[str, tuple[Any, Any]] = {}
    for record in run.last().values():
        before = found.get(record["sku"], (Decimal(0), Decimal(0)))
        amount = Decimal(record.get("amount", "0"))
        found[record["sku"]] = (before[0] + Decimal(record["quantity"]), before[1] + amount)
    return {name: (f"{quantity:f}", f"{amount:f}") for name, (quantity, amount) in found.items()}


EXPECTED = {
    "llama/input/eu": ("1600", "875"),  # 150 at 1, 1450 at 0.5
    "llama/input/us/up-to-128k": ("1600", "160"),
    "llama/input/us/above-128k": ("3200000", "640000"),
    "unrated/input_uncached": ("112", "0"),
    # 00:00, 03:00 and 21:00 UTC are 01:00, 04:00 and 22:00 in Berlin, and 01:00, 05:00 and 23:00 on the second day.
    "output/night": ("24", "48"),
    "output/other": ("40", "40"),
}


@pytest.mark.parametrize("step", [1, 4, 1000])
@pytest.mark.parametrize("restart", [False, True])
def test_each_cell_is_a_line_however_the_log_is_cut(step: int, restart: bool) -> None:
    log = log_with(card())
    made = events()
    for first in range(0, len(made), 5):
        log.batch(made[first : first + 5])
    found = totals(log, step, restart)
    assert {name: value for name, value in found.items() if name != "requests"} == EXPECTED


def test_usage_is_unrated_only_in_hours_without_a_price() -> None:
    """The same key has a price in one hour and none in another: the balance must say so per row."""
    document = card_document(
        sku("output", "output", night("night", "22:00", "06:00")), not_charged=["input", "requests"]
    )
    log = log_with(document)
    log.batch([usage(f"{hour}", START + timedelta(hours=hour)) for hour in range(24)])
    run = rate(log.records).all()
    # 21:00 to 05:00 UTC is 22:00 to 06:00 in Berlin, before summer time begins.
    assert run.outcomes() == {"rated": 8, "unrated": 16}
    assert sum(record["kind"] == "unrated" for record in run.last().values()) == 16


@pytest.mark.parametrize("step", [1, 1000])
def test_a_version_that_changes_cells_moves_the_hours_from_then_on(step: int) -> None:
    log = log_with(card())
    log.batch(events())
    begins = START + timedelta(hours=24)
    cells = [{"region": "*", "name": "anywhere", "charge": price("0.01")}]
    later = card_document(
        sku("{model}/input", "input", BY_REGION | {"cells": cells}),
        sku("output", "output", night("dark", "21:00", "05:00", "1")),
        per_unit("requests", "requests", "0"),
        version=2,
        effective_from=begins.isoformat(),
    )
    log.card(later)
    found = totals(log, step)
    assert found["llama/input/eu"] == ("800", "475")
    assert found["llama/input/anywhere"] == ("1601656", "16016.56")
    assert found["unrated/input_uncached"] == ("56", "0")
    assert {name: found[f"output/{name}"] for name in ("night", "dark", "other")} == {
        # On the 29th 00:00 UTC is 01:00, 03:00 UTC is 05:00 (no longer dark), 18:00 UTC is 20:00 and 21:00 UTC 23:00.
        "night": ("12", "24"),
        "dark": ("8", "16"),
        "other": ("44", "44"),
    }


@pytest.mark.parametrize("step", [1, 1000])
def test_a_level_that_goes_on_is_charged_in_each_hour_by_its_time_of_day(step: int) -> None:
    nodes = {**sku("nodes", "units.nodes", night("night", "22:00", "06:00", "1")), "aggregation": "time_weighted"}
    log = log_with(card_document(nodes, not_charged=["input", "output", "requests"]))
    log.batch([usage("up", START + timedelta(hours=19, minutes=30), units={"nodes": "2"})])
    log.batch([usage("down", START + timedelta(hours=30), units={"nodes": "-2"})])
    log.tick(START + timedelta(hours=40))
    found = totals(log, step)
    # 19:30 UTC is 20:30 in Berlin; 21:00 to 04:00 UTC is 22:00 to 06:00 in the night that summer time shortens.
    assert found["nodes/other"] == ("7", "7")
    assert found["nodes/night"] == ("14", "28")
