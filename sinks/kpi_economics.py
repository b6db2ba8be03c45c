"""KPIs of economics: what GPUs made, what tokens earned, and both together. Hours and money are decimals, divided here
and never in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from rating.comparison import Comparison, compare
from rating.meters import GROUP_METERS
from rating.money import q12
from sinks.kpi_scope import Scope, ask
from sinks.kpi_usage import DEFAULT_OBJECTIVE, GOOD, Objective
from sinks.queries import IDLE, ratio

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_HOUR: Final = 3600
_MILLION: Final = 1_000_000
_TOKEN_METERS: Final = ", ".join(f"'{name}'" for group, leaves in GROUP_METERS.items() for name in (group, *leaves))


@dataclass(frozen=True, slots=True)
class GpuEconomics:
    """What the GPUs of one type did in one bucket. Hours are GPU-hours; allocated is owned by a tenant or the pool."""

    bucket: str
    gpu_type: str
    allocated_hours: Decimal
    idle_hours: Decimal
    busy_hours: Decimal
    unobserved_hours: Decimal
    energy_joules: Decimal
    requests: int
    input_tokens: int
    output_tokens: int
    good_tokens: int

    @property
    def tokens(self) -> int:
        """Input and output tokens of the requests that named this GPU type."""
        return self.input_tokens + self.output_tokens

    @property
    def hours(self) -> Decimal:
        """Allocated and idle hours: what the operator pays for."""
        return self.allocated_hours + self.idle_hours

    @property
    def tokens_per_gpu_hour(self) -> Decimal | None:
        """Tokens per allocated GPU-hour."""
        return ratio(self.tokens, self.allocated_hours)

    @property
    def tokens_per_busy_hour(self) -> Decimal | None:
        """Tokens per hour in which the GPU worked."""
        return ratio(self.tokens, self.busy_hours)

    @property
    def good_tokens_per_gpu_hour(self) -> Decimal | None:
        """Output tokens within the objective per allocated GPU-hour."""
        return ratio(self.good_tokens, self.allocated_hours)

    @property
    def tokens_per_joule(self) -> Decimal | None:
        """Tokens per joule, which is tokens per second and watt."""
        return ratio(self.tokens, self.energy_joules)

    @property
    def idle_share(self) -> Decimal | None:
        """Share of the hours in which the GPU had no owner."""
        return ratio(self.idle_hours, self.hours)

    @property
    def busy_share(self) -> Decimal | None:
        """Share of the hours in which the GPU worked."""
        return ratio(self.busy_hours, self.hours)

    def cost_per_million(self, gpu_hour_cost: Decimal) -> Decimal | None:
        """What a million tokens cost when every GPU-hour, idle ones too, costs this much."""
        return ratio(gpu_hour_cost * self.hours * _MILLION, self.tokens)


def gpu_economics(client: Client, scope: Scope, objective: Objective = DEFAULT_OBJECTIVE) -> list[GpuEconomics]:
    """GPU-hours and the tokens made in them, by bucket and GPU type. The scope's tenant and model must be None: a GPU
    serves many, and its hours cannot be told apart by them."""
    if scope.tenant is not None or scope.model is not None:
        raise ValueError("the hours of a GPU that serves many have no tenant and no model")
    times = ask(
        client,
        scope,
        f"SELECT {scope.bucket}, gpu_type, sumIf(gpu_seconds, owner != '{IDLE}'), sumIf(gpu_seconds, owner = '{IDLE}'), "
        f"sum(busy_seconds), sum(unobserved_seconds), sum(energy_joules) FROM kpi_gpu_time WHERE {scope.where()} "
        "GROUP BY bucket, gpu_type",
    )
    tokens = ask(
        client,
        scope,
        f"SELECT {scope.bucket}, gpu_type, count(), sum(input_tokens), sum(output_tokens), sumIf(output_tokens, {GOOD}) "
        f"FROM usage_counted WHERE gpu_type != '' AND {scope.where()} GROUP BY bucket, gpu_type",
        ttft=objective.ttft_s,
        inter_token=objective.inter_token_s,
    )
    made = {(str(row[0]), str(row[1])): [int(number) for number in row[2:]] for row in tokens}
    spent = {(str(row[0]), str(row[1])): list(row[2:]) for row in times}
    return [
        _gpu(*place, spent.get(place, [Decimal(0)] * 5), made.get(place, [0] * 4))
        for place in sorted(made.keys() | spent.keys())
    ]


def _gpu(bucket: str, gpu_type: str, times: list[Decimal], counts: list[int]) -> GpuEconomics:
    allocated, idle, busy, unobserved, joules = times
    requests, input_tokens, output_tokens, good = counts
    return GpuEconomics(
        bucket,
        gpu_type,
        allocated_hours=_hours(allocated),
        idle_hours=_hours(idle),
        busy_hours=_hours(busy),
        unobserved_hours=_hours(unobserved),
        energy_joules=joules,
        requests=requests,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        good_tokens=good,
    )


def _hours(seconds: Decimal) -> Decimal:
    return q12(Fraction(seconds) / _HOUR)


@dataclass(frozen=True, slots=True)
class Revenue:
    """What was rated in one currency: all of it, and the part of token SKUs with the tokens they priced."""

    bucket: str
    currency: str
    amount: Decimal
    token_amount: Decimal
    tokens: Decimal
    gpu_hours: Decimal | None
    """Allocated GPU-hours of all types in the same time; None in a question about one tenant or model."""

    @property
    def price_per_million(self) -> Decimal | None:
        """Average price of a million priced tokens."""
        return ratio(self.token_amount * _MILLION, self.tokens)

    @property
    def tokens_per_unit(self) -> Decimal | None:
        """Priced tokens per unit of the currency (tokens per dollar)."""
        return ratio(self.tokens, self.token_amount)

    @property
    def per_gpu_hour(self) -> Decimal | None:
        """Revenue per allocated GPU-hour; with several currencies each stands alone."""
        return None if self.gpu_hours is None else ratio(self.amount, self.gpu_hours)


def revenue(client: Client, scope: Scope) -> list[Revenue]:
    """Money by bucket and currency, as rated now."""
    priced = f"meter IN ({_TOKEN_METERS}) AND kind IN ('usage', 'adjustment') AND NOT uncharged"
    rows = ask(
        client,
        scope,
        f"SELECT {scope.bucket}, currency, sum(amount), sumIf(amount, {priced}), sumIf(quantity, {priced}) "
        f"FROM kpi_revenue WHERE currency != '' AND {scope.where()} GROUP BY bucket, currency ORDER BY bucket, currency",
    )
    one = scope.tenant is not None or scope.model is not None
    hours = {} if one else _allocated_hours(client, scope)
    return [
        Revenue(bucket, currency, amount, token_amount, tokens, None if one else hours.get(bucket, Decimal(0)))
        for bucket, currency, amount, token_amount, tokens in rows
    ]


def _allocated_hours(client: Client, scope: Scope) -> dict[str, Decimal]:
    """By bucket."""
    rows = ask(
        client,
        scope,
        f"SELECT {scope.bucket}, sumIf(gpu_seconds, owner != '{IDLE}') FROM kpi_gpu_time WHERE {scope.where()} "
        "GROUP BY bucket",
    )
    return {str(bucket): _hours(seconds) for bucket, seconds in rows}


@dataclass(frozen=True, slots=True)
class Case:
    """One GPU sold as tokens beside one rented by the hour, with what went into it; the currency is that of the prices."""

    name: str
    price_per_million: Decimal
    tokens_per_hour: Decimal
    busy_share: Decimal
    outcome: Comparison


REFERENCE_PRICE: Final = Decimal(1)
REFERENCE_TOKENS: Final = (Decimal(30_000_000), Decimal(60_000_000))
REFERENCE_SHARE: Final = Decimal("0.6")


def comparison(
    gpus: list[GpuEconomics], price_per_million: Decimal | None, *, gpu_hour_price: Decimal, rented_share: Decimal
) -> list[Case]:
    """The two reference cases, then one for each GPU type from what was measured and what tokens earned on average."""
    inputs = [("reference", REFERENCE_PRICE, tokens, REFERENCE_SHARE) for tokens in REFERENCE_TOKENS]
    for gpu in gpus:
        speed, share = gpu.tokens_per_busy_hour, gpu.busy_share
        if price_per_million and speed and share is not None and share <= 1:
            inputs.append((f"measured, {gpu.gpu_type}", price_per_million, speed, share))
    return [
        Case(
            name,
            price,
            speed,
            share,
            compare(
                price_per_million=price,
                tokens_per_hour=speed,
                token_utilisation=share,
                price_per_gpu_hour=gpu_hour_price,
                gpu_utilisation=rented_share,
            ),
        )
        for name, price, speed, share in inputs
    ]
