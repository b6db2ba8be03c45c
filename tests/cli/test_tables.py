"""What a demo prints fits a terminal of 80 columns, whole numbers in one piece, and a pipe."""

from __future__ import annotations

import io
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from infra.cli import invoice_view, output
from infra.cli.demo import screen
from infra.cli.demo.flow import Timed
from infra.cli.demo.results import Results
from infra.cli.feeding import Fed
from infra.cli.outlet import Sent
from producers.emitter import Delivery
from rating.invoice_tiers import InvoiceTier
from rating.invoices import Invoice, InvoiceLine
from sinks.balance import Balance, Counts, SourceCounts
from sinks.findings import Report
from sinks.queries import GpuTypeUsage, ModelUsage, TokenPrice

_TENANTS = [f"tenant-{number:04d}" for number in range(3)]


def _tier(lower: str, upper: str | None) -> InvoiceTier:
    price, quantity, amount = Decimal("0.45"), Decimal(2_000_000), Decimal("123.123456789012")
    top = None if upper is None else Decimal(upper)
    return InvoiceTier("standard", 1, Decimal(lower), top, quantity, price, Decimal(1_000_000), amount)


def _invoice(tenant: str) -> Invoice:
    lines = [
        InvoiceLine(
            sku=sku,
            meter="output",
            kind="usage",
            service_period="2026-01",
            quantity=Decimal(199_195_135),
            unit="requests",
            exact_amount=Decimal("12345.678"),
            amount=Decimal("12345.68"),
            dimensions={},
            seller_id=None,
            tiers=(_tier("0", "500000"), _tier("500000", None)),
        )
        for sku in ("model-00/output", "uncharged/status_error/input_cache_read")
    ]
    return Invoice(tenant, "2026-01", "USD", tuple(lines), (), Decimal("24691.36"), True)


def _results(*, rerouted: int = 0) -> Results:
    counts = Counts(
        read=1_200_000, rated=1_000_000, duplicate=150_000, dead_letter=50_000, by_code={"conflict": 50_000}
    )
    moved = Counts(read=1_249, rated=1_249 - rerouted, rerouted=rerouted)
    sources = [SourceCounts(0, f"gateway/{number:02d}", counts) for number in range(2)]
    sources += [SourceCounts(number, f"gpu-meter/{number}", moved) for number in range(4)]
    sources.append(SourceCounts(0, "trace/" + "0123456789abcdef" * 4, counts))
    usage = [
        ModelUsage(tenant, model, 123_456, 999_999_999, 987_654_321, 12_345_678, 1_234_567, {"USD": Decimal("9876.54")})
        for tenant in _TENANTS
        for model in ("", "model-00", "model-01")
    ]
    gpu = GpuTypeUsage(
        *("H100/3g.40gb", Decimal("12345.67"), Decimal("100"), Decimal("9000"), Decimal("0"), Decimal("12345.67")),
        *(1, 999_999_999, 9_999_999),
    )
    return Results(
        Timed(Fed(201_000, 40_000, (), 0, 2.0, Sent(Delivery(201_000, 0, 0), Delivery(40_000, 0, 0))), 12.0, 18.0),
        Balance(tuple(sources)),
        usage,
        [gpu],
        [TokenPrice("USD", Decimal(10**9), Decimal(1000))],
        [_invoice(tenant) for tenant in _TENANTS],
        Report(0, 0, Decimal(0), {"offered": 1}, ()),
        1_000,
    )


@pytest.fixture(params=[80, 120])
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Console:
    shown = Console(file=io.StringIO(), width=request.param, color_system=None, highlight=False, force_terminal=True)
    for module in (output, screen, invoice_view):
        monkeypatch.setattr(module, "console", shown)
    return shown


def _printed(terminal: Console) -> str:
    assert isinstance(terminal.file, io.StringIO)
    return terminal.file.getvalue()


def test_no_line_is_wider_than_the_terminal(terminal: Console) -> None:
    screen.show(_results(), _TENANTS[0], Path(".tokenmill"))
    assert max(len(line) for line in _printed(terminal).splitlines()) <= terminal.width


def test_no_number_is_cut(terminal: Console) -> None:
    screen.show(_results(rerouted=3), _TENANTS[0], Path(".tokenmill"))
    text = _printed(terminal)
    assert "…" not in text.replace("trace/01234567…", "")
    for number in (
        "3,604,996",
        "999,999,999",
        "987,654,321",
        "9,876.54 USD",
        "12,345.68 USD",
        "157,680.00",
        "18,396.00",
    ):
        assert f" {number}" in text, number


def test_the_gpu_meters_sources_are_one_line_and_rerouted_is_shown_where_there_is_any(terminal: Console) -> None:
    screen.show(_results(), _TENANTS[0], Path(".tokenmill"))
    assert "rerouted" not in _printed(terminal)
    screen.show(_results(rerouted=3), _TENANTS[0], Path(".tokenmill"))
    text = _printed(terminal)
    assert "rerouted" in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("gpu-meter")] == ["4,996", "4,996"]


def test_commands_to_try_are_one_line_each_and_name_the_directory(terminal: Console) -> None:
    screen.show(_results(), _TENANTS[0], Path("/some where/data"))
    text = _printed(terminal)
    assert "tokenmill query --data-dir '/some where/data' \"SELECT sku, sum(amount) FROM rated GROUP BY sku\"\n" in text
    assert "tokenmill invoice --data-dir '/some where/data' --tenant tenant-0000\n" in text


def test_the_tiers_of_a_line_stand_below_it_with_their_amounts(terminal: Console) -> None:
    invoice_view.show_invoice(_invoice("t"))
    lines = [" ".join(line.split()) for line in _printed(terminal).splitlines()]
    start = lines.index("model-00/output 199,195,135 requests 12,345.68 USD")
    assert lines[start + 1] == "up to 500,000 at 0.45 per 1,000,000 2,000,000 123.123456789012"
    assert lines[start + 2] == "above 500,000 at 0.45 per 1,000,000 2,000,000 123.123456789012"
    assert "total 24,691.36 USD" in lines


def test_a_table_is_whole_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Console(file=io.StringIO(), width=80, highlight=False)
    monkeypatch.setattr(invoice_view, "console", pipe)
    wide = output.table("", "a", "b")
    wide.add_row("1" * 70, "2" * 70)
    invoice_view.print_whole(wide)
    assert f"{'1' * 70} {'2' * 70}" in " ".join(_printed(pipe).split())
