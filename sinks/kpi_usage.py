"""KPIs of requests: token usage, performance, reliability. Counts are exact; latencies are statistics, in seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sinks.kpi_scope import GROUPED, Place, Scope, ask, observed, placed

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@dataclass(frozen=True, slots=True)
class TokenUsageRow:
    """Tokens and requests. `input_tokens` includes the cached ones, `output_tokens` the reasoning ones."""

    place: Place
    requests: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int

    @property
    def tokens(self) -> int:
        """Input and output: equals the token quantities of the rated records."""
        return self.input_tokens + self.output_tokens

    @property
    def cached_share(self) -> float | None:
        """Share of input tokens that came from the cache."""
        return share(self.cache_read_tokens, self.input_tokens)


def token_usage(client: Client, scope: Scope) -> list[TokenUsageRow]:
    """Token usage, one row per bucket and dimension value that has any."""
    rows = ask(
        client,
        scope,
        f"SELECT {scope.keys}, sum(requests), sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens), "
        f"sum(output_tokens), sum(reasoning_tokens) FROM kpi_tokens WHERE {scope.where()} {GROUPED}",
    )
    return [TokenUsageRow(place, *map(int, numbers)) for place, numbers in map(placed, rows)]


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Exact quantiles of something measured, in seconds, and of how many requests."""

    measured: int
    p50: float
    p90: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Objective:
    """What a request must keep to count as good: time to the first token and between tokens, in seconds."""

    ttft_s: float = 2.0
    inter_token_s: float = 0.2


DEFAULT_OBJECTIVE: Final = Objective()


@dataclass(frozen=True, slots=True)
class PerformanceRow:
    """How fast it was. Rates are over `seconds`: the part of the bucket, or the whole, of the span that
    the question covers.

    Latencies are of requests that succeeded. `judged_tokens` are the output tokens of requests that failed or whose first
    token was timed, `good_tokens` those of requests that succeeded within the objective.
    """

    place: Place
    seconds: int
    requests: int
    output_tokens: int
    good_tokens: int
    judged_tokens: int
    ttft: Quantiles | None
    inter_token: Quantiles | None
    end_to_end: Quantiles | None

    @property
    def requests_per_s(self) -> float | None:
        """Requests per second (QPS)."""
        return share(self.requests, self.seconds)

    @property
    def output_tokens_per_s(self) -> float | None:
        """Output tokens per second of the whole system."""
        return share(self.output_tokens, self.seconds)

    @property
    def good_tokens_per_s(self) -> float | None:
        """Goodput: output tokens per second that kept the objective."""
        return share(self.good_tokens, self.seconds)

    @property
    def good_share(self) -> float | None:
        """Share of the judged output tokens that kept the objective."""
        return share(self.good_tokens, self.judged_tokens)


_MEASURES: Final = ("ttft_s", "inter_token_s", "end_to_end_s")
GOOD: Final = (
    "status = 'success' AND ttft_s <= {ttft:Float64} "
    "AND (inter_token_s IS NULL OR inter_token_s <= {inter_token:Float64})"
)
"""A request that kept the objective; parameters ttft and inter_token, in seconds. A single token has no time between."""


def performance(client: Client, scope: Scope, objective: Objective = DEFAULT_OBJECTIVE) -> list[PerformanceRow]:
    """Rates, latencies and goodput, one row per bucket and dimension value that has requests."""
    measures = ", ".join(
        f"countIf(isNotNull({name}) AND status = 'success'), "
        f"quantilesExactInclusiveIf(0.5, 0.9, 0.95, 0.99)({name}, isNotNull({name}) AND status = 'success')"
        for name in _MEASURES
    )
    rows = ask(
        client,
        scope,
        f"SELECT {scope.keys}, count(), sum(output_tokens), sumIf(output_tokens, {GOOD}), "
        f"sumIf(output_tokens, status != 'success' OR isNotNull(ttft_s)), {measures} "
        f"FROM usage_counted WHERE {scope.where()} {GROUPED}",
        ttft=objective.ttft_s,
        inter_token=objective.inter_token_s,
    )
    span = observed(client, scope)
    found = []
    for place, values in map(placed, rows):
        requests, output_tokens, good_tokens, judged_tokens, *measured = values
        found.append(
            PerformanceRow(
                place,
                span.seconds_of(place.bucket, scope.by),
                int(requests),
                int(output_tokens),
                int(good_tokens),
                int(judged_tokens),
                _quantiles(measured[0], measured[1]),
                _quantiles(measured[2], measured[3]),
                _quantiles(measured[4], measured[5]),
            )
        )
    return found


def _quantiles(measured: int, values: Sequence[float]) -> Quantiles | None:
    if not measured or any(value is None or math.isnan(value) for value in values):
        return None
    return Quantiles(int(measured), *map(float, values))


@dataclass(frozen=True, slots=True)
class ReliabilityRow:
    """What failed, and the tokens (input and output) that went with it. Every attempt of a request counts."""

    place: Place
    requests: int
    errors: int
    aborted: int
    retries: int
    rate_limited: int
    tokens: int
    error_tokens: int
    aborted_tokens: int

    @property
    def error_rate(self) -> float | None:
        """Share of requests that ended in an error."""
        return share(self.errors, self.requests)

    @property
    def abort_rate(self) -> float | None:
        """Share of requests that the caller gave up."""
        return share(self.aborted, self.requests)

    @property
    def error_token_share(self) -> float | None:
        """Share of the token volume that belongs to errors."""
        return share(self.error_tokens, self.tokens)

    @property
    def aborted_token_share(self) -> float | None:
        """Share of the token volume that belongs to aborted requests."""
        return share(self.aborted_tokens, self.tokens)


def reliability(client: Client, scope: Scope) -> list[ReliabilityRow]:
    """Failures, one row per bucket and dimension value that has requests."""
    columns = (
        *("requests", "errors", "aborted", "retries", "rate_limited"),
        *("tokens", "error_tokens", "aborted_tokens"),
    )
    sums = ", ".join(f"sum({name})" for name in columns)
    rows = ask(client, scope, f"SELECT {scope.keys}, {sums} FROM kpi_reliability WHERE {scope.where()} {GROUPED}")
    return [ReliabilityRow(place, *map(int, numbers)) for place, numbers in map(placed, rows)]


@dataclass(frozen=True, slots=True)
class ErrorType:
    """One sort of error: the producer's name for it and the HTTP status (None: not told), requests and their tokens."""

    error_type: str
    http_status: int | None
    requests: int
    tokens: int


def error_types(client: Client, scope: Scope, limit: int = 10) -> list[ErrorType]:
    """The most frequent sorts of errors."""
    rows = ask(
        client,
        scope,
        "SELECT error_type, http_status, count() AS requests, sum(tokens) FROM usage_counted "
        f"WHERE status = 'error' AND {scope.where()} GROUP BY error_type, http_status "
        "ORDER BY requests DESC, error_type, http_status LIMIT {limit:UInt32}",
        limit=limit,
    )
    return [
        ErrorType(str(name), None if status is None else int(status), int(requests), int(tokens))
        for name, status, requests, tokens in rows
    ]


def share(part: int | float, whole: int | float) -> float | None:
    """A ratio of counts; None of nothing."""
    return part / whole if whole else None
