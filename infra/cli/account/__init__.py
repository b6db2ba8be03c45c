"""`tokenmill account`: which card prices which tenant."""

import click

from infra.cli.account.assign import assign
from infra.cli.account.listing import list_accounts


@click.group(
    epilog="""\b
Examples:
  tokenmill account assign tenant-0001 standard --from 2026-01-01
  tokenmill account list"""
)
def account() -> None:
    """Accounts: which rate card prices which tenant."""


account.add_command(assign)
account.add_command(list_accounts)
