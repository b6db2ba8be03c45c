"""What a person sees of a demo: the steps while it runs, then the tables."""

import time
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from types import TracebackType
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from infra.cli.demo.results import Results
from infra.cli.invoice_view import money, show_invoice
from infra.cli.output import console, progress_console
from rating.comparison import compare
from rating.money import round_to_currency
from sinks.balance import OUTCOMES
from sinks.queries import ModelUsage

_EXAMPLE_UTILISATION = Decimal("0.7")
_GPU_HOUR_PRICE = Decimal("3.00")


class Steps:
    """Shows the steps on standard error: a line for each, with a counter and the time it took."""

    def __init__(self) -> None:
        self._began = self._step_began = time.monotonic()
        self._what = ""
        self._done = 0
        self._live = Live(console=progress_console, refresh_per_second=8, transient=True)
        self._is_terminal = progress_console.is_terminal

    def __enter__(self) -> Self:
        if self._is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._finish()
        if self._is_terminal:
            self._live.stop()

    def step(self, what: str, total: int | None = None) -> Callable[[int], None]:
        """Begin a step; the one before is done."""
        self._finish()
        self._what, self._done, self._step_began = what, 0, time.monotonic()
        self._draw()

        def advance(number: int) -> None:
            self._done += number
            self._draw()

        return advance

    def _draw(self) -> None:
        if self._is_terminal:
            counter = f" {abs(self._done):,}{' to go' if self._done < 0 else ''}" if self._done else ""
            self._live.update(Spinner("dots", f"{self._what}{counter}"))

    def _finish(self) -> None:
        if self._what:
            seconds = time.monotonic() - self._step_began
            counter = f" {self._done:,}" if self._done > 0 else ""
            progress_console.print(f"[green]✓[/] {self._what}{counter} [dim]{seconds:.1f} s[/]")
            self._what = ""


def show(results: Results, shown_tenant: str | None) -> None:
    """Print everything the demo has to show."""
    _balance(results)
    _usage(results.usage)
    _gpus(results)
    chosen = [each for each in results.invoices if shown_tenant in (None, each.tenant_id)] or results.invoices
    if chosen:
        show_invoice(chosen[0])
    _comparison(results)
    _reconciliation(results)
    _next_steps(results)


def _table(title: str) -> Table:
    return Table(title=f"[bold]{title}[/]", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), title_style="")


def _balance(results: Results) -> None:
    table = _table("Balance: where every event that was read ended")
    table.add_column("source")
    for name in ("read", *OUTCOMES):
        table.add_column(name.replace("_", " "), justify="right")
    for source, counts in results.balance.by_source().items():
        table.add_row(source, *(f"{getattr(counts, name):,}" for name in ("read", *OUTCOMES)))
    total = results.balance.total
    table.add_section()
    table.add_row("[bold]all[/]", *(f"[bold]{getattr(total, name):,}[/]" for name in ("read", *OUTCOMES)))
    console.print(table)
    for code, number in total.by_code.items():
        console.print(f"  {number:,} {code}")


def _usage(usage: list[ModelUsage]) -> None:
    table = _table("Usage and money by tenant and model")
    for name in ("tenant", "model"):
        table.add_column(name)
    for name in ("requests", "input", "of it cached", "output", "of it reasoning", "amount"):
        table.add_column(name, justify="right")
    last = ""
    for each in usage:
        amounts = ", ".join(money(round_to_currency(amount, code), code) for code, amount in each.amounts.items())
        counts = (each.requests, each.input_tokens, each.cache_read_tokens, each.output_tokens, each.reasoning_tokens)
        tenant = each.tenant_id if each.tenant_id != last else ""
        last = each.tenant_id
        table.add_row(
            tenant, each.model or "[dim]fees, GPUs[/]", *(f"{count:,}" if count else "" for count in counts), amounts
        )
    console.print(table)


def _gpus(results: Results) -> None:
    if not results.gpus:
        return
    table = _table("GPU-hours and tokens by GPU type")
    table.add_column("GPU type")
    for name in ("allocated h", "idle h", "busy h", "energy kWh", "tokens", "tokens per GPU-hour", "utilisation"):
        table.add_column(name, justify="right")
    for each in results.gpus:
        share = each.utilisation
        table.add_row(
            each.gpu_type,
            _rounded(each.allocated_hours),
            _rounded(each.idle_hours),
            _rounded(each.busy_hours),
            _rounded(each.energy_kwh),
            f"{each.tokens:,}",
            _rounded(each.tokens_per_gpu_hour, "1"),
            "" if share is None else f"{_rounded(share * 100, '0.1')} %",
        )
    console.print(table)


def _comparison(results: Results) -> None:
    """Selling tokens beside renting the GPU: the reference case, then the same from what was measured."""
    table = _table("One GPU for a year: sold as tokens, or rented by the hour")
    for name in (
        "case",
        "USD per million",
        "tokens per hour",
        "at",
        "as tokens, USD a year",
        "by the hour, USD a year",
    ):
        table.add_column(name, justify="right" if name != "case" else "left")
    rows = [("reference", Decimal(1), Decimal(millions * 1_000_000), Decimal("0.6")) for millions in (30, 60)]
    price = next((each.per_million for each in results.prices if each.currency == "USD"), None)
    for gpu in results.gpus:
        if price and gpu.tokens_per_busy_hour and gpu.utilisation and gpu.tokens:
            rows.append((f"measured, {gpu.gpu_type}", price, gpu.tokens_per_busy_hour, gpu.utilisation))
    for case, per_million, tokens_per_hour, share in rows:
        outcome = compare(
            price_per_million=per_million,
            tokens_per_hour=tokens_per_hour,
            token_utilisation=share,
            price_per_gpu_hour=_GPU_HOUR_PRICE,
            gpu_utilisation=_EXAMPLE_UTILISATION,
        )
        table.add_row(
            case,
            _rounded(per_million, "0.0001"),
            _rounded(tokens_per_hour, "1"),
            f"{_rounded(share * 100, '0.1')} %",
            _rounded(outcome.tokens.per_year),
            _rounded(outcome.gpu_hours.per_year),
        )
    console.print(table)
    console.print(f"  [dim]renting: {_GPU_HOUR_PRICE} USD per GPU-hour, 70 % of the hours[/]")


def _reconciliation(results: Results) -> None:
    report = results.reconciliation
    colour, word = ("green", "in balance") if report.ok else ("red", "NOT in balance")
    difference = report.as_json()["amount_difference"]
    console.print(
        f"[bold]Reconciliation:[/] [{colour}]{word}[/], {report.missing} missing, {report.duplicated} duplicated, "
        f"amounts differ by {difference}"
    )
    for problem in report.problems:
        console.print(f"  {problem}", markup=False)


def _next_steps(results: Results) -> None:
    timed = results.timed
    console.print(
        f"[bold]Speed:[/] produced {timed.fed.events_per_s:,} events/s; "
        f"rated within {timed.rated_s:.1f} s and stored within {timed.stored_s:.1f} s of the first event"
    )
    console.print(
        "\nThe data stay in the data directory. Try:\n"
        '  tokenmill query "SELECT sku, sum(quantity), sum(amount) FROM rated GROUP BY sku"\n'
        "  tokenmill invoice --tenant tenant-0000\n"
        "  tokenmill demo --trace FILE        an Azure, Mooncake or BurstGPT trace\n"
        "  tokenmill demo --json report.json  the same as data",
        markup=False,
    )


def _rounded(value: Decimal | None, step: str = "0.01") -> str:
    return "" if value is None else f"{value.quantize(Decimal(step), rounding=ROUND_HALF_UP):,f}"
