"""Deciding row by row, in log order, where each row of a batch ends (DESIGN D6 to D8)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache

import numpy as np

from infra.config import Settings
from rating.windows import WindowSize, closing_time, next_period, period_of, period_start, unix_us
from schemas.events import EVENT_TIME_COLUMN
from schemas.instants import format_instant, from_microseconds
from schemas.partitioning import partition_for
from schemas.validation import validate
from streams.balance import DEAD_LETTER, DUPLICATE, QUARANTINED, RATED, REROUTED
from streams.columns import codes, distinct, integers, values_of
from streams.content import contents, identities
from streams.decode import Rows
from streams.duplicates import MINUTE_US, NEVER_STOP_US, EventWindow, Sightings
from streams.kernels import CONFLICT, I32, I64, NEW, SAME, U8

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

    def oldest_kept_period(self, watermark_us: int) -> str:
        """The oldest period whose state may still be there at a watermark."""
        horizon = watermark_us - self.kept_us - self.grace // timedelta(microseconds=1)
        return period_of(from_microseconds(max(horizon, 0)))

    def oldest_kept_minute(self, watermark_us: int) -> int:
        """The first minute of `oldest_kept_period`."""
        return unix_us(period_start(self.oldest_kept_period(watermark_us))) // MINUTE_US

    def next_forget_us(self, watermark_us: int) -> int:
        """The watermark at which the oldest kept period becomes another one."""
        if watermark_us == NEVER_US:
            return NEVER_US
        return self.period_closes_us(self.oldest_kept_period(watermark_us)) + self.kept_us

    def periods_begun(self, last_us: int, watermark_us: int) -> Iterator[str]:
        """The periods that begin when the watermark moves; those between count as far back as state is kept."""
        period = self.open_period(watermark_us)
        if last_us != NEVER_US:
            reached = self.oldest_kept_period(unix_us(period_start(period)))
            between = max(next_period(self.open_period(last_us)), reached)
            while between < period:
                yield between
                between = next_period(between)
        yield period


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
        self._begun: set[str] = set()
        self._partition = partition
        self._partitions = settings.partitions

    def restore(self, watermark_us: int, oldest_minute: int, evicted_minutes: int) -> None:
        """Take over what an earlier owner knew; the event-id window itself is learnt again from the log."""
        self.watermark_us = watermark_us
        self.window.forget_before(oldest_minute)
        self.window.evicted_minutes = evicted_minutes

    def tick(self, time_us: int) -> None:
        """Move the watermark up to `time_us`, never back."""
        if time_us > max(self.watermark_us, 0):
            self._begun.update(self.rules.periods_begun(self.watermark_us, time_us))
            self._advance(time_us)

    def take_begun(self) -> frozenset[str]:
        """The periods in which this partition's time has stood since the last call: fixed fees are owed for them."""
        begun, self._begun = frozenset(self._begun), set()
        return begun

    def judge(self, rows: Rows) -> Judged:
        """Judge each row of a batch in its order and move the watermark over the accepted ones."""
        times, judged, wanted = self._screen(rows)
        began_us = self.watermark_us
        answers = self._look_up(rows, times, wanted)
        duplicate = (answers == SAME) & (wanted != 0)
        conflict = (answers == CONFLICT) & (wanted != 0)
        judged.outcomes[duplicate] = DUPLICATE
        self._refuse(judged, conflict, "conflict", lambda _: "this source sent another event with the same id before")
        accepted = (wanted != 0) & ~duplicate & ~conflict
        self._place_in_time(times, accepted, began_us, judged)
        return judged

    def judge_repeated(self, rows: Rows) -> Judged:
        """Judge a batch whose number was read before: nothing in it counts, but what no one saw before is not dropped."""
        times, judged, wanted = self._screen(rows)
        answers = self._recall(rows, times, wanted)
        judged.outcomes[:] = DUPLICATE
        judged.reasons.clear()
        judged.targets = None
        unseen = ((answers == NEW) | (answers == CONFLICT)) & (wanted != 0)
        self._refuse(
            judged, unseen, "conflict", lambda _: "a batch with this number was read before, without this event"
        )
        return judged

    def relearn(self, rows: Rows) -> None:
        """Remember the identities of rows that were read before."""
        if rows.batch.num_rows:
            times, _, wanted = self._screen(rows)
            self._recall(rows, times, wanted)

    def _advance(self, time_us: int) -> None:
        if time_us > self.watermark_us:
            self.watermark_us = time_us
            self.window.forget_before(self.rules.oldest_kept_minute(time_us))

    def _look_up(self, rows: Rows, times: I64, wanted: U8) -> U8:
        """The window's answers; the watermark moves along, so that events are forgotten at exactly the right row."""
        sightings = _sightings(rows, times, wanted)
        answers = np.zeros(len(sightings), dtype=np.uint8)
        row = 0
        while row < len(sightings):
            stop_us = self.rules.next_forget_us(self.watermark_us)
            row, time_us = self.window.check(sightings, answers, row, self.watermark_us, stop_us)
            self._advance(time_us)
        return answers

    def _recall(self, rows: Rows, times: I64, wanted: U8) -> U8:
        """The window's answers for rows that do not move the watermark."""
        sightings = _sightings(rows, times, wanted)
        answers = np.zeros(len(sightings), dtype=np.uint8)
        self.window.check(sightings, answers, 0, NEVER_US, NEVER_STOP_US)
        return answers

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
            [partition_for(tenant, self._partitions) if tenant else self._partition for tenant in values_of(tenants)]
            + [self._partition],
            dtype=np.int32,
        )[codes(tenants)]
        misrouted: np.ndarray = valid & (targets != self._partition)
        if misrouted.any():
            judged.targets = targets
            judged.outcomes[misrouted] = REROUTED
        return misrouted

    def _place_in_time(self, times: I64, accepted: np.ndarray, began_us: int, judged: Judged) -> None:
        """Split accepted rows by whether their period was open when they came; `began_us` is the watermark before."""
        if not accepted.any():
            return
        reached = np.maximum.accumulate(np.where(accepted, np.maximum(times, began_us), began_us))
        before = np.concatenate([[began_us], reached[:-1]])
        hours, _ = distinct(judged.hours[accepted])
        each = np.array([self.rules.closes_us(hour) for hour in hours.tolist()], dtype=np.int64)
        closes = each[np.minimum(np.searchsorted(hours, judged.hours), len(hours) - 1)]
        too_late = accepted & (before >= closes + self.rules.kept_us)
        late = accepted & ~too_late & (before >= closes)
        on_time = accepted & ~too_late & ~late
        self._refuse(
            judged,
            too_late,
            "too_late",
            lambda row: f"the period of {_instant(times, row)} closed and its state is gone",
        )
        if on_time.any():
            judged.booked[""] = on_time.astype(np.uint8)
            self._note_begun(
                distinct(judged.hours[on_time])[0] if (late | too_late).any() else hours, reached, began_us
            )
        if late.any():
            periods = [self.rules.open_period(int(us)) for us in before[late].tolist()]
            for period in sorted(set(periods)):
                chosen = np.zeros(len(times), dtype=np.uint8)
                chosen[np.flatnonzero(late)] = [each == period for each in periods]
                judged.booked[period] = chosen

    def _note_begun(self, on_time_hours: I64, reached: I64, began_us: int) -> None:
        """Note the periods of rows that came on time, and those that the watermark went through."""
        window = self.rules.window
        self._begun.update(window.period(hour) for hour in on_time_hours.tolist())
        last_us = began_us
        if reached[-1] // window.microseconds != began_us // window.microseconds:
            for hour in np.unique(reached[reached != NEVER_US] // window.microseconds).tolist():
                self._begun.update(self.rules.periods_begun(last_us, hour * window.microseconds))
                last_us = hour * window.microseconds

    @staticmethod
    def _refuse(judged: Judged, chosen: np.ndarray, code: str, reason: Callable[[int], str]) -> None:
        if chosen.any():
            judged.outcomes[chosen] = DEAD_LETTER
            for row in np.flatnonzero(chosen).tolist():
                judged.reasons[row] = (code, reason(row))


def _sightings(rows: Rows, times: I64, wanted: U8) -> Sightings:
    minutes = (times // MINUTE_US).astype(np.int32)
    first = int(rows.offsets[0])
    return Sightings(identities(rows.batch), contents(rows.batch), minutes, times, wanted, first)


def _instant(times: I64, row: int) -> str:
    return format_instant(from_microseconds(int(times[row])))
