"""`tokenmill reconcile`: is anything missing, doubled or off?"""

import sys
from collections.abc import Mapping

import click
from rich.table import Table

from infra.cli.options import BOTH, with_settings
from infra.cli.output import console, print_json, table, working
from infra.cli.reach import require_topics
from infra.config import Settings


@click.command(
    epilog="""\b
Examples:
  tokenmill reconcile
  tokenmill reconcile --json | jq .problems"""
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*BOTH)
def reconcile(settings: Settings, as_json: bool) -> None:
    """Compare what was offered, logged, stored, rated and invoiced; exit code 1 when anything differs.

    The two sides of each comparison come from different stores: one from Kafka, one from ClickHouse. Every difference is
    named by row or key.
    """
    from sinks.reconcile import reconcile as compare

    require_topics(settings, *settings.topics.all())
    with working("comparing Kafka with ClickHouse"):
        report = compare(settings)
    if as_json:
        print_json(report.as_json())
    else:
        for problem in report.problems:
            click.echo(problem)
        console.print(_compared(report.compared))
        click.echo(
            f"{'in balance' if report.ok else 'NOT in balance'}: {report.missing} missing, {report.duplicated} duplicated, "
            f"amounts differ by {report.as_json()['amount_difference']}"
        )
    sys.exit(0 if report.ok else 1)


def _compared(numbers: Mapping[str, int]) -> Table:
    """How much was compared: rows by table, from the log and in the store, then the other counts."""
    shown = table("Compared", "what", "from Kafka", "in ClickHouse")
    pairs = [name.removesuffix("_stored") for name in numbers if name.endswith("_stored")]
    for name in pairs:
        shown.add_row(name, f"{numbers[f'{name}_expected']:,}", f"{numbers[f'{name}_stored']:,}")
    for name, number in numbers.items():
        if not name.endswith(("_expected", "_stored")):
            shown.add_row(name, f"{number:,}", "")
    return shown
