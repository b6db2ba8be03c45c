"""`tokenmill sink`: store the topics in ClickHouse."""

import signal
import threading

import click

from infra.cli.options import with_settings
from infra.config import Settings


@click.command(
    epilog="""\b
Examples:
  tokenmill sink
  tokenmill sink --topic usage.rated.v1"""
)
@click.option("--topic", "topics", multiple=True, help="store this topic only; may be given several times")
@click.option("--accept-new-log", is_flag=True, help="go on although a topic was recreated: its rows are added as new")
@with_settings()
def sink(settings: Settings, topics: tuple[str, ...], accept_new_log: bool) -> None:
    """Run one sink process: every record of the topics is stored exactly once.

    Start several; they share the partitions. SIGTERM ends it with exit code 0.
    """
    from sinks.runner import run_sink

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run_sink(settings, stop, topics or None, accept_new_logs=accept_new_log)
