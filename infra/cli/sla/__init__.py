"""`tokenmill sla`: service levels, what was measured of them, and what is credited."""

import click

from infra.cli.sla.credit import credit
from infra.cli.sla.report import report


@click.group(
    epilog="""\b
Examples:
  tokenmill sla report --period 2026-01
  tokenmill sla credit --period 2026-01"""
)
def sla() -> None:
    """Service levels: were they kept, and what is credited where they were not."""


for _command in (report, credit):
    sla.add_command(_command)
