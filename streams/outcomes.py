"""Deciding row by row, in log order, where each row of a batch ends (DESIGN D6 to D8)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache

import numpy as np

from infra.config import Settings
from rating.windows import WindowSize, closing_time, period_of, unix_us
from schemas.events import EVENT_TIME_COLUMN
from schemas.instants import format_instant, from_microseconds
from schemas.partitioning import partition_for
from schemas.validation import validate
from streams.balance import DEAD_LETTER, DUPLICATE, QUARANTINED, RATED, REROUTED
from streams.columns import codes, integers, values_of
from streams.content import contents, identities
from streams.decode import Rows
from streams.duplicates import EventWindow
from streams.kernels import CONFLICT, I32, I64, SAME, U8

NEVER_US = -(1 << 62)
"""The watermark of a partition that has accepted no event."""


@dataclass(frozen=True, slots=True)
class TimeRules:
    """The rules of time of a deployment, on microseconds and window numbers."""

    window: WindowSize
    grace: timedelta
    kept: timedelta
    future_us: int

    @classmethod
    def of(cls, settings: Settings) -> "TimeRules":
        """The rules that the settings state."""
        return cls(
            WindowSize(settings.window_minutes),
            timedelta(hours=settings.grace_hours),
            timedelta(days=settings.state_days),
            settings.future_limit_s * 1_000_000,
        )

    def closes_us(self, hour: int) -> int:
        """When the period of a window closes."""
        return _closes_us(self, self.window.period(hour))

    def period_closes_us(self, period: str) -> int:
        """When a period closes."""
        return _closes_us(self, period)

    @property
    def kept_us(self) -> int:
        """How long a closed period's state is kept."""
        return self.kept // timedelta(microseconds=1)

    def open_period(self, watermark_us: int) -> str:
        """The billing period that the watermark lies in."""
        return period_of(from_microseconds(watermark_us))

    def first_open_hour(self, watermark_us: int) -> int:
        """The first window of the oldest period that is not closed at a watermark."""
        return self.window.first(period_of(from_microseconds(watermark_us) - self.grace))

    def oldest_kept_hour(self, watermark_us: int) -> int:
        """The first window whose state may still be there at a watermark."""
        if watermark_us == NEVER_US:
            return -(1 << 31)
        horizon = watermark_us - self.kept_us - self.grace // timedelta(microseconds=1)
        return self.window.first(period_of(from_microseconds(max(horizon, 0))))


@lru_cache(maxsize=4096)
def _closes_us(rules: TimeRules, period: str) -> int:
    return unix_us(closing_time(period, rules.grace))


