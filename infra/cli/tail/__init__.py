"""`tokenmill tail`: read what the worker publishes, as it comes."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import click

from infra.cli.options import KAFKA, Instant, with_settings
from infra.cli.reach import require_topics
from infra.cli.tail.line import Lines
from infra.config import Settings

F = TypeVar("F", bound=Callable[..., object])
_SHOWN = 20


class Start(click.ParamType):
    """`beginning`, `end`, or an instant of the log."""

    name = "start"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str | datetime:
        """The word, or the aware datetime of a text."""
        if isinstance(value, datetime) or value in ("beginning", "end"):
            return value if isinstance(value, datetime) else str(value)
        return Instant().convert(value, param, ctx)


def _reading(command: F) -> F:
    """The flags that all topics have in common."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="print JSON lines, one object a record"),
        click.option(
            "--follow/--no-follow", "-f", default=None, help="go on as records come; default: only with --from end"
        ),
        click.option(
            "-n",
            "--number",
            type=click.IntRange(1),
            default=None,
            help=f"stop after so many; default: the last {_SHOWN}",
        ),
        click.option(
            "--from", "start", type=Start(), default=None, help="beginning, end, or an instant of the log (RFC 3339)"
        ),
        click.option("--tenant", default=None, help="of this tenant only"),
    ):
        command = option(command)
    return command


@click.group(
    epilog="""\b
Examples:
  tokenmill tail rated --tenant acme --follow
  tokenmill tail signals --kind gap
  tokenmill tail dlq --from beginning | grep conflict"""
)
def tail() -> None:
    """Read rated records, signals or dead letters: one line each, committed ones only.

    Without --from the last records are shown, oldest first.
    """


@tail.command(
    short_help="What tenants owe, record by record.",
    epilog="""\b
Examples:
  tokenmill tail rated
  tokenmill tail rated --tenant acme --sku 'llama-*' --from 2026-01-01 --json
  tokenmill tail rated --kind adjustment --follow""",
)
@_reading
@click.option("--sku", default=None, help="of SKUs like this; * and ? stand for anything")
@click.option("--kind", default=None, help="usage, unrated, minimum, adjustment, ...")
@with_settings(*KAFKA)
def rated(
    settings: Settings,
    tenant: str | None,
    start: str | datetime | None,
    number: int | None,
    follow: bool | None,
    as_json: bool,
    sku: str | None,
    kind: str | None,
) -> None:
    """Rated records: what a tenant owes for a SKU in a window, as of a revision, and how much that changed."""
    from infra.cli.tail.lines import RatedLines

    _run(settings, settings.topics.usage_rated, RatedLines(tenant, sku, kind), start, number, follow, as_json)


@tail.command(
    short_help="Gaps, missing prices, the balance.",
    epilog="""\b
Examples:
  tokenmill tail signals
  tokenmill tail signals --kind gap --from beginning
  tokenmill tail signals --policy 'unpriced_usage/*' --follow""",
)
@_reading
@click.option("--kind", default=None, help="gap, cleared, raised, balance, evicted, ...")
@click.option("--policy", default=None, help="of policies like this; * and ? stand for anything")
@with_settings(*KAFKA)
def signals(
    settings: Settings,
    tenant: str | None,
    start: str | datetime | None,
    number: int | None,
    follow: bool | None,
    as_json: bool,
    kind: str | None,
    policy: str | None,
) -> None:
    """Policy signals: gaps, usage without a price, the balance; the last one of a policy holds."""
    from infra.cli.tail.lines import SignalLines

    _run(settings, settings.topics.usage_signals, SignalLines(tenant, kind, policy), start, number, follow, as_json)


@tail.command(
    short_help="What could not be counted, and why.",
    epilog="""\b
Examples:
  tokenmill tail dlq
  tokenmill tail dlq --code conflict --rows 10
  tokenmill tail dlq --from beginning --json > dead-letters.jsonl""",
)
@_reading
@click.option("--code", default=None, help="with this code: conflict, undecodable, future_event, invalid_*, ...")
@click.option("--rows", type=click.IntRange(0), default=3, show_default=True, help="rejected rows shown of each record")
@with_settings(*KAFKA)
def dlq(
    settings: Settings,
    tenant: str | None,
    start: str | datetime | None,
    number: int | None,
    follow: bool | None,
    as_json: bool,
    code: str | None,
    rows: int,
) -> None:
    """Dead letters: what could not be counted, why, where it lies in the log, and its first rows."""
    from infra.cli.tail.letters import LetterLines

    _run(settings, settings.topics.usage_dlq, LetterLines(tenant, code, rows), start, number, follow, as_json)


def _run(
    settings: Settings,
    topic: str,
    lines: Lines,
    start: str | datetime | None,
    number: int | None,
    follow: bool | None,
    as_json: bool,
) -> None:
    from infra.cli.tail.reading import Wanted, show

    require_topics(settings, topic)
    last = start is None
    wanted = Wanted(
        start=start,
        number=_SHOWN if last and number is None else number,
        follow=start == "end" if follow is None else follow,
    )
    show(settings, topic, lines, wanted, as_json)
