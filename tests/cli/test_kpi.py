"""What `tokenmill kpi` prints: tables in which no number is cut, in a terminal and in a pipe, and JSON with exact figures."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from infra.cli.kpi import screen
from infra.cli.kpi.report import Economics, Governance, KpiReport, Split
from infra.cli.kpi.screen import show
from infra.cli.plain import plain
from sinks.kpi_economics import GpuEconomics, Revenue, comparison
from sinks.kpi_governance import PriceChange, RateLimitHits, SignalCount, UnpricedUsage
from sinks.kpi_scope import Dimension, Place, Scope
from sinks.kpi_usage import ErrorType, Objective, PerformanceRow, Quantiles, ReliabilityRow, TokenUsageRow
from tests.cli.conftest import Run

PLACE = Place("2026-01-01T00:00Z", "tenant-0000", "llama-70b-instruct", "/v1/chat/completions")
AT = datetime(2026, 1, 1, tzinfo=UTC)


def report(*per: Dimension, by_hour: bool = False, economics: Economics | None = None) -> KpiReport:
    quantiles = Quantiles(123_456_789, 0.0123, 0.123, 1.234, 123.456)
    tokens = TokenUsageRow(PLACE, 123_456_789, 987_654_321, 123_456, 0, 876_543_219, 765_432_198)
    speed = PerformanceRow(PLACE, 3600, 123_456_789, 876_543_219, 800_000_000, 876_543_219, *[quantiles] * 3)
    failures = ReliabilityRow(PLACE, 123_456_789, 1_234_567, 1_234_567, 1_234_567, 9, 987_654_321, 12_345, 12_345)
    governance = Governance(
        [UnpricedUsage("tenant-0000", "input_uncached", Decimal("987654321"), "tokens", AT)],
        [RateLimitHits("tenant-0000", 5, 50)],
        [SignalCount("unpriced_usage", "raised", 1)],
        [
            PriceChange(
                AT, "anna", "rate card", "", "standard", 2, ("llama/input: 0.15 per 1000000 -> 0.20 per 1000000",)
            )
        ],
    )
    return KpiReport(
        Scope(by="hour" if by_hour else None, per=per),
        Objective(),
        Decimal("3.00"),
        "USD",
        Split([tokens], tokens),
        Split([speed], speed),
        Split([failures], failures),
        [ErrorType("engine_error", 500, 9, 9)],
        governance,
        economics,
    )


def gpus() -> Economics:
    gpu = GpuEconomics(
        "", "H100", Decimal("12345.67"), Decimal(100), Decimal(9000), Decimal(0), Decimal(10**9), 1, 10**9, 10**8, 10**7
    )
    money = Revenue("", "JPY", Decimal("123456789.4"), Decimal(100), Decimal(10**9), Decimal("12345.67"))
    cases = comparison([gpu], Decimal("0.4"), gpu_hour_price=Decimal(3), rented_share=Decimal("0.7"))
    return Economics([gpu], [gpu], [money], [money], cases)


@pytest.fixture(params=[80, 120])
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Console:
    shown = Console(file=io.StringIO(), width=request.param, color_system=None, highlight=False, force_terminal=True)
    monkeypatch.setattr("infra.cli.output.console", shown)
    monkeypatch.setattr(screen, "console", shown)
    return shown


def printed(terminal: Console) -> str:
    assert isinstance(terminal.file, io.StringIO)
    return terminal.file.getvalue()


@pytest.mark.parametrize("by_hour", [False, True])
@pytest.mark.parametrize("per", [(), ("model",), ("tenant", "model", "endpoint")])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(
    terminal: Console, per: tuple[Dimension, ...], by_hour: bool
) -> None:
    show(report(*per, by_hour=by_hour, economics=gpus()))
    text = printed(terminal)
    assert max(len(line) for line in text.splitlines()) <= terminal.width
    for row in [line for line in text.splitlines() if " 1,234,567 " in line or " 1.2 M " in line]:
        assert "123,456,789" in row or "123.5 M" in row
        assert "987,654,321" in row or "987.7 M" in row
    for figure in ("12,345.67", "123,456,789", "157,680.00", "18,396.00", "315,360.00", "987,654,321"):
        assert figure in text, figure


def test_a_question_about_one_tenant_shows_no_gpu_figures(terminal: Console) -> None:
    found = report("model", economics=Economics([], [], gpus().revenue, gpus().revenue, []))
    one = Scope(tenant="acme", per=("model",))
    object.__setattr__(found, "scope", one)
    show(found)
    assert "a GPU serves many" in printed(terminal)
    assert "GPU-hours\nallocated" not in printed(terminal)


def test_an_empty_answer_says_so(terminal: Console) -> None:
    scope = Scope(tenant="nobody")
    nothing = KpiReport(
        scope, Objective(), Decimal(3), "USD", Split([], None), Split([], None), Split([], None), [], None, None
    )
    show(nothing)
    assert " ".join(printed(terminal).split()).count("nothing was used by nobody") == 3


def test_json_holds_derived_figures_and_exact_amounts() -> None:
    found = report("model", economics=gpus()).as_json()
    assert json.loads(json.dumps(found))["tokens"]["total"]["tokens"] == 1_864_197_540
    assert found["scope"] == {"tenant": None, "model": None, "start": None, "end": None, "by": None, "per": ["model"]}
    revenue = plain(gpus().revenue[0])
    assert isinstance(revenue, dict)
    assert revenue["amount"] == "123456789.4"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "2026-01-01T00:30Z"], "is not a full hour"),
        (["--from", "2026-02-01", "--to", "2026-01-01"], "must be after --from"),
        (["--gpu-hour-cost", "-1"], "is not an amount of at least 0"),
        (["--gpu-hour-cost", "NaN"], "is not an amount of at least 0"),
        (["speed"], "is not one of"),
    ],
)
def test_a_wrong_question_is_a_usage_error(tokenmill: Run, arguments: list[str], said: str) -> None:
    ended = tokenmill("kpi", *arguments)
    assert ended.code == 2
    assert said in ended.err


def test_without_a_store_the_answer_says_what_to_do(tokenmill: Run, tmp_path: Path) -> None:
    ended = tokenmill("kpi", "--clickhouse", "http://127.0.0.1:1")
    assert ended.code == 1
    assert "no ClickHouse answers at 127.0.0.1:1" in ended.err
