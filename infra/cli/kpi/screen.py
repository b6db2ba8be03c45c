"""KPIs for people: tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from infra.cli.kpi.report import RENTED_SHARE, Economics, Governance, KpiReport
from infra.cli.output import console, table
from rating.money import round_to_currency
from schemas.decimals import format_decimal
from sinks.kpi_economics import GpuEconomics, Revenue
from sinks.kpi_governance import PriceChange
from sinks.kpi_scope import Place, Scope
from sinks.kpi_usage import PerformanceRow, Quantiles, ReliabilityRow, TokenUsageRow

_WIDE = 100
_LARGEST_IN_FULL = 10**12
_LARGEST_IN_NARROW = 10**9
_LARGEST_WHEN_SHORT = 10**6
_LONGEST_NAME = 14
_UNBOUNDED = 10_000
_SHOWN_CHANGES = 20
_WHAT = "what"


def show(report: KpiReport) -> None:
    """Print the groups that the report has."""
    if report.tokens is not None:
        _tokens(report.scope, report.tokens.rows, report.tokens.total)
    if report.performance is not None:
        _performance(report, report.performance.rows, report.performance.total)
    if report.reliability is not None:
        _reliability(report, report.reliability.rows, report.reliability.total)
    if report.governance is not None:
        _governance(report.governance)
    if report.economics is not None:
        _economics(report, report.economics)


def _tokens(scope: Scope, rows: list[TokenUsageRow], total: TokenUsageRow | None) -> None:
    headings = ("requests", "input", "of it\ncached", "output", "of it\nreasoning", "tokens")
    _grid(
        "Token usage",
        scope,
        headings,
        [(row.place, _token_cells(row)) for row in rows],
        None if total is None else _token_cells(total),
    )


def _token_cells(row: TokenUsageRow) -> list[str]:
    return [
        count(row.requests),
        count(row.input_tokens),
        percent(row.cached_share),
        count(row.output_tokens),
        count(row.reasoning_tokens),
        count(row.tokens),
    ]


def _performance(report: KpiReport, rows: list[PerformanceRow], total: PerformanceRow | None) -> None:
    headings = ("requests", "requests\nper s", "output\ntokens/s", "goodput\ntokens/s", "good\nshare")
    _grid(
        "Performance: rates",
        report.scope,
        headings,
        [(row.place, _rate_cells(row)) for row in rows],
        None if total is None else _rate_cells(total),
    )
    if total is None:
        return
    objective = report.objective
    console.print(
        f"  [dim]good: succeeded, first token within {objective.ttft_s:g} s, then {objective.inter_token_s:g} s per token[/]\n"
    )
    names = _names(report.scope)
    columns = [_WHAT, "measured", "p50", "p90", "p95", "p99"]
    places = [_place(report.scope, row.place) for row in rows] if names else []
    lines = [line for place, row in zip(places, rows, strict=False) for line in _latency(place, row)]
    shown = _fitting("Performance: latency of successes, s", names, columns, [*lines, *_latency(["all"], total)], 3)
    console.print(shown)
    console.print()


def _latency(place: list[str], row: PerformanceRow) -> list[tuple[list[str], list[str]]]:
    """Three rows: what the user waits for, one quantile a column."""
    measures = (("first token", row.ttft), ("between tokens", row.inter_token), ("whole request", row.end_to_end))
    return [
        (place if number == 0 else [""], [name, *_quantile_cells(quantiles)])
        for number, (name, quantiles) in enumerate(measures)
    ]


def _quantile_cells(quantiles: Quantiles | None) -> list[str]:
    if quantiles is None:
        return ["0", "", "", "", ""]
    values = (quantiles.p50, quantiles.p90, quantiles.p95, quantiles.p99)
    return [count(quantiles.measured), *(f"{value:,.3f}" if value >= 0.1 else f"{value:.4f}" for value in values)]


def _rate_cells(row: PerformanceRow) -> list[str]:
    return [
        count(row.requests),
        _rate(row.requests_per_s),
        _rate(row.output_tokens_per_s),
        _rate(row.good_tokens_per_s),
        percent(row.good_share),
    ]


def _reliability(report: KpiReport, rows: list[ReliabilityRow], total: ReliabilityRow | None) -> None:
    headings = (
        *("requests", "errors", "error\nrate", "aborted", "abort\nrate", "retries"),
        *("tokens", "in\nerrors", "in\naborts"),
    )
    _grid(
        "Reliability: failures and the tokens that went with them",
        report.scope,
        headings,
        [(row.place, _failure_cells(row)) for row in rows],
        None if total is None else _failure_cells(total),
    )
    if report.error_types:
        shown = table("Errors by type", "type", "HTTP status", "requests", "tokens")
        for each in report.error_types:
            status = "" if each.http_status is None else str(each.http_status)
            shown.add_row(each.error_type or "(not told)", status, count(each.requests), count(each.tokens))
        console.print(shown)
        console.print()


def _failure_cells(row: ReliabilityRow) -> list[str]:
    return [
        count(row.requests),
        count(row.errors),
        percent(row.error_rate),
        count(row.aborted),
        percent(row.abort_rate),
        count(row.retries),
        count(row.tokens),
        percent(row.error_token_share),
        percent(row.aborted_token_share),
    ]


def _governance(found: Governance) -> None:
    if found.unpriced:
        shown = table(
            "Governance: usage without a price", "tenant", "meter", "quantity", "unit", "since", text=["meter", "unit"]
        )
        for each in found.unpriced:
            since = each.first_hour.strftime("%Y-%m-%d %H:%M")
            shown.add_row(each.tenant, each.meter, _grouped(each.quantity), each.unit, since)
        console.print(shown)
    else:
        console.print("[bold]Governance:[/] all usage has a price")
    console.print()
    if found.rate_limits:
        shown = table("Governance: rate limits (HTTP 429)", "tenant", "refused", "of requests", "share")
        for hit in found.rate_limits:
            shown.add_row(hit.tenant, count(hit.hits), count(hit.requests), percent(hit.hits / hit.requests))
        console.print(shown)
        console.print()
    if found.signals:
        shown = table("Governance: signals, the latest word of each policy", "policies", "say", "number", text=["say"])
        for signal in found.signals:
            shown.add_row(signal.family, signal.kind, count(signal.policies))
        console.print(shown)
        console.print()
    _price_changes(found.price_changes)


def _price_changes(changes: list[PriceChange]) -> None:
    """Newest last, each change of a card version on a line of its own."""
    console.print("[bold]Governance: who changed which price when[/]")
    shown = Table.grid(padding=(0, 1))
    for name in ("when", "who", "what", "change"):
        shown.add_column(name, no_wrap=name == "when", overflow="fold")
    for change in changes[-_SHOWN_CHANGES:]:
        version = "" if change.card_version is None else f" v{change.card_version}"
        subject = f"card {change.card_id}{version}" if change.what == "rate card" else f"account {change.tenant}"
        when = change.changed_at.strftime("%Y-%m-%d %H:%M")
        texts = (when, change.changed_by or "(unknown)", subject, "\n".join(change.changes))
        shown.add_row(*(Text(text) for text in texts))
    console.print(shown)
    earlier = len(changes) - _SHOWN_CHANGES
    if earlier > 0:
        console.print(f"[dim]and {earlier} earlier ones: tokenmill kpi governance --json[/]")
    if not changes:
        console.print("nobody changed any")
    console.print()


def _economics(report: KpiReport, found: Economics) -> None:
    if found.gpus:
        _gpus(report, found.gpus)
    elif report.scope.tenant is not None or report.scope.model is not None:
        console.print("[dim]GPU figures need a question without --tenant and --model: a GPU serves many.[/]\n")
    if found.revenue:
        _revenue(report.scope, found.revenue)
    if report.scope.tenant is not None or report.scope.model is not None:
        return
    currency = report.currency
    shown = table(
        f"Economics: one GPU sold as tokens or by the hour, {currency}",
        "case",
        *(f"{currency} per\nmillion", "tokens\nper hour", "busy\nshare", "as tokens,\na year", "by the hour,\na year"),
    )
    for case in found.comparison:
        shown.add_row(
            case.name,
            _rounded(case.price_per_million, "0.0001"),
            _rounded(case.tokens_per_hour, "1"),
            percent(float(case.busy_share)),
            _rounded(case.outcome.tokens.per_year),
            _rounded(case.outcome.gpu_hours.per_year),
        )
    console.print(shown)
    rented = percent(float(RENTED_SHARE))
    console.print(
        f"  [dim]by the hour: {report.gpu_hour_cost} {currency} per GPU-hour, rented for {rented} of the hours[/]"
    )


def _gpus(report: KpiReport, gpus: list[GpuEconomics]) -> None:
    buckets = [report.scope.by] if report.scope.by else []
    headings = [
        *buckets,
        "GPU type",
        *("GPU-hours\nallocated", "idle\nshare", "busy\nshare", "tokens per\nGPU-hour", "good, per\nGPU-hour"),
        *("tokens/s\nper watt", f"{report.currency} per\nmillion"),
    ]
    shown = table("Economics: GPUs", headings[0], *headings[1:], text=["GPU type"])
    for gpu in gpus:
        shown.add_row(
            *([_bucket(gpu.bucket)] if buckets else []),
            gpu.gpu_type,
            _rounded(gpu.allocated_hours),
            percent(None if gpu.idle_share is None else float(gpu.idle_share)),
            percent(None if gpu.busy_share is None else float(gpu.busy_share)),
            _rounded(gpu.tokens_per_gpu_hour, "1"),
            _rounded(gpu.good_tokens_per_gpu_hour, "1"),
            _rounded(gpu.tokens_per_joule, "0.001"),
            _rounded(gpu.cost_per_million(report.gpu_hour_cost), "0.0001"),
        )
    console.print(shown)
    console.print(
        f"  [dim]last column: the cost of all GPU-hours, idle ones too, at {report.gpu_hour_cost} {report.currency} "
        "each,\n  over the tokens made[/]\n"
    )


def _revenue(scope: Scope, rows: list[Revenue]) -> None:
    buckets = [scope.by] if scope.by else []
    headings = [
        *buckets,
        "currency",
        *("revenue", "of it for\ntokens", "per million\ntokens", "tokens\nper 1", "revenue per\nGPU-hour"),
    ]
    shown = table("Economics: revenue as rated now", headings[0], *headings[1:], text=["currency"])
    for row in rows:
        shown.add_row(
            *([_bucket(row.bucket)] if buckets else []),
            row.currency,
            f"{round_to_currency(row.amount, row.currency):,f}",
            f"{round_to_currency(row.token_amount, row.currency):,f}",
            _rounded(row.price_per_million, "0.0001"),
            _rounded(row.tokens_per_unit, "1"),
            _rounded(row.per_gpu_hour, "0.0001"),
        )
    console.print(shown)
    console.print()


def _grid(
    title: str,
    scope: Scope,
    headings: Sequence[str],
    rows: list[tuple[Place, list[str]]],
    total: list[str] | None,
) -> None:
    """A table with a row per place, and one over all."""
    if total is None:
        console.print(f"[bold]{title}:[/] nothing was used{_of(scope)}\n")
        return
    places = [(_place(scope, place), cells) for place, cells in rows] if _names(scope) else []
    console.print(_fitting(title, _names(scope), headings, [*places, (["all"], total)], 1))
    console.print()


def _fitting(
    title: str, names: list[str], headings: Sequence[str], rows: list[tuple[list[str], list[str]]], last: int
) -> Table:
    """A table that fits: where it would be too wide, what a row is about goes into one column, then numbers are rounded.

    The `last` rows stand apart. No number may be cut: half a number is a wrong one.
    """
    joined = [",\n".join(names)]
    tries = (
        (names or [""], rows),
        (joined, [(["\n".join(place)], cells) for place, cells in rows]),
        (joined, [(["\n".join(map(_cut, place))], [_shorter(cell) for cell in cells]) for place, cells in rows]),
    )
    for columns, lines in tries:
        shown = table(title, columns[0], *columns[1:], *headings, text=[*columns, _WHAT])
        for number, (place, cells) in enumerate(lines):
            if number == len(lines) - last and number:
                shown.add_section()
            shown.add_row(*place, *[""] * (len(columns) - len(place)), *cells)
        if Measurement.get(console, console.options.update(width=_UNBOUNDED), shown).maximum <= console.width:
            break
    return shown


def _cut(name: str) -> str:
    """A long name with its end left out, and that shown."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _shorter(cell: str) -> str:
    """A large count in millions, a share without its space."""
    if cell.endswith(" %"):
        return cell.replace(" %", "%")
    digits = cell.replace(",", "")
    return f"{int(digits) / 10**6:,.1f} M" if digits.isdigit() and int(digits) >= _LARGEST_WHEN_SHORT else cell


