"""`tokenmill wallet`: prepaid credits of tenants."""

import click

from infra.cli.wallet.grant import grant
from infra.cli.wallet.show import show
from infra.cli.wallet.transfer import transfer
from infra.cli.wallet.void import void


@click.group(
    epilog="""\b
Examples:
  tokenmill wallet grant acme 500 --unit USD --id po-4711
  tokenmill wallet show acme"""
)
def wallet() -> None:
    """Prepaid credits: grant them, take them back, move them, see what is left."""


wallet.add_command(grant)
wallet.add_command(show)
wallet.add_command(transfer)
wallet.add_command(void)
