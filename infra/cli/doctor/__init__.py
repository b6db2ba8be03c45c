"""`tokenmill doctor`: does everything that is needed work here?"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import click
from rich.table import Table
from rich.text import Text

from infra.cli.doctor.broker import broker_checks
from infra.cli.doctor.check import Check, ok
from infra.cli.doctor.machine import machine_checks
from infra.cli.doctor.store import store_checks
from infra.cli.local_store import store_of
from infra.cli.options import with_settings
from infra.cli.output import console, print_json, working
from infra.cli.plain import plain
from infra.config import Settings
from infra.errors import StoreError

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@click.command(
    epilog="""\b
Examples:
  tokenmill doctor
  tokenmill doctor --no-probe            write nothing, compare no clocks
  tokenmill doctor --json | jq '.checks[] | select(.state == "problem")'"""
)
@click.option(
    "--probe/--no-probe",
    default=True,
    help="compare clocks by a record in a topic made for it and deleted again  [default: probe]",
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings("kafka", "clickhouse", "data_dir", "deployment")
def doctor(settings: Settings, probe: bool, as_json: bool) -> None:
    """Check Python, configuration, Kafka, clocks, topics, logs, ClickHouse, disk and memory, and say how to mend it.

    Exit code 1 when there is a problem.
    """
    with working("looking at everything"):
        checks = list(_checks(settings, probe))
    problems = [check for check in checks if check.state == "problem"]
    if as_json:
        print_json({"ok": not problems, "checks": plain(checks)})
    else:
        _show(checks)
    sys.exit(1 if problems else 0)


def _checks(settings: Settings, probe: bool) -> Iterator[Check]:
    yield from machine_checks(settings)
    # Whatever is wrong with the configuration has been said before a command begins.
    yield ok("configuration", f"deployment {settings.deployment}: `tokenmill config` shows what holds")
    of_kafka = list(broker_checks(settings, probe))
    yield from of_kafka
    with ExitStack() as stack:
        try:
            settings = replace(settings, clickhouse=stack.enter_context(store_of(settings)))
        except StoreError:
            pass  # the first check of the store finds out the same and says so
        yield from store_checks(settings, with_kafka=all(check.state != "problem" for check in of_kafka))


def _show(checks: list[Check]) -> None:
    shown = Table.grid(padding=(0, 1))
    for number in range(3):
        shown.add_column(overflow="fold", no_wrap=number < 2)
    for check in checks:
        found = Text(check.found)
        if check.mend:
            found.append(f"\n-> {check.mend}", style="dim")
        shown.add_row(Text(check.state, style=_COLOURS[check.state]), check.name, found)
    console.print(shown)
    counts = {state: sum(1 for check in checks if check.state == state) for state in ("problem", "warning")}
    named = [f"{number} {state}{'' if number == 1 else 's'}" for state, number in counts.items() if number]
    console.print(", ".join(named) or "all is well", style="bold")
