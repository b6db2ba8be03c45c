"""What `tokenmill emit` was asked for: a trace, a workload of a given size, or one that follows the clock."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import click

from infra.cli.feeding import Advance, Fed, feed_trace, feed_workload, show_rejected
from infra.cli.outlet import Interrupt
from infra.cli.output import print_json, remark
from infra.cli.pacing import Limits, feed_live
from infra.cli.rehearsal import Rehearsal, of_live, of_trace, of_workload
from infra.config import Settings
from producers.trace import Trace, TraceOptions, open_trace
from producers.workload import Faults, Workload
from producers.workload.live import LiveWorkload

_START = datetime(2026, 1, 1, tzinfo=UTC)
_REQUESTS, _HOURS = 200_000, 6
_AHEAD_S = 300
"""Events further ahead of the clock than this are quarantined."""


class Chosen(Protocol):
    """Something to send."""

    @property
    def total(self) -> int | None:
        """How many events, if that is known."""

    def feed(self, settings: Settings, advance: Advance, interrupt: Interrupt) -> Fed:
        """Send it."""

    def rehearse(self) -> Rehearsal:
        """Count it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The flags, None where one was not given."""

    trace: Path | None
    requests: int | None
    hours: int | None
    rate: float | None
    duration: float | None
    seed: int
    start: datetime | None
    profile: str | None
    tenants: int
    models: int
    gpus: int | None
    errors: float | None
    late: float | None
    duplicates: float | None

    def _refuse_what_has_no_effect(self) -> None:
        """Raises UsageError for a flag that the others make void: a user would believe in it."""
        synthetic = (
            *("requests", "hours", "rate", "duration", "profile"),
            *("gpus", "errors", "late", "duplicates"),
        )
        given = [f"--{name}" for name in synthetic if getattr(self, name) is not None]
        if self.trace is not None and given:
            raise click.UsageError(f"{', '.join(given)}: no effect with --trace, leave it out")
        if self.rate is None and self.duration is not None:
            raise click.UsageError("--duration needs --rate; without it --hours says how much event time there is")
        if self.rate is not None and self.hours is not None:
            raise click.UsageError("--hours has no effect with --rate: use --duration")

    def choose(self) -> Chosen:
        """What to send. Raises UsageError and ConfigurationError when the flags make no workload, TraceError for a file that
        is no trace."""
        self._refuse_what_has_no_effect()
        if self.trace is not None:
            options = TraceOptions(self.tenants, self.models, self.seed, self.start or _START)
            return ChosenTrace(open_trace(self.trace, options))
        usual = Faults()
        faults = Faults(
            failed=usual.failed if self.errors is None else self.errors,
            late=usual.late if self.late is None else self.late,
            duplicated=usual.duplicated if self.duplicates is None else self.duplicates,
        )
        if self.rate is not None:
            return self._paced(self.rate, faults)
        workload = Workload(
            seed=self.seed,
            tenants=self.tenants,
            models=self.models,
            requests=self.requests or _REQUESTS,
            start=self.start or _START,
            hours=self.hours or _HOURS,
            profile=self.profile or "mixed",
            gpus=self.gpus,
            faults=faults,
        )
        _ = workload.fleet  # too few GPUs are noticed here
        return ChosenWorkload(workload)

    def _paced(self, rate: float, faults: Faults) -> "ChosenRate":
        now = datetime.now(UTC)
        start = self.start or now
        if (start - now).total_seconds() > _AHEAD_S:
            remark(
                f"--start is in the future: the log quarantines events that are more than {_AHEAD_S // 60} min ahead"
            )
        workload = LiveWorkload(
            rate=rate,
            start=start,
            seed=self.seed,
            tenants=self.tenants,
            models=self.models,
            profile=self.profile or "mixed",
            gpus=self.gpus,
            faults=faults,
        )
        _ = workload.engine.fleet
        return ChosenRate(workload, Limits(self.duration, self.requests))


@dataclass(frozen=True, slots=True)
class ChosenTrace:
    """A trace."""

    trace: Trace
    total: int | None = None

    def feed(self, settings: Settings, advance: Advance, interrupt: Interrupt) -> Fed:
        """Send it."""
        return feed_trace(settings, self.trace, advance, interrupt)

    def rehearse(self) -> Rehearsal:
        """Count it."""
        return of_trace(self.trace)


@dataclass(frozen=True, slots=True)
class ChosenWorkload:
    """A workload of a given size."""

    workload: Workload
    total: int | None = None

    def feed(self, settings: Settings, advance: Advance, interrupt: Interrupt) -> Fed:
        """Send it."""
        return feed_workload(settings, self.workload, advance, interrupt)

    def rehearse(self) -> Rehearsal:
        """Count it."""
        return of_workload(self.workload)


@dataclass(frozen=True, slots=True)
class ChosenRate:
    """A workload that follows the clock."""

    workload: LiveWorkload
    limits: Limits

    @property
    def total(self) -> int | None:
        """How many events, None until somebody stops it."""
        return self.limits.total(self.workload.rate)

    def feed(self, settings: Settings, advance: Advance, interrupt: Interrupt) -> Fed:
        """Send it."""
        return feed_live(settings, self.workload, self.limits, advance, interrupt)

    def rehearse(self) -> Rehearsal:
        """Count it; without an end, the first minute of it."""
        return of_live(self.workload, self.total)


def show_fed(fed: Fed, *, as_json: bool) -> None:
    """What became of everything: as one line for a person, or as JSON."""
    show_rejected(fed)
    together = fed.sent.together
    if as_json:
        print_json({
            "events": fed.events,
            "samples": fed.samples,
            "malformed_rows": fed.rejected_rows,
            "events_per_s": fed.events_per_s,
            "bytes": together.delivered_bytes,
            "seconds": round(fed.seconds, 3),
            "acknowledged": together.delivered,
            "rejected": together.failed,
            "unconfirmed": together.pending,
            "reasons": list(together.reasons),
            "interrupted": fed.signal is not None,
        })  # fmt: skip
        return
    samples = f" and {fed.samples:,} GPU samples" if fed.samples else ""
    size = together.delivered_bytes / 1e6
    click.echo(
        f"delivered {fed.events:,} events{samples} in {fed.seconds:.1f} s ({fed.events_per_s:,}/s), {size:,.1f} MB"
    )
    if fed.rejected_rows:
        click.echo(f"{fed.rejected_rows:,} malformed rows among them: they become dead letters")
    if fed.signal is not None:
        missing = together.failed + together.pending
        rest = f"; {missing:,} more were sent and not confirmed" if missing else "; nothing else was sent"
        click.echo(f"interrupted: the log has confirmed what stands above{rest}")
