"""What a log must come to, by plain fractions and counters: shares no code with the rating engine or the stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

from schemas.events import TokenUsage


def tiered_card() -> dict[str, object]:
    """A card whose prices do not end as decimals, so that every rounding shows; `_price` says the same."""
    tiers = [
        {"up_to": 100, "price": "0.7"},
        {"up_to": 250, "price": "0.428571428571"},
        {"price": "0.000333333333"},
    ]
    return {
        "id": "card",
        "version": 1,
        "currency": "USD",
        "effective_from": "2020-01-01T00:00:00Z",
        "skus": [
            {
                "sku": "{model}/input",
                "meter": "input",
                "charge": {"model": "per_unit", "price": "0.15", "per": 1_000_000},
            },
            {"sku": "{model}/output", "meter": "output", "charge": {"model": "graduated", "per": 3, "tiers": tiers}},
            {"sku": "requests", "meter": "requests", "charge": {"model": "per_unit", "price": "0.1", "per": 1000}},
        ],
    }


def graduated(quantity: int) -> Fraction:
    """The price of so many output tokens of one model in one period."""
    edges: list[tuple[int | None, Fraction]] = [
        (100, Fraction(Decimal("0.7")) / 3),
        (250, Fraction(Decimal("0.428571428571")) / 3),
        (None, Fraction(Decimal("0.000333333333")) / 3),
    ]
    price, lower = Fraction(0), 0
    for upper, unit in edges:
        top = quantity if upper is None else min(quantity, upper)
        price += max(0, top - lower) * unit
        lower = upper or lower
    return price


def q12(value: Fraction) -> Decimal:
    """To 12 decimals, half away from zero."""
    scaled = value * 10**12
    whole, rest = divmod(abs(scaled.numerator), scaled.denominator)
    whole += 2 * rest >= scaled.denominator
    return Decimal(whole if scaled >= 0 else -whole).scaleb(-12)


def plain(value: Decimal | int) -> str:
    text = format(Decimal(value), "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text or "0"


def expected_amounts(events: Iterable[TokenUsage]) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Quantity and amount by tenant, SKU and hour, for distinct events on time under `tiered_card`."""
    lines: dict[tuple[str, str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for event in events:
        hour = event.ended_at.strftime("%Y-%m-%dT%H:00:00Z")
        charged = event.status in ("success", "aborted")
        leaves = {
            "input_uncached": event.input_tokens - event.cache_read_input_tokens - event.cache_write_input_tokens,
            "input_cache_read": event.cache_read_input_tokens,
            "input_cache_write": event.cache_write_input_tokens,
            "output_text": event.output_tokens - event.reasoning_output_tokens,
            "output_reasoning": event.reasoning_output_tokens,
            "requests": 1,
            "images": event.images,
        }
        for leaf, quantity in leaves.items():
            if not quantity:
                continue
            group = leaf.partition("_")[0]
            if not charged:
                sku = f"uncharged/status_{event.status}/{leaf}"
            elif leaf == "images":
                sku = "unrated/images"
            elif leaf == "requests":
                sku = "requests"
            else:
                sku = f"{event.response_model}/{group}"
            lines[event.tenant_id, sku, hour[:7]][hour] += quantity
    found: dict[tuple[str, str, str], tuple[str, str]] = {}
    for (tenant, sku, _), hours in lines.items():
        position = 0
        for hour in sorted(hours):
            before, position = position, position + hours[hour]
            if sku.startswith("unrated/"):
                amount = "None"
            else:
                amount = plain(q12(_price(sku, position)) - q12(_price(sku, before)))
            found[tenant, sku, hour] = (str(hours[hour]), amount)
    return found


def _price(sku: str, quantity: int) -> Fraction:
    if sku.startswith("uncharged/"):
        return Fraction(0)
    if sku == "requests":
        return quantity * Fraction(1, 10) / 1000
    if sku.endswith("/output"):
        return graduated(quantity)
    return quantity * Fraction(15, 100) / 1_000_000
