"""`tokenmill demo`: the whole path, from events to reconciled invoices, on embedded parts."""

import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click
import orjson

from infra.cli.options import Instant, with_settings
from infra.cli.stopping import clean_up_on_signals
from infra.config import Settings


@click.command(
    epilog="""\b
Examples:
  tokenmill demo
  tokenmill demo --trace AzureLLMInferenceTrace_conv.csv --tenants 20
  tokenmill demo --requests 1000000 --seed 7 --json report.json"""
)
@click.option(
    "--trace", type=click.Path(path_type=Path, dir_okay=False), help="replay this trace (Azure, Mooncake, BurstGPT)"
)
@click.option("--tenants", type=click.IntRange(1), default=12, show_default=True, help="number of tenants")
@click.option("--models", type=click.IntRange(1), default=4, show_default=True, help="number of models")
@click.option("--seed", type=int, default=0, show_default=True, help="equal seeds give equal results")
@click.option(
    "--start", type=Instant(), default="2026-01-01T00:00:00Z", show_default=True, help="where relative clocks start"
)
@click.option("--requests", type=click.IntRange(1), default=200_000, show_default=True, help="synthetic requests")
@click.option(
    "--hours", type=click.IntRange(1), default=6, show_default=True, help="hours of event time of the workload"
)
@click.option("--card", type=click.Path(path_type=Path, dir_okay=False), help="charge every tenant by this rate card")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), help="write a report"
)
@with_settings("data_dir", "deployment")
def demo(
    settings: Settings,
    trace: Path | None,
    tenants: int,
    models: int,
    seed: int,
    start: datetime,
    requests: int,
    hours: int,
    card: Path | None,
    json_file: Path | None,
) -> None:
    """Run everything once on embedded parts: Kafka's protocol, ClickHouse, a worker and a sink, with nothing to set up.

    Emits a seeded synthetic workload with its GPU samples, or a public trace; meters, rates, stores and reconciles it, and
    shows what came out. The data stay in the data directory for `tokenmill query`. Exit code 1 if anything is off.
    """
    from infra.card_files import EXAMPLES
    from infra.cli.cards import load_card
    from infra.cli.demo import flow
    from infra.cli.demo.report import report
    from infra.cli.demo.results import collect
    from infra.cli.demo.screen import show
    from infra.cli.demo.stack import embedded_stack
    from infra.cli.feeding import show_rejected
    from infra.cli.output import progress_console, remark
    from infra.cli.steps import Steps
    from producers.trace import TraceOptions, open_trace
    from producers.workload.workload import Workload

    if json_file is not None and not json_file.parent.is_dir():
        raise click.BadParameter(f"there is no directory {json_file.parent}", param_hint="--json")
    if card is not None:
        load_card(card, settings)
    if trace is not None:
        opened = open_trace(trace, TraceOptions(tenants, models, seed, start))
        source = flow.trace_input(opened, card or EXAMPLES / "standard.yaml")
    else:
        workload = Workload(seed=seed, tenants=tenants, models=models, requests=requests, start=start, hours=hours)
        source = flow.workload_input(workload, card)
    clean_up_on_signals()
    if not progress_console.is_terminal:
        remark("tokenmill demo: starting the embedded parts")
    with Steps() as steps:
        steps.step("starting the embedded broker and ClickHouse")
        with embedded_stack(replace(settings, data_dir=settings.data_dir.absolute())) as stack:
            timed = flow.run(stack, source, steps)
            steps.step("reconciling")
            results = collect(stack.settings, timed)
            steps.step("stopping")
    show_rejected(timed.fed)
    if json_file is not None:
        document = orjson.dumps(report(results), option=orjson.OPT_INDENT_2) + b"\n"
        if str(json_file) == "-":
            sys.stdout.buffer.write(document)
        else:
            json_file.write_bytes(document)
    if str(json_file) != "-":
        show(results, source.tenants[0], settings.data_dir)
    sys.exit(0 if results.reconciliation.ok else 1)
