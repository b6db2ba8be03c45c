"""What a person sees of a demo when it is over: the tables."""

import shlex
import shutil
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from infra.cli.demo.results import Results
from infra.cli.invoice_view import money, show_invoice
from infra.cli.output import console, table
from infra.config import Settings
from rating.comparison import compare
from rating.money import round_to_currency
from sinks.balance import OUTCOMES, Balance, Counts, total
from sinks.queries import ModelUsage

_EXAMPLE_UTILISATION = Decimal("0.7")
_GPU_HOUR_PRICE = Decimal("3.00")
_LONGEST_SOURCE = 12


def show(results: Results, shown_tenant: str, data_dir: Path) -> None:
    """Print everything the demo has to show."""
    _balance(results)
    _usage(results)
    _gpus(results)
    chosen = [each for each in results.invoices if each.tenant_id == shown_tenant] or results.invoices
    if chosen:
        show_invoice(chosen[0])
        console.print()
    _comparison(results)
    _reconciliation(results)
    _next_steps(results, data_dir)


def _balance(results: Results) -> None:
    counts = results.balance.total
    columns = ["read", *(name for name in OUTCOMES if name != "rerouted" or counts.rerouted)]
    shown = table("Balance: where every event that was read ended", "source", *(_heading(name) for name in columns))
    for source, of_source in _by_kind_of_source(results.balance).items():
        shown.add_row(source, *(f"{getattr(of_source, name):,}" for name in columns))
    shown.add_section()
    shown.add_row("[bold]all[/]", *(f"[bold]{getattr(counts, name):,}[/]" for name in columns))
    console.print(shown)
    for code, number in counts.by_code.items():
        console.print(f"  {number:,} {code}")
    console.print()


def _by_kind_of_source(balance: Balance) -> dict[str, Counts]:
    """Counts by source; the GPU meter has one source for each partition, which say little apart."""
    kinds: dict[str, list[Counts]] = {}
    for source, counts in balance.by_source().items():
        kind, _, rest = source.partition("/")
        short = rest if len(rest) <= _LONGEST_SOURCE else rest[:8] + "…"
        kinds.setdefault("gpu-meter" if kind == "gpu-meter" else f"{kind}/{short}" if rest else source, []).append(
            counts
        )
    return {kind: total(counts) for kind, counts in kinds.items()}


def _heading(name: str) -> str:
    """A heading that leaves numbers the room: eight columns of them have to fit 80."""
    return "quaran-\ntined" if name == "quarantined" else name.replace("_", "\n")


def _usage(results: Results) -> None:
    shown = table(
        "Usage and money by tenant and model",
        "tenant, model",
        *("requests", "input", "of it\ncached", "output", "of it\nreasoning", "amount"),
    )
    by_tenant: dict[str, list[ModelUsage]] = {}
    for each in results.usage:
        by_tenant.setdefault(each.tenant_id, []).append(each)
    for tenant, models in by_tenant.items():
        totals = [money(each.total, each.currency) for each in results.invoices if each.tenant_id == tenant]
        shown.add_row(f"[bold]{tenant}[/]", "", "", "", "", "", f"[bold]{', '.join(totals)}[/]")
        for each in models:
            shown.add_row(*_model_row(each))
    console.print(shown)
    console.print("  [dim]Bold: the total of the invoice, which rounds each of its lines.[/]\n")


def _model_row(usage: ModelUsage) -> list[str]:
    amounts = ", ".join(money(round_to_currency(amount, code), code) for code, amount in usage.amounts.items())
    counts = (usage.requests, usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, usage.reasoning_tokens)
    name = usage.model or "[dim]fees, GPUs[/]"
    return [f"  {name}", *(f"{count:,}" if count else "" for count in counts), amounts]


def _gpus(results: Results) -> None:
    if not results.gpus:
        return
    shown = table(
        "GPU-hours and tokens by GPU type",
        "GPU type",
        *("allocated\nhours", "idle\nhours", "busy\nhours", "energy\nkWh"),
        *("tokens", "tokens per\nGPU-hour", "busy\nshare"),
    )
    for each in results.gpus:
        share = each.utilisation
        shown.add_row(
            each.gpu_type,
            _rounded(each.allocated_hours),
            _rounded(each.idle_hours),
            _rounded(each.busy_hours),
            _rounded(each.energy_kwh),
            f"{each.tokens:,}",
            _rounded(each.tokens_per_gpu_hour, "1"),
            "" if share is None else f"{_rounded(share * 100, '0.1')} %",
        )
    console.print(shown)
    console.print()


def _comparison(results: Results) -> None:
    """Selling tokens beside renting the GPU: the reference case, then the same from what was measured."""
    shown = table(
        "One GPU for a year: sold as tokens, or rented by the hour",
        "case",
        *("USD per\nmillion", "tokens\nper hour", "busy\nshare", "as tokens,\nUSD a year", "by the hour,\nUSD a year"),
    )
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
        shown.add_row(
            case,
            _rounded(per_million, "0.0001"),
            _rounded(tokens_per_hour, "1"),
            f"{_rounded(share * 100, '0.1')} %",
            _rounded(outcome.tokens.per_year),
            _rounded(outcome.gpu_hours.per_year),
        )
    console.print(shown)
    console.print(f"  [dim]by the hour: {_GPU_HOUR_PRICE} USD per GPU-hour, rented for 70 % of the hours[/]\n")


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


def _next_steps(results: Results, data_dir: Path) -> None:
    timed = results.timed
    console.print(
        f"[bold]Speed:[/] produced {timed.fed.events_per_s:,} events/s;\n"
        f"rated within {timed.rated_s:.1f} s and stored within {timed.stored_s:.1f} s of the first event"
    )
    name, where = _own_name(), "" if data_dir == Settings().data_dir else f" --data-dir {shlex.quote(str(data_dir))}"
    lines = [
        f"\nThe data stay in {data_dir}. Try:",
        f'  {name} query{where} "SELECT sku, sum(amount) FROM rated GROUP BY sku"',
        f"  {name} invoice{where} --tenant tenant-0000",
        f"  {name} demo --trace FILE        an Azure, Mooncake or BurstGPT trace",
        f"  {name} demo --json report.json  the same as data",
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def _own_name() -> str:
    """How this program can be called from this shell."""
    called = Path(sys.argv[0])
    if shutil.which("tokenmill") or called.name != "tokenmill":
        return "tokenmill"
    here = Path.cwd()
    return str(called.relative_to(here) if called.is_relative_to(here) else called)


def _rounded(value: Decimal | None, step: str = "0.01") -> str:
    return "" if value is None else f"{value.quantize(Decimal(step), rounding=ROUND_HALF_UP):,f}"
