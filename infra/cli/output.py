"""What commands print: JSON for programs, tables for people, colours only on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_WIDTH = 112
"""Tables need this many columns; a narrower terminal wraps them, a pipe gets them whole."""


def _console(*, stderr: bool = False) -> Console:
    found = Console(stderr=stderr, highlight=False)
    return found if found.width >= _WIDTH else Console(stderr=stderr, highlight=False, width=_WIDTH)


console = _console()
"""Standard output."""
progress_console = Console(stderr=True, highlight=False)
"""Progress and remarks, so that standard output can be piped."""


def print_json(value: object) -> None:
    """Print one JSON document: money and quantities are texts, so nothing is lost on the way."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode())


def remark(text: str) -> None:
    """One line for the person at the terminal, on standard error."""
    click.echo(text, err=True)


@contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing in a pipe; gives the function that moves it on."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    disable = not progress_console.is_terminal
    with Progress(*columns, console=progress_console, transient=True, disable=disable) as progress:
        task = progress.add_task(what, total=total)
        yield lambda steps: progress.advance(task, steps)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on a terminal while something takes its time."""
    if not progress_console.is_terminal:
        yield
        return
    with progress_console.status(what):
        yield
