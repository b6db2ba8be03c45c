"""Signals that end a command from outside: `kill`, a closed terminal, a scheduler."""

import signal
from types import FrameType


def leave_on_sigterm() -> None:
    """While a service is still starting, SIGTERM ends it with exit code 0: it holds nothing yet."""
    signal.signal(signal.SIGTERM, lambda *_: _leave(0))


def clean_up_on_signals() -> None:
    """SIGTERM and SIGHUP unwind like Ctrl-C, so that `with` blocks stop what they started; exit code 128 + number."""

    def leave(number: int, frame: FrameType | None) -> None:
        _leave(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def _leave(code: int) -> None:
    raise SystemExit(code)
