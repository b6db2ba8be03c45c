"""`tokenmill ratecard`: check, compare, try, publish and look at rate cards."""

import click

from infra.cli.ratecard.diff import diff
from infra.cli.ratecard.import_litellm import import_litellm
from infra.cli.ratecard.publish import publish
from infra.cli.ratecard.schema import schema
from infra.cli.ratecard.show import list_cards, show
from infra.cli.ratecard.try_card import try_card
from infra.cli.ratecard.validate import validate


@click.group(
    epilog="""\b
Examples:
  tokenmill ratecard validate standard-2.yaml
  tokenmill ratecard diff standard standard-2.yaml
  tokenmill ratecard try --card standard-2.yaml --period 2026-01
  tokenmill ratecard publish standard-2.yaml
  tokenmill ratecard list"""
)
def ratecard() -> None:
    """Rate cards: what a unit of usage costs."""


for _command in (validate, publish, list_cards, show, schema, diff, try_card, import_litellm):
    ratecard.add_command(_command)
