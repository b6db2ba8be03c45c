"""`tokenmill schema check`: are these events what Tokenmill can count?"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from infra.cli.output import print_json, working
from infra.errors import ConfigurationError
from schemas.cloudevents import decode, to_event
from schemas.control import CONTROL_TYPES, control_from_event
from schemas.errors import SchemaError
from schemas.headers import CLOUDEVENTS_JSON, CONTENT_TYPE

_STDIN = Path("-")
_HEADERS = [(CONTENT_TYPE, CLOUDEVENTS_JSON.encode())]


class _Problem(NamedTuple):
    """What a worker would say of an event: where it stands, the code of its dead letter, and why."""

    line: int
    code: str
    reason: str


@click.command(
    epilog="""\b
Examples:
  tokenmill schema check events.jsonl
  my-gateway --print-event | tokenmill schema check -"""
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def check(file: Path, as_json: bool) -> None:
    """Check the events in FILE ("-" is standard input): structured CloudEvents, one JSON object a line.

    Says what a worker would: the same codes, the same reasons. Needs no Kafka. Exit code 1 when an event is wrong.
    """
    name = "standard input" if file == _STDIN else str(file)
    with working(f"checking {name}"):
        found = [_checked(number, line) for number, line in _lines(file)]
    events, problems = len(found), [problem for problem in found if problem is not None]
    if not events:
        raise ConfigurationError(f"{name} holds no event: write one JSON object a line", code="no_events")
    if as_json:
        print_json({"events": events, "problems": [problem._asdict() for problem in problems]})
    else:
        for problem in problems:
            click.echo(f"{name}:{problem.line}: {problem.code}: {problem.reason}")
        counted = "1 event" if events == 1 else f"{events} events"
        verdict = "right" if not problems else f"{len(problems)} would end as dead letters"
        click.echo(f"{counted}: {verdict}")
    if problems:
        click.get_current_context().exit(1)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with sys.stdin.buffer if file == _STDIN else file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}", code="events_file") from None


def _checked(number: int, line: bytes) -> _Problem | None:
    try:
        event = decode(line, _HEADERS)
        if event.type in CONTROL_TYPES:
            control_from_event(event)
        else:
            to_event(event)
    except SchemaError as error:
        return _Problem(number, error.code, error.message)
    return None
