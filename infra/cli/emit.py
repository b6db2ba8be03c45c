"""`tokenmill emit`: send a trace or a synthetic workload."""

from datetime import datetime
from pathlib import Path

import click

from infra.cli.options import KAFKA, Instant, with_settings
from infra.cli.output import print_json, progress_bar
from infra.cli.reach import require_topics
from infra.config import Settings


@click.command(
    epilog="""\b
Examples:
  tokenmill emit             200,000 synthetic requests and their GPU samples
  tokenmill emit --requests 1000000 --seed 7
  tokenmill emit --trace AzureLLMInferenceTrace_conv.csv"""
)
@click.option(
    "--trace", type=click.Path(path_type=Path, dir_okay=False), help="replay this trace (Azure, Mooncake, BurstGPT)"
)
@click.option("--tenants", type=click.IntRange(1), default=8, show_default=True, help="number of tenants")
@click.option("--models", type=click.IntRange(1), default=4, show_default=True, help="number of models")
@click.option("--seed", type=int, default=0, show_default=True, help="equal seeds give equal events")
@click.option(
    "--start", type=Instant(), default="2026-01-01T00:00:00Z", show_default=True, help="where relative clocks start"
)
@click.option("--requests", type=click.IntRange(1), default=200_000, show_default=True, help="synthetic requests")
@click.option(
    "--hours", type=click.IntRange(1), default=6, show_default=True, help="hours of event time of the workload"
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*KAFKA)
def emit(
    settings: Settings,
    trace: Path | None,
    tenants: int,
    models: int,
    seed: int,
    start: datetime,
    requests: int,
    hours: int,
    as_json: bool,
) -> None:
    """Send a trace or a synthetic workload into the log, and say whether all of it arrived.

    A malformed row of a trace is reported with its line, goes to the dead letters and counts as offered.
    """
    from infra.cli.feeding import feed_trace, feed_workload, show_rejected
    from producers.trace import TraceOptions, open_trace
    from producers.workload.workload import Workload

    opened = None if trace is None else open_trace(trace, TraceOptions(tenants, models, seed, start))
    require_topics(settings, settings.topics.usage_events, settings.topics.gpu_samples)
    with progress_bar("sending events") as advance:
        if opened is not None:
            fed = feed_trace(settings, opened, advance)
        else:
            workload = Workload(seed=seed, tenants=tenants, models=models, requests=requests, start=start, hours=hours)
            fed = feed_workload(settings, workload, advance)
    show_rejected(fed)
    if as_json:
        print_json(
            {
                "events": fed.events,
                "samples": fed.samples,
                "malformed_rows": fed.rejected_rows,
                "events_per_s": fed.events_per_s,
            }
        )
        return
    samples = f" and {fed.samples:,} GPU samples" if fed.samples else ""
    click.echo(f"delivered {fed.events:,} events{samples} in {fed.seconds:.1f} s ({fed.events_per_s:,}/s)")
    if fed.rejected_rows:
        click.echo(f"{fed.rejected_rows:,} malformed rows among them: they become dead letters")
