"""`tokenmill schema`: the contracts on the wire, for those who send and read."""

import click

from infra.cli.schema.check import check
from infra.cli.schema.contracts import list_contracts, show


@click.group(
    epilog="""\b
Examples:
  tokenmill schema list
  tokenmill schema show rated_usage
  tokenmill schema show asyncapi > asyncapi.json
  tokenmill schema check events.jsonl"""
)
def schema() -> None:
    """What is on the topics: JSON Schemas, examples, the AsyncAPI document."""


for _command in (list_contracts, show, check):
    schema.add_command(_command)
