"""What commands print: JSON for programs, tables for people, colours only on a terminal."""

import click
import orjson
from rich.console import Console

console = Console(highlight=False)
"""Standard output."""
progress_console = Console(stderr=True, highlight=False)
"""Progress and remarks, so that standard output can be piped."""


def print_json(value: object) -> None:
    """Print one JSON document: money and quantities are texts, so nothing is lost on the way."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode())
