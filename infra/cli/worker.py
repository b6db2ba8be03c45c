"""`tokenmill worker`: meter and rate."""

import sys

import click

from infra.cli.options import KAFKA, with_settings
from infra.cli.reach import require_topics
from infra.cli.stopping import leave_on_sigterm
from infra.config import Settings
from infra.metrics_server import serving


@click.command(
    epilog="""\b
Examples:
  tokenmill worker
  TOKENMILL_KAFKA=broker:9092 tokenmill worker --deployment eu-1"""
)
@with_settings(*KAFKA, "metrics_address", logs="info")
def worker(settings: Settings) -> None:
    """Run one worker: meters GPUs, rates usage, writes rated records, signals and dead letters.

    Start several; they share the partitions. SIGTERM commits what was read and leaves with exit code 0.
    """
    leave_on_sigterm()
    with serving(settings.metrics_address, "worker") as health:
        require_topics(settings, *settings.topics.all(), patient=True)
        from streams.run import run_worker

        code = run_worker(settings, health)
    sys.exit(code)
