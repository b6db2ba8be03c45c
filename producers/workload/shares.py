"""How many of the requests fail, are aborted, tried again, sent twice or come late: exact shares, whatever the chunks."""

from __future__ import annotations

from dataclasses import dataclass

from producers.workload.figures import (
    ABORTED_SHARE,
    DUPLICATE_SHARE,
    FAILED_SHARE,
    LATE_SHARE,
    RETRIED_SHARE,
    VERY_LATE_SHARE,
)

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares from 0 to 1: of requests that fail and that are aborted, of failed ones that are tried again, and of events
    that are sent twice, that come minutes late and hours late."""

    failed: float = FAILED_SHARE
    aborted: float = ABORTED_SHARE
    retried: float = RETRIED_SHARE
    duplicated: float = DUPLICATE_SHARE
    late: float = LATE_SHARE
    very_late: float = VERY_LATE_SHARE

    def problems(self) -> list[str]:
        """What is wrong with these shares, in words."""
        return [
            f"{name} must be a share from 0 to {most}, not {getattr(self, name)}"
            for name, most in _MOST.items()
            if not 0 <= getattr(self, name) <= most
        ]

    def attempts_of(self, first: int) -> int:
        """How many attempts, second ones included, come of so many requests."""
        return first + retries_of(failures_of(first, self.failed), self.retried)

    def requests_for(self, attempts: int) -> tuple[int, int]:
        """How many requests make so many attempts, and by how many retries fewer than usual to hit the number."""
        low, high = 0, attempts
        while low < high:  # the fewest requests that make enough
            middle = (low + high) // 2
            if self.attempts_of(middle) < attempts:
                low = middle + 1
            else:
                high = middle
        return low, self.attempts_of(low) - attempts


_MOST = {"failed": 0.5, "aborted": 0.5, "retried": 1.0, "duplicated": 0.5, "late": 0.5, "very_late": 0.1}


USUAL = Faults()


def part_of(count: int, share: float) -> int:
    """A share of a number, rounded to the nearest; never falls when the number rises."""
    return (count * round(share * _MILLION) + _MILLION // 2) // _MILLION


def failures_of(first: int, share: float) -> int:
    """How many of the first so many requests fail."""
    return part_of(first, share)


def retries_of(failures: int, share: float) -> int:
    """How many of the first so many failures are tried again."""
    return failures * round(share * _MILLION) // _MILLION


@dataclass(slots=True)
class Shares:
    """Deals out failures, aborts and retries as requests come, so that the sums are right at any time."""

    faults: Faults
    first: int | None = None
    """Requests in all, None without end; `spared` retries are left out with the last one."""
    spared: int = 0
    _seen: int = 0
    _aborted: int = 0

    def next(self, count: int) -> tuple[int, int, int]:
        """Of the next `count` requests: how many fail, how many are aborted, how many are tried again."""
        before, after = self._seen, self._seen + count
        self._seen = after
        failures = [failures_of(each, self.faults.failed) for each in (before, after)]
        retries = [retries_of(each, self.faults.retried) for each in failures]
        tried = retries[1] - retries[0]
        if count and after == self.first:
            tried -= self.spared
        failed = failures[1] - failures[0]
        # A request that fails is not aborted: where all of a few have failed, the next ones make up for it.
        aborted = min(part_of(after, self.faults.aborted) - self._aborted, count - failed)
        self._aborted += aborted
        return failed, aborted, tried
