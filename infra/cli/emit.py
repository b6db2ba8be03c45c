"""`tokenmill emit`: send a trace or a synthetic workload."""

import re
import sys
from datetime import datetime
from pathlib import Path

import click

from infra.cli.options import KAFKA, Instant, with_settings
from infra.cli.output import progress_bar
from infra.cli.reach import require_topics
from infra.config import Settings

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType):
    """A length of time: a number with s, m, h or d; a number alone is seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", str(value).strip())
        if match is None or not float(match[1]):
            self.fail(f"{value!r} is not a duration such as 90s, 30m or 2h", param, ctx)
        return float(match[1]) * _UNITS_S[match[2] or "s"]


@click.command(
    epilog="""\b
Examples:
  tokenmill emit               200,000 synthetic requests and GPU samples
  tokenmill emit --rate 2000   2,000 events a second, until Ctrl-C
  tokenmill emit --rate 500 --duration 30m --profile chat --tenants 50
  tokenmill emit --requests 1000000 --hours 24 --seed 7 --duplicates 0.02
  tokenmill emit --trace AzureLLMInferenceTrace_conv.csv
  tokenmill emit --dry-run     what would be sent, by tenant, model and class"""
)
@click.option(
    "--trace", type=click.Path(path_type=Path, dir_okay=False), help="replay this trace (Azure, Mooncake, BurstGPT)"
)
@click.option("--requests", type=click.IntRange(1), help="synthetic requests; with --rate, events  [default: 200000]")
@click.option("--hours", type=click.IntRange(1), help="hours of event time, without --rate  [default: 6]")
@click.option("--rate", type=click.FloatRange(0.01, 500_000), help="events per second by the clock")
@click.option("--duration", type=Duration(), help="with --rate: how long, such as 90s, 30m or 2h")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="equal seeds give equal events")
@click.option("--start", type=Instant(), help="where event time starts  [default: 2026-01-01, with --rate now]")
@click.option(
    "--profile",
    type=click.Choice(["mixed", "inference", "chat", "code", "agent", "batch", "fine-tuning"]),
    help="kind of traffic  [default: mixed]",
)
@click.option("--tenants", type=click.IntRange(1, 10_000), default=8, show_default=True, help="number of tenants")
@click.option("--models", type=click.IntRange(1, 100), default=4, show_default=True, help="number of models")
@click.option("--gpus", type=click.IntRange(1), help="GPUs that serve  [default: as many as are busy for 60 %]")
@click.option("--errors", type=click.FloatRange(0, 0.5), help="share of requests that fail  [default: 0.03]")
@click.option("--late", type=click.FloatRange(0, 0.5), help="share of events that are minutes late  [default: 0.01]")
@click.option("--duplicates", type=click.FloatRange(0, 0.5), help="share of events sent twice  [default: 0.005]")
@click.option("--dry-run", is_flag=True, help="send nothing; print what would be sent")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*KAFKA)
def emit(
    settings: Settings,
    trace: Path | None,
    requests: int | None,
    hours: int | None,
    rate: float | None,
    duration: float | None,
    seed: int,
    start: datetime | None,
    profile: str | None,
    tenants: int,
    models: int,
    gpus: int | None,
    errors: float | None,
    late: float | None,
    duplicates: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send a trace or a synthetic workload into the log, and say whether all of it arrived.

    With --rate event times follow the clock; else everything is sent as fast as possible. A malformed row of a trace is
    reported with its line, becomes a dead letter and counts as offered. Ctrl-C sends what is under way.
    """
    from infra.cli.emitting import Asked, show_fed
    from infra.cli.outlet import interruptible

    chosen = Asked(
        trace, requests, hours, rate, duration, seed, start, profile, tenants, models, gpus, errors, late, duplicates
    ).choose()
    if dry_run:
        chosen.rehearse().show(as_json=as_json)
        return
    require_topics(settings, settings.topics.usage_events, settings.topics.gpu_samples)
    with interruptible() as interrupt, progress_bar("sending events", chosen.total) as advance:
        fed = chosen.feed(settings, advance, interrupt)
    show_fed(fed, as_json=as_json)
    if fed.signal is not None:
        sys.exit(128 + fed.signal)
