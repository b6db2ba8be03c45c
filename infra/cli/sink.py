"""`tokenmill sink`: store the topics in ClickHouse."""

import click

from infra.cli.options import BOTH, with_settings
from infra.cli.reach import require_topics
from infra.cli.stopping import leave_on_sigterm
from infra.config import Settings
from infra.metrics_server import serving


@click.command(
    epilog="""\b
Examples:
  tokenmill sink
  tokenmill sink --topic usage.rated.v1"""
)
@click.option("--topic", "topics", multiple=True, help="store this topic only; may be given several times")
@click.option("--accept-new-log", is_flag=True, help="go on although a topic was recreated: its rows are added as new")
@with_settings(*BOTH, "metrics_address", logs="info")
def sink(settings: Settings, topics: tuple[str, ...], accept_new_log: bool) -> None:
    """Run one sink process: every record of the topics is stored exactly once.

    Start several; they share the partitions. SIGTERM ends it with exit code 0.
    """
    leave_on_sigterm()
    with serving(settings.metrics_address, "sink") as health:
        require_topics(settings, *settings.topics.all(), patient=True)
        from sinks.runner import run_until_signal

        run_until_signal(settings, topics or None, accept_new_logs=accept_new_log, health=health)