@dataclass(slots=True)
class Judged:
    """Where the rows of a batch ended. `outcomes` holds `balance` numbers; accepted rows stand as RATED until priced."""

    outcomes: U8
    hours: I64
    booked: dict[str, U8]
    """Accepted rows by the billing period they are booked in; "" for rows that came before their period closed."""
    reasons: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Code and reason of each dead letter and quarantined row."""
    targets: I32 | None = None
    """The right partition of each row, where some row is on the wrong one."""


class Judge:
    """Holds what a partition must remember to judge rows: the watermark and the event-id window."""

    def __init__(self, settings: Settings, partition: int) -> None:
        """`partition`: the one that rows must belong to."""
        self.rules = TimeRules.of(settings)
        self.watermark_us = NEVER_US
        self.window = EventWindow(max(settings.dedup_bytes // settings.partitions, 1 << 20))
        self._partition = partition
        self._partitions = settings.partitions
        self._partition_of: Callable[[str], int] = lru_cache(maxsize=65_536)(
            lambda tenant: partition_for(tenant, settings.partitions)
        )

    def advance(self, time_us: int) -> None:
        """Move the watermark up to `time_us`, never back."""
        self.watermark_us = max(self.watermark_us, time_us)
        self.window.forget_before(self.rules.oldest_kept_hour(self.watermark_us))

    def judge(self, rows: Rows) -> Judged:
        """Judge each row of a batch in its order and move the watermark over the accepted ones."""
        times, judged, wanted = self._screen(rows)
        answers = self._look_up(rows, judged.hours, wanted)
        duplicate = (answers == SAME) & (wanted != 0)
        conflict = (answers == CONFLICT) & (wanted != 0)
        judged.outcomes[duplicate] = DUPLICATE
        self._refuse(judged, conflict, "conflict", lambda _: "this source sent another event with the same id before")
        accepted = (wanted != 0) & ~duplicate & ~conflict
        self._place_in_time(rows, times, accepted, judged)
        return judged

    def relearn(self, rows: Rows) -> None:
        """Remember the identities of rows that were read before."""
        _, judged, wanted = self._screen(rows)
        self._look_up(rows, judged.hours, wanted)

    def _screen(self, rows: Rows) -> tuple[I64, Judged, U8]:
        """What a row's own content decides: invalid, on the wrong partition, out of time. Returns the wanted rows."""
        count = rows.batch.num_rows
        times = integers(rows.batch.column(EVENT_TIME_COLUMN[rows.kind]))
        hours = times // self.rules.window.microseconds
        judged = Judged(np.full(count, RATED, dtype=np.uint8), hours, {})
        verdict = validate(rows.kind, rows.batch)
        valid = verdict.codes == 0
        if not valid.all():
            for row in np.flatnonzero(~valid).tolist():
                judged.reasons[row] = verdict.reason(row)
            judged.outcomes[~valid] = DEAD_LETTER
        misrouted = self._misrouted(rows, valid, judged)
        future = valid & ~misrouted & (times > rows.log_times_us + self.rules.future_us)
        if future.any():
            judged.outcomes[future] = QUARANTINED
            for row in np.flatnonzero(future).tolist():
                ahead = int(times[row] - rows.log_times_us[row]) // 1_000_000
                judged.reasons[row] = (
                    "future_event",
                    f"event time {_instant(times, row)} is {ahead} s ahead of the log",
                )
        return times, judged, (valid & ~misrouted & ~future).astype(np.uint8)

    def _misrouted(self, rows: Rows, valid: np.ndarray, judged: Judged) -> np.ndarray:
        tenants = rows.batch.column("tenant_id")
        targets = np.array(
            [self._partition_of(tenant) if tenant else self._partition for tenant in values_of(tenants)]
            + [self._partition],
            dtype=np.int32,
        )[codes(tenants)]
        misrouted: np.ndarray = valid & (targets != self._partition)
        if misrouted.any():
            judged.targets = targets
            judged.outcomes[misrouted] = REROUTED
        return misrouted

    def _look_up(self, rows: Rows, hours: I64, wanted: U8) -> U8:
        return self.window.check(
            identities(rows.batch), contents(rows.batch), hours.astype(np.int32), wanted, int(rows.offsets[0])
        )

    def _place_in_time(self, rows: Rows, times: I64, accepted: np.ndarray, judged: Judged) -> None:
        """Split accepted rows by whether their period was open when they came, and move the watermark."""
        if not accepted.any():
            return
        reached = np.maximum.accumulate(np.where(accepted, times, NEVER_US))
        before = np.maximum(np.concatenate([[NEVER_US], reached[:-1]]), self.watermark_us)
        hours, index = np.unique(judged.hours[accepted], return_inverse=True)
        closes = np.zeros(len(times), dtype=np.int64)
        closes[accepted] = np.array([self.rules.closes_us(hour) for hour in hours.tolist()], dtype=np.int64)[index]
        too_late = accepted & (before >= closes + self.rules.kept_us)
        late = accepted & ~too_late & (before >= closes)
        self._refuse(
            judged,
            too_late,
            "too_late",
            lambda row: f"the period of {_instant(times, row)} closed and its state is gone",
        )
        judged.booked[""] = (accepted & ~too_late & ~late).astype(np.uint8)
        if late.any():
            periods = [self.rules.open_period(int(us)) for us in before[late].tolist()]
            for period in sorted(set(periods)):
                chosen = np.zeros(len(times), dtype=np.uint8)
                chosen[np.flatnonzero(late)] = [each == period for each in periods]
                judged.booked[period] = chosen
        self.advance(int(reached[-1]))

    @staticmethod
    def _refuse(judged: Judged, chosen: np.ndarray, code: str, reason: Callable[[int], str]) -> None:
        if chosen.any():
            judged.outcomes[chosen] = DEAD_LETTER
            for row in np.flatnonzero(chosen).tolist():
                judged.reasons[row] = (code, reason(row))


def _instant(times: I64, row: int) -> str:
    return format_instant(from_microseconds(int(times[row])))
