"""`tokenmill query`: ask ClickHouse."""

import re
import sys

import click

from infra.cli.local_store import store_of
from infra.cli.options import STORE, with_settings
from infra.clickhouse import connect, store_errors
from infra.config import Settings

_NAMES_FORMAT = re.compile(r"\bFORMAT\s+\w+\s*;?\s*$", re.IGNORECASE)
_OUTPUT = {
    # Amounts are exact decimals: as JSON numbers a reader would turn them into binary fractions.
    "output_format_json_quote_decimals": 1,
    "output_format_decimal_trailing_zeros": 0,
}


@click.command(
    epilog="""\b
Examples:
  tokenmill query "SELECT tenant_id, sum(amount) FROM rated GROUP BY 1"
  tokenmill query --json "SELECT count() FROM usage_raw"
  tokenmill query --format CSVWithNames "SELECT * FROM rated" > rated.csv"""
)
@click.argument("sql")
@click.option("--format", "output_format", default=None, help="one of ClickHouse's output formats")
@click.option("--json", "as_json", is_flag=True, help="print JSON, one document; amounts are texts")
@with_settings(*STORE)
def query(settings: Settings, sql: str, output_format: str | None, as_json: bool) -> None:
    """Run SQL against the configured ClickHouse, or against what a demo left in the data directory."""
    if not sql.strip(" \n\t;"):
        raise click.UsageError('there is no query: try tokenmill query "SHOW TABLES"')
    chosen = "JSON" if as_json else output_format or ("PrettyCompact" if sys.stdout.isatty() else "TSVWithNames")
    named = _NAMES_FORMAT.search(sql) is not None
    with store_of(settings) as clickhouse:
        client = connect(clickhouse)
        with store_errors("running the query"):
            answer = client.raw_query(sql, fmt=None if named else chosen, settings=_OUTPUT)
    sys.stdout.buffer.write(answer if answer.endswith(b"\n") or not answer else answer + b"\n")
