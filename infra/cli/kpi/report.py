"""What a KPI report holds, and the same as plain data."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from infra.cli.plain import plain
from schemas.decimals import format_decimal
from sinks.kpi_economics import Case, GpuEconomics, Revenue, comparison, gpu_economics, revenue
from sinks.kpi_governance import (
    PriceChange,
    RateLimitHits,
    SignalCount,
    UnpricedUsage,
    price_changes,
    rate_limit_hits,
    signals,
    unpriced_usage,
)
from sinks.kpi_scope import Scope
from sinks.kpi_usage import (
    ErrorType,
    Objective,
    PerformanceRow,
    ReliabilityRow,
    TokenUsageRow,
    error_types,
    performance,
    reliability,
    token_usage,
)

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Row = TypeVar("Row")
RENTED_SHARE: Final = Decimal("0.7")
"""The share of hours for which a GPU is rented in the comparison (DESIGN section 6)."""


@dataclass(frozen=True, slots=True)
class Split(Generic[Row]):
    """Rows of a question, and the one row over all of it (None where there is nothing)."""

    rows: list[Row]
    total: Row | None


@dataclass(frozen=True, slots=True)
class Governance:
    """The parts of the group governance."""

    unpriced: list[UnpricedUsage]
    rate_limits: list[RateLimitHits]
    signals: list[SignalCount]
    price_changes: list[PriceChange]


@dataclass(frozen=True, slots=True)
class Economics:
    """The parts of the group economics; `gpus` is empty in a question about one tenant or model."""

    gpus: list[GpuEconomics]
    gpu_totals: list[GpuEconomics]
    """By GPU type over the whole span."""
    revenue: list[Revenue]
    revenue_totals: list[Revenue]
    comparison: list[Case]


@dataclass(frozen=True, slots=True)
class KpiReport:
    """Everything that was asked for; None for groups that were not."""

    scope: Scope
    objective: Objective
    gpu_hour_cost: Decimal
    currency: str
    tokens: Split[TokenUsageRow] | None
    performance: Split[PerformanceRow] | None
    reliability: Split[ReliabilityRow] | None
    error_types: list[ErrorType]
    governance: Governance | None
    economics: Economics | None

    def as_json(self) -> dict[str, object]:
        """Plain data: decimals as texts, instants in RFC 3339, derived figures beside what they are made of."""
        found: dict[str, object] = {
            "scope": plain(self.scope, ("whole", "keys", "bucket", "parameters")),
            "objective": plain(self.objective),
            "gpu_hour_cost": format_decimal(self.gpu_hour_cost),
            "currency": self.currency,
        }
        for name in ("tokens", "performance", "reliability", "governance", "economics"):
            part = getattr(self, name)
            if part is not None:
                found[name] = plain(part, ("hours",))
        if self.reliability is not None:
            found["error_types"] = plain(self.error_types)
        if self.economics is not None:
            costs = {gpu.gpu_type: gpu.cost_per_million(self.gpu_hour_cost) for gpu in self.economics.gpu_totals}
            found["cost_per_million_tokens"] = plain(costs)
        return found


def collect(
    client: Client,
    scope: Scope,
    groups: Collection[str],
    objective: Objective,
    gpu_hour_cost: Decimal,
    currency: str,
) -> KpiReport:
    """Ask for the groups. Raises StoreError."""
    whole = scope.whole
    return KpiReport(
        scope,
        objective,
        gpu_hour_cost,
        currency,
        _split(token_usage(client, scope), token_usage(client, whole)) if "tokens" in groups else None,
        _split(performance(client, scope, objective), performance(client, whole, objective))
        if "performance" in groups
        else None,
        _split(reliability(client, scope), reliability(client, whole)) if "reliability" in groups else None,
        error_types(client, scope) if "reliability" in groups else [],
        _governance(client, scope) if "governance" in groups else None,
        _economics(client, scope, objective, gpu_hour_cost, currency) if "economics" in groups else None,
    )


def _split(rows: list[Row], totals: list[Row]) -> Split[Row]:
    return Split(rows, totals[0] if totals else None)


def _governance(client: Client, scope: Scope) -> Governance:
    return Governance(
        unpriced_usage(client, scope),
        rate_limit_hits(client, scope),
        signals(client, scope),
        price_changes(client, scope),
    )


def _economics(client: Client, scope: Scope, objective: Objective, gpu_hour_cost: Decimal, currency: str) -> Economics:
    whole = scope.whole
    about_one = scope.tenant is not None or scope.model is not None
    gpus = [] if about_one else gpu_economics(client, scope, objective)
    totals = gpus if scope.by is None or about_one else gpu_economics(client, whole, objective)
    money = revenue(client, scope)
    money_totals = money if scope.by is None else revenue(client, whole)
    price = next((each.price_per_million for each in money_totals if each.currency == currency), None)
    cases = comparison(totals, price, gpu_hour_price=gpu_hour_cost, rented_share=RENTED_SHARE)
    return Economics(gpus, totals, money, money_totals, cases)
