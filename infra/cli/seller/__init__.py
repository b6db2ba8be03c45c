"""`tokenmill seller`: what is due to those whose services are resold."""

import click

from infra.cli.seller.statement import statement


@click.group(
    epilog="""\b
Example:
  tokenmill seller statement --period 2026-01"""
)
def seller() -> None:
    """Sellers: whose services are resold, and what is due to them."""


seller.add_command(statement)
