"""`tokenmill status`: what to look at first."""

import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import click
import orjson

from infra.cli.local_store import store_of
from infra.cli.options import with_settings
from infra.cli.output import console, print_json, working
from infra.cli.status.collect import (  # before logging is set up: clickhouse-connect sets levels of its own
    look,
    two_looks,
)
from infra.config import Settings
from infra.errors import StoreError

if TYPE_CHECKING:
    from infra.cli.status.look import Look

_APART_S = 1.0


@click.command(
    epilog="""\b
Examples:
  tokenmill status
  tokenmill status --watch              again every 2 seconds, until Ctrl-C
  tokenmill status --watch 30
  tokenmill status --json | jq '.verdicts[] | select(.level == "person")'

What each verdict means and what to do: docs/operations.md"""
)
@click.option(
    "--watch",
    is_flag=False,
    flag_value=2.0,
    default=None,
    type=click.FloatRange(0.5, 3600),
    help="look again after so many seconds (default 2), until Ctrl-C",
)
@click.option(
    "--new-hours",
    type=click.IntRange(1, 24 * 90),
    default=24,
    show_default=True,
    help="dead letters of the last so many hours are new and need a person",
)
@click.option("--json", "as_json", is_flag=True, help="print JSON; with --watch one line for each look")
@with_settings("kafka", "clickhouse", "data_dir", "deployment")
def status(settings: Settings, watch: float | None, new_hours: int, as_json: bool) -> None:
    """Show lag, event time, throughput, what was not counted and whether the balance adds up: verdicts first.

    Exit code 1 when something needs a person, also when Kafka or ClickHouse does not answer.
    """
    from infra.cli.status.verdicts import needs_a_person, verdicts

    recent = timedelta(hours=new_hours)
    with ExitStack() as stack:
        try:
            settings = replace(settings, clickhouse=stack.enter_context(store_of(settings)))
        except StoreError:
            pass  # the look finds out the same and says so among the verdicts
        if watch is not None:
            sys.exit(_watch(settings, recent, watch, as_json))
        with working("looking at Kafka and ClickHouse"):
            before, now = two_looks(settings, recent, _APART_S)
    found = verdicts(now, before, settings)
    if as_json:
        print_json(_document(now, before, settings))
    else:
        from infra.cli.status.screen import screen, show

        show(screen(now, before, found, settings))
    sys.exit(1 if needs_a_person(found) else 0)


def _watch(settings: Settings, recent: timedelta, every_s: float, as_json: bool) -> int:
    """Look again and again; Ctrl-C is the way out, with the code of the last look."""
    from rich.console import Group
    from rich.live import Live

    from infra.cli.status.screen import screen, show
    from infra.cli.status.verdicts import needs_a_person, verdicts

    before: Look | None = None
    code = 0
    with ExitStack() as stack:
        live = None
        if console.is_terminal and not as_json:
            live = stack.enter_context(Live(console=console, screen=True, auto_refresh=False))
        try:
            while True:
                began = time.monotonic()
                now = look(settings, recent)
                found = verdicts(now, before, settings)
                code = 1 if needs_a_person(found) else 0
                if as_json:
                    _echo(orjson.dumps(_document(now, before, settings)).decode())
                elif live is not None:
                    live.update(Group(*screen(now, before, found, settings)), refresh=True)
                else:
                    show(screen(now, before, found, settings))
                before = now
                # Looking at a large store takes its time: it may not take more than half of it.
                took = time.monotonic() - began
                time.sleep(max(every_s - took, took))
        except KeyboardInterrupt:
            return code


def _echo(text: str) -> None:
    try:
        click.echo(text)
    except BrokenPipeError:
        # Without its number: click ends with exit code 1 when it sees it, but `| head` is no failure.
        raise BrokenPipeError from None


def _document(now: "Look", before: "Look | None", settings: Settings) -> dict[str, object]:
    """The look as plain data."""
    from infra.cli.plain import plain
    from infra.cli.status.look import events_per_second, rates
    from infra.cli.status.verdicts import needs_a_person, verdicts

    found = verdicts(now, before, settings)
    return {
        "deployment": settings.deployment,
        "at": plain(now.at),
        "needs_a_person": needs_a_person(found),
        "verdicts": plain(found),
        "kafka": plain(now.kafka),
        "kafka_error": now.kafka_error,
        "store": plain(now.store, ("signals",)),
        "store_error": now.store_error,
        "signals": plain(now.signals),
        "rates": plain(rates(before, now)),
        "stored_events_per_s": events_per_second(before, now),
        "processes": plain(now.processes),
    }
