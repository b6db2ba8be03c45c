"""`tokenmill embedded`: one embedded part in the foreground."""

from pathlib import Path

import click

from infra.cli.options import with_settings
from infra.config import Settings


@click.group(
    epilog="""\b
Examples:
  tokenmill embedded kafka --port 9092 --data .tokenmill/kafka
  tokenmill embedded clickhouse --port 8123 --data .tokenmill/clickhouse"""
)
def embedded() -> None:
    """Run one embedded part in the foreground, until Ctrl-C or SIGTERM."""


@embedded.command(
    epilog="""\b
Example:
  tokenmill embedded clickhouse --port 8123 --data .tokenmill/clickhouse"""
)
@click.option("--port", type=click.IntRange(1, 65535), required=True, help="port on 127.0.0.1")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), required=True, help="directory of its files")
@with_settings(logs="info")
def clickhouse(settings: Settings, port: int, data: Path) -> None:
    """Run the embedded ClickHouse: chDB in one owner process, behind ClickHouse's own HTTP protocol."""
    from infra.embedded.clickhouse.service import serve

    serve(port=port, data=data)


@embedded.command(
    epilog="""\b
Example:
  tokenmill embedded kafka --port 9092 --data .tokenmill/kafka"""
)
@click.option("--port", type=click.IntRange(1, 65535), required=True, help="port on 127.0.0.1")
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), required=True, help="directory of its log file"
)
@with_settings(logs="info")
def kafka(settings: Settings, port: int, data: Path) -> None:
    """Run the embedded broker: Kafka's protocol, everything in memory, gone when it stops."""
    from infra.embedded.foreground import run_broker

    run_broker(port, data)
