"""`tokenmill reconcile`: is anything missing, doubled or off?"""

import sys

import click

from infra.cli.options import BOTH, with_settings
from infra.cli.output import print_json, working
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
        click.echo(
            f"{'in balance' if report.ok else 'NOT in balance'}: {report.missing} missing, {report.duplicated} duplicated, "
            f"amounts differ by {report.as_json()['amount_difference']}"
        )
        click.echo("compared: " + ", ".join(f"{number:,} {name}" for name, number in report.compared.items()))
    sys.exit(0 if report.ok else 1)
