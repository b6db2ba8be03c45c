"""`tokenmill query`: ask ClickHouse."""

import os
import sys

import click

from infra.cli.local_store import store_of
from infra.cli.options import with_settings
from infra.clickhouse import connect, store_errors
from infra.config import Settings


@click.command(
    epilog="""\b
Examples:
  tokenmill query "SELECT tenant_id, sum(amount) FROM rated GROUP BY tenant_id"
  tokenmill query --json "SELECT count() FROM usage_raw"
  tokenmill query --format CSVWithNames "SELECT * FROM rated LIMIT 10" > rated.csv"""
)
@click.argument("sql")
@click.option("--format", "output_format", default=None, help="one of ClickHouse's output formats")
@click.option("--json", "as_json", is_flag=True, help="print JSON, one document")
@with_settings(logs="warning")
def query(settings: Settings, sql: str, output_format: str | None, as_json: bool) -> None:
    """Run SQL against the configured ClickHouse, or against what a demo left in the data directory."""
    chosen = "JSON" if as_json else output_format or ("PrettyCompact" if sys.stdout.isatty() else "TSVWithNames")
    with store_of(settings, os.environ) as clickhouse:
        client = connect(clickhouse)
        with store_errors("running the query"):
            answer = client.raw_query(sql, fmt=chosen, settings={"output_format_decimal_trailing_zeros": 0})
    sys.stdout.buffer.write(answer if answer.endswith(b"\n") or not answer else answer + b"\n")
