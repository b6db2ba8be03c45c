"""The questions that the demo and operators ask first, answered from ClickHouse: usage, money, GPU-hours.

Usage is raw rows less what was not counted, so it agrees with the invoices. Money is summed as Decimal and divided in
Python, never in SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from infra.clickhouse import store_errors
from infra.config import Settings
from rating.money import q12
from schemas.kinds import Kind
from sinks.compare_usage import counted_sql

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

IDLE: Final = "_idle"
"""The owner of GPU time that nobody uses."""
_HOUR: Final = 3600
_MILLION: Final = 1_000_000
_TOKEN_METERS: Final = (
    "input",
    "output",
    "input_uncached",
    "input_cache_read",
    "input_cache_write",
    "output_text",
    "output_reasoning",
)


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What one tenant used of one model, and what that costs by currency, exact.

    Amounts that belong to no single model (fees, SKUs over all models) stand under the model "" with no usage.
    """

    tenant_id: str
    model: str
    requests: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    amounts: Mapping[str, Decimal] = field(default_factory=dict)


def tokens_and_money(client: Client, settings: Settings) -> list[ModelUsage]:
    """Usage and money by tenant and model, in that order."""
    usage = _query(
        client,
        settings,
        "SELECT tenant_id, response_model, count(), sum(input_tokens), sum(cache_read_input_tokens), sum(output_tokens), "
        f"sum(reasoning_output_tokens) FROM usage_raw WHERE {counted_sql(Kind.TOKEN_USAGE)} GROUP BY tenant_id, response_model",
    )
    money = _query(
        client,
        settings,
        "SELECT tenant_id, dimensions['model'] AS model, currency, sum(ifNull(amount, 0)) FROM rated "
        "WHERE currency != '' GROUP BY tenant_id, model, currency",
    )
    amounts: dict[tuple[str, str], dict[str, Decimal]] = {}
    for tenant_id, model, currency, amount in money:
        if amount:
            amounts.setdefault((tenant_id, model), {})[currency] = amount
    counts = {(row[0], row[1]): (int(row[2]), int(row[3]), int(row[4]), int(row[5]), int(row[6])) for row in usage}
    return [
        ModelUsage(
            tenant_id,
            model,
            *counts.get((tenant_id, model), (0, 0, 0, 0, 0)),
            dict(sorted(amounts.get((tenant_id, model), {}).items())),
        )
        for tenant_id, model in sorted(counts.keys() | amounts.keys())
    ]


@dataclass(frozen=True, slots=True)
class GpuTypeUsage:
    """What the GPUs of one type did. Hours are GPU-hours; `tokens` are input and output of the requests they served."""

    gpu_type: str
    allocated_hours: Decimal
    """With an owner: a tenant, or the pool that serves many."""
    idle_hours: Decimal
    busy_hours: Decimal
    unobserved_hours: Decimal
    energy_kwh: Decimal
    requests: int
    input_tokens: int
    output_tokens: int

    @property
    def tokens(self) -> int:
        """Input and output tokens."""
        return self.input_tokens + self.output_tokens

    @property
    def tokens_per_gpu_hour(self) -> Decimal | None:
        """Tokens per allocated GPU-hour; None without GPU time."""
        return ratio(self.tokens, self.allocated_hours)

    @property
    def tokens_per_busy_hour(self) -> Decimal | None:
        """Tokens per hour in which the GPU worked; None if it never did."""
        return ratio(self.tokens, self.busy_hours)

    @property
    def utilisation(self) -> Decimal | None:
        """Share of all observed time, idle included, in which the GPU worked."""
        return ratio(self.busy_hours, self.allocated_hours + self.idle_hours)


def gpu_types(client: Client, settings: Settings) -> list[GpuTypeUsage]:
    """GPU-hours and the tokens made in them, by GPU type."""
    gpus = _query(
        client,
        settings,
        f"SELECT gpu_type, sumIf(gpu_seconds, tenant_id != '{IDLE}'), sumIf(gpu_seconds, tenant_id = '{IDLE}'), "
        "sum(gpu_busy_seconds), sum(unobserved_seconds), sum(gpu_energy_joules) FROM gpu_usage_raw "
        f"WHERE {counted_sql(Kind.GPU_USAGE)} GROUP BY gpu_type",
    )
    tokens = _query(
        client,
        settings,
        "SELECT gpu_type, count(), sum(input_tokens), sum(output_tokens) FROM usage_raw "
        f"WHERE gpu_type != '' AND {counted_sql(Kind.TOKEN_USAGE)} GROUP BY gpu_type",
    )
    made = {row[0]: tuple(map(int, row[1:])) for row in tokens}
    times = {row[0]: row[1:] for row in gpus}
    nothing = (Decimal(0),) * 5
    usage = []
    for gpu_type in sorted(made.keys() | times.keys()):
        *seconds, joules = times.get(gpu_type, nothing)
        allocated, idle, busy, unobserved = (q12(Fraction(each) / _HOUR) for each in seconds)
        kwh = q12(Fraction(joules) / (_HOUR * 1000))
        usage.append(GpuTypeUsage(gpu_type, allocated, idle, busy, unobserved, kwh, *made.get(gpu_type, (0, 0, 0))))
    return usage


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """What tokens were charged on average: amount of all token lines over their tokens, per million, in one currency."""

    currency: str
    tokens: Decimal
    amount: Decimal

    @property
    def per_million(self) -> Decimal | None:
        """Average price of a million tokens; None without tokens."""
        return ratio(self.amount * _MILLION, self.tokens)


def token_prices(client: Client, settings: Settings) -> list[TokenPrice]:
    """The average price of charged tokens by currency: with `gpu_types` what the cost comparison needs."""
    meters = ", ".join(f"'{meter}'" for meter in _TOKEN_METERS)
    rows = _query(
        client,
        settings,
        f"SELECT currency, sum(quantity), sum(ifNull(amount, 0)) FROM rated WHERE meter IN ({meters}) AND currency != '' "
        "AND kind IN ('usage', 'adjustment') AND NOT startsWith(sku, 'uncharged/') "
        "AND NOT mapContains(dimensions, 'aggregation') GROUP BY currency ORDER BY currency",
    )
    return [TokenPrice(*row) for row in rows]


def _query(client: Client, settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with store_errors("asking ClickHouse"):
        rows = client.query(sql, parameters={"topic": settings.topics.usage_events}).result_rows
    return [tuple(row) for row in rows]


def ratio(amount: Decimal | int, parts: Decimal | int) -> Decimal | None:
    """An exact ratio to 12 decimals; None of nothing."""
    return q12(Fraction(amount) / Fraction(parts)) if parts else None