def _of(scope: Scope) -> str:
    parts = [f" by {scope.tenant}" if scope.tenant else "", f" of {scope.model}" if scope.model else ""]
    return "".join(parts) + (" in this time" if scope.start or scope.end else "")


def _names(scope: Scope) -> list[str]:
    return [*([scope.by] if scope.by else []), *scope.per]


def _place(scope: Scope, place: Place) -> list[str]:
    found = [_bucket(place.bucket)] if scope.by else []
    return found + [getattr(place, name) for name in scope.per]


def _bucket(bucket: str) -> str:
    """`2026-01-31T07:00Z` as `2026-01-31 07h`: narrow enough for 80 columns."""
    return bucket.replace("T", " ").replace(":00Z", "h")


def count(number: int) -> str:
    """A whole number in groups; beyond what a column holds in billions."""
    largest = _LARGEST_IN_FULL if console.width >= _WIDE else _LARGEST_IN_NARROW
    return f"{number:,}" if number < largest else f"{number / 10**9:,.2f} G"


def percent(share: float | None) -> str:
    """A share with one decimal."""
    return "" if share is None else f"{share * 100:.1f} %"


def _rate(per_second: float | None) -> str:
    return "" if per_second is None else f"{per_second:,.1f}"


def _grouped(quantity: Decimal) -> str:
    whole, _, part = format_decimal(quantity).partition(".")
    return f"{int(whole):,}" + (f".{part}" if part else "")


def _rounded(value: Decimal | None, step: str = "0.01") -> str:
    return "" if value is None else f"{value.quantize(Decimal(step), rounding=ROUND_HALF_UP):,f}"
