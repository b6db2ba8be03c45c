"""Asking workers and sinks over HTTP: are they ready, how much have they left to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from infra import metrics
from infra.metrics_reading import ask

_ASK_S: Final = 0.2
_SETTLED_S: Final = 0.8
"""Processes renew what they say of themselves twice a second: once this long without lag, they had seen the end of the log."""
_LAGS: Final = tuple(
    each.name for each in metrics.DECLARATIONS if each.metric in (metrics.WORKER_LAG, metrics.SINK_LAG)
)


@dataclass(frozen=True, slots=True)
class Left:
    """Records in the log that were not read when everything stopped: by the workers and by the sinks; None: not known."""

    unrated: int | None = None
    unstored: int | None = None


def is_ready(address: str) -> bool:
    """Whether a process says that it has its share of the work."""
    return ask(address, "readyz") is not None


def lag_in(text: str) -> int:
    """The lag of all partitions in what a worker or a sink says of itself."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(int(sample.value) for sample in samples if sample.name in _LAGS)


class Drain:
    """Waits until processes have no lag. With no processes there is nothing to wait for."""

    def __init__(
        self,
        addresses: Sequence[str],
        clock: Callable[[], float],
        asked: Callable[[str, str], str | None] = ask,
    ) -> None:
        self._addresses, self._clock, self._ask = addresses, clock, asked
        self._next = 0.0
        self._without_lag_since: float | None = None
        self._done = not addresses
        self.behind: int | None = None
        """The lag of all together when last asked; None when one did not answer, or none was asked."""

    def done(self) -> bool:
        """Whether the processes had no lag for a while; asks them now and then."""
        now = self._clock()
        if self._done or now < self._next:
            return self._done
        self._next = now + _ASK_S
        answers = [self._ask(address, "metrics") for address in self._addresses]
        known = [lag_in(answer) for answer in answers if answer is not None]
        self.behind = sum(known) if len(known) == len(answers) else None
        if self.behind != 0:
            self._without_lag_since = None
        elif self._without_lag_since is None:
            self._without_lag_since = now
        else:
            self._done = now - self._without_lag_since >= _SETTLED_S
        return self._done
