"""A card with every charge, aggregation and modifier, events that use all of it, and what the pure engine makes of them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from rating.aggregations.gathered import Gathered, MeteredEvent, gathered_of
from rating.cards import parse_card
from rating.catalog import Assignment, Catalog
from rating.levels import LevelId
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.usage import UsageKey, UsageTotals, context_bracket
from rating.wallets import Grant, Wallet
from rating.windows import hour_of, period_of
from schemas.decimals import format_decimal
from schemas.events import TokenUsage
from schemas.instants import format_instant, to_microseconds
from schemas.wallets import WalletGranted

Document = dict[str, Any]
TENANTS = ("acme", "globex", "initech")
CLOSED = datetime(2026, 2, 3, 9, tzinfo=UTC)
"""When January is over and its grace too."""
_HOUR_US = 3_600_000_000
_FIRST = datetime(2026, 1, 10, tzinfo=UTC)
_CHANGES = ("2026-01-01T00:00:00Z", "2026-01-15T00:00:00Z", "2026-01-25T12:00:00Z")


def cards() -> list[Document]:
    """Three versions: prices change twice inside the month."""
    return [_card(number, since, Decimal(number)) for number, since in enumerate(_CHANGES, 1)]


def _card(version: int, effective_from: str, factor: Decimal) -> Document:
    def price(text: str) -> str:
        return format(Decimal(text) * factor, "f")

    def tiers(*steps: tuple[int | None, str, str], name: str = "price") -> list[Document]:
        made: list[Document] = [{"up_to": edge, name: price(text), "flat_fee": fee} for edge, text, fee in steps]
        return [{key: value for key, value in tier.items() if value is not None} for tier in made]

    def per_unit(text: str, per: int = 1) -> Document:
        return {"model": "per_unit", "price": price(text), "per": per}

    graduated = {"model": "graduated", "per": 1000, "tiers": tiers((50_000, "0.7", "1"), (None, "0.3", "0"))}
    volume = {"model": "volume", "per": 1000, "tiers": tiers((200_000, "0.9", "2"), (None, "0.4", "0"))}
    steps = {"model": "graduated_percentage", "tiers": tiers((40, "2.5", "1"), (None, "0.5", "0"), name="rate")}
    percentage = {"model": "percentage", "rate": price("1.3"), "fixed_fee": "0.2", "free_events": 5}
    context = {"brackets": [{"up_to": 128_000, "charge": per_unit("1", 1000)}, {"charge": per_unit("2", 1000)}]}
    night = {"from": "22:00", "to": "06:00", "charge": per_unit("0.1", 1000)}
    cells = [{"region": "eu", "charge": per_unit("3", 1000)}, {"region": "us", "charge": volume}]
    skus: list[Document] = [
        {"sku": "input", "meter": "input_uncached", "charge": {"model": "context", **context}},
        {"sku": "{model}/text", "meter": "output_text", "charge": volume},
        {"sku": "reasoning", "meter": "output_reasoning", "charge": graduated, "included": "1000", "maximum": "90.00"},
        {
            "sku": "cached",
            "meter": "input_cache_read",
            "charge": {
                "model": "time_of_day",
                "time_zone": "Europe/Berlin",
                "buckets": [night],
                "default": per_unit("0.2", 1000),
            },
        },
        {
            "sku": "written",
            "meter": "input_cache_write",
            "charge": {"model": "matrix", "by": ["region"], "cells": cells, "default": per_unit("5", 1000)},
            "discount_percent": "12.5",
        },
        {"sku": "requests", "meter": "requests", "charge": {"model": "package", "size": "100", "price": price("2")}},
        {"sku": "seats", "meter": "requests", "aggregation": "unique_api_keys", "charge": per_unit("1.5")},
        {"sku": "images", "meter": "images", "charge": {"model": "flat", "amount": "7.25"}, "tier_scope": "hour"},
        {
            "sku": "training",
            "meter": "training_tokens",
            "charge": graduated,
            "quantity": {"divide_by": "7", "round": "up"},
            "commitment": {"amount": "40.00", "overage_factor": "1.5"},
        },
        {"sku": "sales", "meter": "units.sales", "charge": percentage, "minimum": "30.00"},
        {"sku": "passed-on", "meter": "units.cost", "charge": {"model": "dynamic", "multiplier": price("1.1")}},
        {"sku": "peak", "meter": "units.size", "aggregation": "max", "charge": steps},
        {"sku": "jobs", "meter": "units.jobs", "aggregation": "count", "charge": per_unit("0.75")},
        {"sku": "nodes", "meter": "units.nodes", "aggregation": "time_weighted", "charge": per_unit("0.05")},
        {"sku": "plan", "meter": "units.plan", "aggregation": "latest", "charge": per_unit("2")},
    ]
    return {
        "id": "everything",
        "version": version,
        "currency": "USD",
        "effective_from": effective_from,
        "skus": skus,
        "flat_fees": [{"sku": "platform", "amount": "20.00"}],
        "minimum": {"sku": "least", "amount": "900.00"},
        "discounts": [{"sku": "loyal", "percent": "5", "skus": ["*/text"]}],
    }


def events(number: int, seed: int, first: datetime = _FIRST, days: float = 22.5) -> list[TokenUsage]:
    """So many events of all tenants at any times from `first` on, in any order."""
    dice = random.Random(seed)
    return [_event(dice, f"{seed}-{index}", first + timedelta(days=days * dice.random())) for index in range(number)]


def _event(dice: random.Random, name: str, at: datetime) -> TokenUsage:
    at = at.replace(microsecond=dice.randrange(1_000_000))
    fresh, read, written = dice.choice([0, 7_000, 150_000]), dice.choice([0, 900]), dice.choice([0, 0, 333])
    reasoning = dice.choice([0, 0, 2_500])
    names = dice.sample(["sales", "cost", "size", "jobs", "nodes", "plan"], dice.choice([0, 1, 2]))
    amounts = {"sales": ["12.5", "80", "1000"], "cost": ["0.123456789", "4"], "nodes": ["1", "2", "-1"]}
    return TokenUsage.model_validate(
        {
            "id": name,
            "source": "test/everything",
            "tenant_id": dice.choice(TENANTS),
            "request_id": name,
            "api_key_id": dice.choice([None, "a", "b", "c", "d"]),
            "provider": "vllm",
            "operation": "chat",
            "endpoint": "/v1/chat/completions",
            "region": dice.choice([None, "eu", "us", "ap"]),
            "request_model": "llama",
            "response_model": dice.choice(["llama", "mixtral"]),
            "status": dice.choice(["success", "success", "success", "aborted", "error"]),
            "input_tokens": fresh + read + written,
            "cache_read_input_tokens": read,
            "cache_write_input_tokens": written,
            "output_tokens": 400 + reasoning,
            "reasoning_output_tokens": reasoning,
            "training_tokens": dice.choice([0, 0, 1_234]),
            "images": dice.choice([0, 0, 0, 2]),
            "units": {unit: dice.choice(amounts.get(unit, ["1", "17", "42.5"])) for unit in names},
            "started_at": at,
            "ended_at": at,
        }
    )


def grants(tenant: str) -> list[WalletGranted]:
    """Prepaid money from the beginning, and a top-up that comes later and is used first."""

    def grant(name: str, amount: str, since: datetime, priority: int) -> WalletGranted:
        return WalletGranted(
            tenant_id=tenant,
            grant_id=name,
            unit="USD",
            amount=amount,
            effective_from=since,
            priority=priority,
            ordered_at=_FIRST,
            ordered_by="test",
        )

    return [grant("prepaid", "150", _FIRST, 20), grant("top-up", "75.5", _FIRST + timedelta(days=8), 10)]


Result = dict[tuple[str, ...], tuple[str, str]]
"""Quantity and amount by the parts of a record's key."""


