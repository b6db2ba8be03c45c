"""`tokenmill ratecard schema`: the JSON Schema of card and plan files, for editors."""

import click

from infra.cli.output import print_json


@click.command(
    short_help="Print the JSON Schema of card files, for editors.",
    epilog="""\b
Examples:
  tokenmill ratecard schema > ratecard.schema.json
  tokenmill ratecard schema --plan > plan.schema.json""",
)
@click.option("--plan", is_flag=True, help="of plan files instead")
def schema(plan: bool) -> None:
    """Print the JSON Schema of rate card files, so that editors complete and check them.

    Name it in the first line of a card: # yaml-language-server: $schema=ratecard.schema.json
    """
    from rating.card_schema import card_schema, plan_schema

    print_json(plan_schema() if plan else card_schema())
