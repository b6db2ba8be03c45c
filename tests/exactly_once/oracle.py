"""What the rated records must come to, computed anew from the rows that were sent: plain sums and fractions.

Nothing of the stream or of the rating engine is used here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pyarrow as pa

_HOUR_US = 3_600_000_000
_Q12 = 10**12

CARD: dict[str, Any] = {
    "id": "standard",
    "version": 1,
    "currency": "USD",
    "effective_from": "2020-01-01T00:00:00Z",
    "skus": [
        {
            "sku": "{model}/input",
            "meter": "input",
            "match": {"model": "model-*"},
            "charge": {"model": "per_unit", "price": "0.15", "per": 1_000_000},
        },
        {
            "sku": "{model}/output",
            "meter": "output",
            "match": {"model": "model-*"},
            "charge": {
                "model": "graduated",
                "per": 1_000_000,
                "tiers": [{"up_to": 20_000, "price": "0.61"}, {"up_to": 90_000, "price": "0.43"}, {"price": "0.29"}],
            },
        },
        {"sku": "requests", "meter": "requests", "charge": {"model": "per_unit", "price": "0.07", "per": 3}},
        {"sku": "gpu/{gpu_type}", "meter": "gpu_seconds", "charge": {"model": "per_unit", "price": "2.5", "per": 3600}},
    ],
    "not_charged": ["gpu_busy_seconds", "gpu_energy_joules"],
}
"""The card of the tests. Tiers make the amount of an hour depend on all hours before it; thirds make it round."""


def charge(sku: str, quantity: int) -> Fraction:
    """What a quantity of one SKU of the card costs in a period."""
    if sku.endswith("/input"):
        return Fraction(quantity) * Fraction("0.15") / 1_000_000
    if sku.endswith("/output"):
        tiers = ((20_000, Fraction("0.61")), (90_000, Fraction("0.43")), (quantity, Fraction("0.29")))
        total, lower = Fraction(0), 0
        for upper, price in tiers:
            total += max(0, min(quantity, upper) - lower) * price / 1_000_000
            lower = max(lower, upper)
        return total
    assert sku == "requests", sku
    return Fraction(quantity) * Fraction("0.07") / 3


@dataclass(frozen=True, order=True)
class Place:
    """What a total is of: a tenant, a SKU, and the hour as microseconds since 1970."""

    tenant: str
    sku: str
    hour_us: int


Totals = dict[Place, tuple[int, Fraction]]
"""Quantity and amount by place."""


def unique(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows without those that came twice."""
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for row in _facts(rows):
        seen.setdefault((row["source"], row["id"]), row)
    return list(seen.values())


def _facts(rows: pa.RecordBatch) -> Iterable[dict[str, Any]]:
    names = [
        *("source", "id", "tenant_id", "response_model", "status", "input_tokens", "output_tokens"),
        *("cache_read_input_tokens", "cache_write_input_tokens", "reasoning_output_tokens"),
    ]
    columns = [rows.column(name).to_pylist() for name in names]
    ended_us = rows.column("ended_at").cast(pa.int64()).to_pylist()
    for *values, ended in zip(*columns, ended_us, strict=True):
        yield {**dict(zip(names, values, strict=True)), "hour_us": ended - ended % _HOUR_US}


def expected(rows: pa.RecordBatch) -> Totals:
    """The totals that the card and the rows give."""
    sums: dict[tuple[str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in unique(rows):
        for sku, quantity in _quantities(row).items():
            if quantity:
                sums[row["tenant_id"], sku][row["hour_us"]] += quantity
    totals: Totals = {}
    for (tenant, sku), hours in sums.items():
        for hour_us, quantity, amount in _amounts(sku, hours):
            totals[Place(tenant, sku, hour_us)] = quantity, amount
    return totals


def _quantities(row: Mapping[str, Any]) -> dict[str, int]:
    """What one event adds to which SKU. What failed is not charged: its meters stand apart, at 0."""
    if row["status"] == "error":
        read, written = row["cache_read_input_tokens"], row["cache_write_input_tokens"]
        reasoning = row["reasoning_output_tokens"]
        leaves = {
            "input_uncached": row["input_tokens"] - read - written,
            "input_cache_read": read,
            "input_cache_write": written,
            "output_text": row["output_tokens"] - reasoning,
            "output_reasoning": reasoning,
            "requests": 1,
        }
        return {f"uncharged/status_error/{leaf}": quantity for leaf, quantity in leaves.items()}
    model = row["response_model"]
    return {f"{model}/input": row["input_tokens"], f"{model}/output": row["output_tokens"], "requests": 1}


def _amounts(sku: str, hours: Mapping[int, int]) -> Iterable[tuple[int, int, Fraction]]:
    position, before = 0, Fraction(0)
    for hour_us in sorted(hours):
        position += hours[hour_us]
        after = Fraction(0) if sku.startswith("uncharged/") else _rounded(charge(sku, position))
        yield hour_us, hours[hour_us], after - before
        before = after


def _rounded(amount: Fraction) -> Fraction:
    """To 12 decimals, half away from zero; no amount here is negative."""
    return Fraction((2 * amount.numerator * _Q12 + amount.denominator) // (2 * amount.denominator), _Q12)