def pure(on_time: Sequence[TokenUsage], late: Sequence[TokenUsage]) -> Result:
    """What the engine comes to without any stream: events sorted, those after the closing booked in February."""
    catalog = Catalog()
    for document in cards():
        catalog = catalog.with_card(parse_card(document))
    for tenant in TENANTS:
        catalog = catalog.with_assignment(Assignment(tenant, "everything", 0))
    found: Result = {}
    for tenant in TENANTS:
        january, february = TenantPeriod(tenant, "2026-01"), TenantPeriod(tenant, "2026-02")
        periods = {"2026-01": january, "2026-02": february}
        for booked, known in ((None, on_time), ("2026-02", late)):
            for event in sorted(known, key=lambda each: (each.ended_at, each.id)):
                if event.tenant_id == tenant:
                    month = period_of(event.ended_at)
                    key, quantities = _usage(event)
                    later = booked if booked != month else None
                    periods[month].add(key, hour_of(event.ended_at), later, quantities)
        now = hour_of(max(each.ended_at for each in on_time if each.tenant_id == tenant))
        lines = january.lines(catalog, closed=True, now=now)
        february.open_with(january.handover())
        levels: dict[LevelId, int] = defaultdict(int)
        for level, change in january.level_changes().items():
            levels[level._replace(booked=None)] += change  # what came late for January came in time for February
        february.carry(levels)
        lines += february.lines(catalog, closed=False, now=now)
        for line in [*lines, *_debits(tenant, lines)]:
            if line.quantity or line.amount:
                found[_key(line)] = (format_decimal(line.quantity), format_decimal(line.amount or Decimal(0)))
    return found


def _debits(tenant: str, lines: Sequence[RatedLine]) -> list[RatedLine]:
    wallet = Wallet(tenant)
    for order in grants(tenant):
        wallet.grant(
            Grant(
                tenant_id=tenant,
                id=order.grant_id,
                unit=order.unit,
                amount=int(Decimal(order.amount) * 10**12),
                first=hour_of(order.effective_from),
                created_us=to_microseconds(order.ordered_at),
                priority=order.priority,
            )
        )
    for line in lines:
        wallet.note(line)
    return wallet.lines()


def _key(line: RatedLine) -> tuple[str, ...]:
    start = format_instant(line.window_start)
    return line.tenant_id, line.sku, line.kind, line.window_kind, start, line.service_period


def _usage(event: TokenUsage) -> tuple[UsageKey, dict[str, Decimal | Gathered]]:
    key = UsageKey(
        event.tenant_id,
        str(event.operation),
        event.response_model,
        event.endpoint,
        event.region or "",
        event.service_tier or "",
        event.gpu_type or "",
        context_bracket(event.input_tokens),
        event.status,
    )
    totals = UsageTotals(
        requests=1,
        input_tokens=event.input_tokens,
        cache_read_input_tokens=event.cache_read_input_tokens,
        cache_write_input_tokens=event.cache_write_input_tokens,
        output_tokens=event.output_tokens,
        reasoning_output_tokens=event.reasoning_output_tokens,
        training_tokens=event.training_tokens or 0,
        images=event.images or 0,
    )
    quantities: dict[str, Decimal | Gathered] = dict(totals.leaves())
    requests = Gathered(1)
    if event.api_key_id is not None:
        requests.api_keys[ord(event.api_key_id)] = None
    quantities["requests"] = requests
    at = to_microseconds(event.ended_at)
    for name, number in event.units.items():
        one = MeteredEvent(at, 0, int(Decimal(number) * 10**9))
        quantities[f"units.{name}"] = gathered_of([one], (at // _HOUR_US + 1) * _HOUR_US)
    return key, quantities
