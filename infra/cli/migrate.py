"""`tokenmill migrate`: bring the ClickHouse tables up to date."""

import click

from infra import migrations
from infra.cli.options import with_settings
from infra.cli.output import print_json
from infra.clickhouse import connect
from infra.config import Settings


@click.command(
    epilog="""\b
Examples:
  tokenmill migrate --dry-run
  tokenmill migrate --clickhouse http://me:secret@localhost:8123/tokenmill"""
)
@click.option("--dry-run", is_flag=True, help="show what would be applied")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings("clickhouse")
def migrate(settings: Settings, dry_run: bool, as_json: bool) -> None:
    """Create the database and apply the migrations that are missing. Safe to repeat, and by two at once."""
    client = connect(settings.clickhouse, database="")
    applied = migrations.apply(client, settings.clickhouse.database, dry_run)
    if as_json:
        names = [{"number": each.number, "name": each.name, "statements": each.statements} for each in applied]
        print_json({"dry_run": dry_run, "applied": names})
        return
    for each in applied:
        click.echo(f"{'would apply' if dry_run else 'applied'} {each.number:04d} {each.name}")
    if not applied:
        click.echo("nothing to do: the tables are up to date")
