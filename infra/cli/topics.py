"""`tokenmill topics`: create and check the topics."""

import click

from infra import topics as kafka_topics
from infra.cli.options import KAFKA, with_settings
from infra.cli.output import print_json
from infra.cli.reach import require_kafka
from infra.config import Settings


@click.group(
    epilog="""\b
Example:
  tokenmill topics apply"""
)
def topics() -> None:
    """The topics of the deployment."""


@topics.command(
    epilog="""\b
Examples:
  tokenmill topics apply
  tokenmill topics apply --kafka broker:9092 --replication-factor 3"""
)
@click.option(
    "--replication-factor", type=click.IntRange(1, 9), default=None, help="default: 3 on three brokers or more, else 1"
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*KAFKA)
def apply(settings: Settings, replication_factor: int | None, as_json: bool) -> None:
    """Create missing topics, correct settings that differ, register the logs. Safe to repeat."""
    require_kafka(settings)
    changes = kafka_topics.apply(settings, replication_factor=replication_factor)
    if as_json:
        print_json({"changes": changes})
        return
    for change in changes:
        click.echo(change)
    if not changes:
        click.echo("nothing to do: all topics are as they should be")
