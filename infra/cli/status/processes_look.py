"""What workers and sinks say of themselves."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from infra import metrics
from infra.cli.status.look import ProcessTimes
from infra.metrics_reading import ask, durations

_AT_ONCE = 16


def look_at_processes(addresses: Iterable[str]) -> tuple[ProcessTimes, ...]:
    """The times of each process, side by side: those that do not answer cost one time limit together."""
    targets = list(addresses)
    if not targets:
        return ()
    with ThreadPoolExecutor(min(_AT_ONCE, len(targets))) as pool:
        return tuple(pool.map(_look, targets))


def _look(address: str) -> ProcessTimes:
    text = ask(address, "metrics")
    if text is None:
        return ProcessTimes(address, answers=False)
    names = {each.metric: each.name for each in metrics.DECLARATIONS}
    return ProcessTimes(
        address,
        answers=True,
        transactions=durations(text, names[metrics.WORKER_TRANSACTION]),
        inserts=durations(text, names[metrics.SINK_INSERT]),
    )
