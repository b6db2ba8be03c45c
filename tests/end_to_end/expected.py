"""What a trace and a card must come to: computed from the two files alone, with fractions, without any code of Tokenmill."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

DECIMALS = {"JPY": 0, "USD": 2, "EUR": 2, "KWD": 3}


@dataclass
class Sums:
    """Requests and tokens."""

    requests: int = 0
    input: int = 0
    output: int = 0

    def add(self, context_tokens: int, generated_tokens: int) -> None:
        self.requests += 1
        self.input += context_tokens
        self.output += generated_tokens

    def quantity(self, meter: str) -> int:
        """Of a trace's meters: nothing in it is read from a cache or written to one."""
        return {
            "requests": self.requests,
            "input": self.input,
            "input_uncached": self.input,
            "output": self.output,
        }.get(meter, 0)


@dataclass
class Expected:
    """Sums by tenant and model, and over all."""

    by_key: dict[tuple[str, str], Sums] = field(default_factory=lambda: defaultdict(Sums))
    total: Sums = field(default_factory=Sums)

    @property
    def tenants(self) -> list[str]:
        return sorted({tenant for tenant, _ in self.by_key})


def choice(seed: int, number: int, what: str, choices: int) -> int:
    """The issue's formula for the tenant and the model of a data row."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}/{what}".encode()).digest()[:8], "big") % choices


def read_azure(path: Path, *, malformed: frozenset[int] = frozenset(), tenants: int = 8, models: int = 4) -> Expected:
    """Sums of an Azure trace without the data rows (first = 1) in `malformed`, which keep their numbers."""
    expected = Expected()
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows)
        context, generated = header.index("ContextTokens"), header.index("GeneratedTokens")
        for number, row in enumerate(rows, start=1):
            if number in malformed:
                continue
            key = (
                f"tenant-{choice(0, number, 'tenant', tenants):04d}",
                f"model-{choice(0, number, 'model', models):02d}",
            )
            for sums in (expected.by_key[key], expected.total):
                sums.add(int(row[context]), int(row[generated]))
    return expected


def rounded(amount: Fraction, decimals: int) -> Decimal:
    """Half away from zero."""
    with localcontext(prec=60):
        exact = Decimal(amount.numerator) / Decimal(amount.denominator)
        return exact.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)


def price(charge: dict[str, Any], quantity: int) -> Fraction:
    """What a quantity costs by a per_unit or graduated charge of a card."""
    per = Fraction(charge["per"])
    if charge["model"] == "per_unit":
        return quantity * Fraction(charge["price"]) / per
    assert charge["model"] == "graduated"
    amount, below = Fraction(0), 0
    for tier in charge["tiers"]:
        top = tier.get("up_to", quantity)
        amount += max(min(quantity, top) - below, 0) * Fraction(tier["price"]) / per
        below = top
    return amount


def invoice_lines(card: dict[str, Any], expected: Expected, tenant: str) -> dict[str, tuple[Decimal, Decimal]]:
    """Quantity and rounded amount of each line that is not zero, by SKU."""
    decimals = DECIMALS[card["currency"]]
    lines = {fee["sku"]: (Decimal(1), Decimal(fee["amount"])) for fee in card.get("flat_fees", [])}
    for (owner, model), sums in expected.by_key.items():
        if owner != tenant:
            continue
        for sku, charge, meter in _prices_of(card, model):
            quantity = sums.quantity(meter)
            # An hour's amount keeps 12 decimals, and the hours add up to the price of the month.
            exact = Fraction(rounded(price(charge, quantity), 12))
            if quantity:
                lines[sku] = Decimal(quantity), rounded(exact, decimals)
    return lines


def _prices_of(card: dict[str, Any], model: str) -> list[tuple[str, dict[str, Any], str]]:
    """The SKUs that price this model, the one that names it before one with a pattern."""
    found: dict[str, tuple[bool, dict[str, Any], str]] = {}
    for sku in card["skus"]:
        pattern = sku.get("match", {}).get("model", "")
        if fnmatchcase(model, pattern) and (sku["meter"] not in found or pattern == model):
            found[sku["meter"]] = pattern == model, sku["charge"], sku["sku"].replace("{model}", model)
    return [(name, charge, meter) for meter, (_, charge, name) in found.items()]


def read_card(path: Path) -> dict[str, Any]:
    """A card as plain data."""
    card: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return card
