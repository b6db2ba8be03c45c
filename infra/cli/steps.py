"""Steps of something long, on standard error: a line for each, with a counter and the time it took."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.spinner import Spinner

from infra.cli.output import progress_console


class Steps:
    """Shows one step after the other; on a terminal also the one under way."""

    def __init__(self) -> None:
        self._began = self._step_began = time.monotonic()
        self._what = ""
        self._done = 0
        self._live = Live(console=progress_console, refresh_per_second=8, transient=True)
        self._is_terminal = progress_console.is_terminal

    def __enter__(self) -> Self:
        if self._is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._finish()
        if self._is_terminal:
            self._live.stop()

    def step(self, what: str, total: int | None = None) -> Callable[[int], None]:
        """Begin a step; the one before is done."""
        self._finish()
        self._what, self._done, self._step_began = what, 0, time.monotonic()
        self._draw()

        def advance(number: int) -> None:
            self._done += number
            self._draw()

        return advance

    def _draw(self) -> None:
        if self._is_terminal:
            counter = f" {abs(self._done):,}{' to go' if self._done < 0 else ''}" if self._done else ""
            self._live.update(Spinner("dots", f"{self._what}{counter}"))

    def _finish(self) -> None:
        if self._what:
            seconds = time.monotonic() - self._step_began
            counter = f" {self._done:,}" if self._done > 0 else ""
            progress_console.print(f"[green]✓[/] {self._what}{counter} [dim]{seconds:.1f} s[/]")
            self._what = ""
