"""What commands print: JSON for programs, tables for people, colours only on a terminal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

_PIPE_WIDTH = 100


class _PlainConsole(Console):
    """A console that lets the end of a pipe end the command, instead of exiting with a code of its own."""

    def on_broken_pipe(self) -> None:
        """The reader of our output went away."""
        raise BrokenPipeError


def _console() -> Console:
    found = _PlainConsole(highlight=False)
    return found if found.is_terminal else _PlainConsole(highlight=False, width=_PIPE_WIDTH)


console = _console()
"""Standard output: as wide as the terminal; in a pipe tables are whole."""
progress_console = Console(stderr=True, highlight=False)
"""Progress and remarks, so that standard output can be piped."""


def table(title: str, first: str, *others: str, text: Sequence[str] = ()) -> Table:
    """A table for people that fits 80 columns: numbers to the right, the first column and those in `text` to the left.

    A heading may have two lines.
    """
    made = Table(
        title=f"[bold]{title}[/]",
        title_justify="left",
        title_style="",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1) if console.width >= _PIPE_WIDTH else 0,
    )
    for name in (first, *others):
        left = name == first or name in text
        made.add_column(name, justify="left" if left else "right", no_wrap=True, overflow="fold", vertical="bottom")
    return made


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
