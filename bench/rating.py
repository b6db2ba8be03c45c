"""The rating engine alone: hourly usage rows under a card with 50 SKUs, beside a plain loop of Decimal multiplications.

    python -m bench.rating [--rows 1000000] [--json]

The plain loop looks its price up and multiplies once per row; it knows no tiers, no order, no records. Both come to the
same total for the SKUs that have one price. How the cost grows is measured with a tenth of the rows, and with the same
rows spread over few hours of many tenants or over all hours of few.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

from rating.cards import RateCard, parse_card
from rating.catalog import EVERYONE, Assignment, Catalog
from rating.money import exact_sum
from rating.period import TenantPeriod
from rating.usage import UsageKey
from rating.windows import first_hour

PERIOD = "2026-01"
MODELS = 25
HOURS = 400
_METERS = ("input_uncached", "output_text")
_PER = 1_000_000

Row = tuple[UsageKey, int, str, int]
"""Usage key, hour, meter, quantity."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of one run and what came out."""

    seconds: float
    rows: int
    records: int
    one_price: Decimal

    @property
    def microseconds_per_row(self) -> float:
        """What one row cost."""
        return self.seconds * 1e6 / self.rows


def card() -> RateCard:
    """50 SKUs: input at one price, output in four tiers, for each of 25 models."""
    skus = []
    for number in range(MODELS):
        model = f"model-{number:02d}"
        tiers = [{"up_to": 10**edge, "price": str(4 - place)} for place, edge in enumerate((8, 9, 10))] + [
            {"price": "0.5"}
        ]
        charges = (
            {"model": "per_unit", "price": _price(model), "per": _PER},
            {"model": "graduated", "per": _PER, "tiers": tiers},
        )
        for meter, charge in zip(_METERS, charges, strict=True):
            skus.append({"sku": f"{model}/{meter}", "meter": meter, "match": {"model": model}, "charge": charge})
    return parse_card(
        {"id": "bench", "version": 1, "currency": "USD", "effective_from": "2025-01-01T00:00:00Z", "skus": skus}
    )


def _price(model: str) -> str:
    return f"0.{int(model[-2:]) + 11}"


def rows(number: int, hours: int) -> list[Row]:
    """So many rows over so many hours: each tenant uses every model and both meters in every hour."""
    made: list[Row] = []
    start = first_hour(PERIOD)
    tenants = -(-number // (MODELS * len(_METERS) * hours))
    for tenant in range(tenants):
        keys = [
            UsageKey(f"tenant-{tenant:05d}", operation="chat", model=f"model-{model:02d}", status="success")
            for model in range(MODELS)
        ]
        for hour in range(start, start + hours):
            made += [
                (key, hour, meter, 1_000 + (hour * 7919 + place * 104_729 + tenant) % 900_000)
                for place, key in enumerate(keys)
                for meter in _METERS
            ]
    return made[:number]


def engine(usage: Sequence[Row], catalog: Catalog) -> Measured:
    """The real engine: rows added, every record made."""
    gc.collect()
    began = time.perf_counter()
    periods: dict[str, TenantPeriod] = {}
    for key, hour, meter, quantity in usage:
        period = periods.get(key.tenant_id)
        if period is None:
            period = periods[key.tenant_id] = TenantPeriod(key.tenant_id, PERIOD)
        period.add_scaled(key, hour, None, {meter: quantity})
    records = 0
    amounts: list[Decimal] = []
    for period in periods.values():
        for line in period.lines(catalog, closed=True):
            records += 1
            if line.meter == _METERS[0] and line.amount is not None:
                amounts.append(line.amount)
    seconds = time.perf_counter() - began
    return Measured(seconds, len(usage), records, exact_sum(amounts))


def plain_loop(usage: Sequence[Row], prices: Mapping[tuple[str, str], Decimal]) -> Measured:
    """One look-up and one multiplication per row, added to a total per tenant and SKU."""
    gc.collect()
    totals: dict[tuple[str, str, str], Decimal] = {}
    zero = Decimal(0)
    with localcontext(prec=60):
        began = time.perf_counter()
        for key, _, meter, quantity in usage:
            name = (key.tenant_id, key.model, meter)
            totals[name] = totals.get(name, zero) + prices[key.model, meter] * Decimal(quantity)
        seconds = time.perf_counter() - began
    one_price = exact_sum(total for (_, _, meter), total in totals.items() if meter == _METERS[0])
    return Measured(seconds, len(usage), len(totals), one_price)


def _prices() -> dict[tuple[str, str], Decimal]:
    models = [f"model-{number:02d}" for number in range(MODELS)]
    return {(model, meter): Decimal(_price(model)).scaleb(-6) for model in models for meter in _METERS}


def measure(number: int) -> Iterator[tuple[str, Measured, Measured]]:
    """What each arrangement cost: the engine and the plain loop in turns."""
    made = card()
    catalog = Catalog().with_card(made).with_assignment(Assignment(EVERYONE, made.id, 0))
    prices = _prices()
    for name, count, hours in (
        ("400 hours", number, HOURS),
        ("a tenth of the rows", number // 10, HOURS),
        ("40 hours, ten times the tenants", number, HOURS // 10),
    ):
        usage = rows(count, hours)
        plain, real = plain_loop(usage, prices), engine(usage, catalog)
        if plain.one_price != real.one_price:
            raise SystemExit(f"{name}: the totals differ: {plain.one_price} and {real.one_price}")
        yield name, real, plain


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="hourly usage rows (default 1,000,000)")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    wanted = parser.parse_args()
    if not wanted.json:
        print("rating hourly usage rows under 50 SKUs; totals of both ways are equal")
    for name, real, plain in measure(wanted.rows):
        factor = real.seconds / plain.seconds
        if wanted.json:
            each = {"engine_us": real.microseconds_per_row, "plain_us": plain.microseconds_per_row, "factor": factor}
            print(json.dumps({"name": name, "rows": real.rows, "records": real.records} | each))
        else:
            print(
                f"  {name:<32} {real.rows:>9,} rows: engine {real.microseconds_per_row:5.2f} us a row, plain Decimal loop "
                f"{plain.microseconds_per_row:4.2f} us: factor {factor:.1f}"
            )


if __name__ == "__main__":
    main()
