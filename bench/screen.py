"""Progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

_EVERY_S = 2.0


class Screen:
    """Says what is under way, with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.stage = ""

    def say(self, text: str) -> None:
        """One line."""
        stage = f"{self.stage}: " if self.stage else ""
        print(f"[{time.monotonic() - self._began:6.1f} s] {stage}{text}", file=sys.stderr, flush=True)

    def part(self, name: str) -> Callable[[int, int], None]:
        """A part begins; returns what takes (done, in all) as often as one likes and shows it every few seconds."""
        self.say(f"{name} ...")
        shown = time.monotonic()

        def show(done: int, total: int) -> None:
            nonlocal shown
            if done and time.monotonic() - shown >= _EVERY_S:
                shown = time.monotonic()
                self.say(f"{name}: {done:,} of {total:,}")

        return show
