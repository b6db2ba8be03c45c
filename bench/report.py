"""The figures of a run: medians, ratios, the printed table and the JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.progress import Sample

GOAL = 20
"""Times the plain agent's rate that a worker has to reach."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What was measured, for the reader of the figures."""

    broker: str
    cores: int
    python: str
    partitions: int
    keys: str
    usage_keys: int
    events: int
    plain_events: int
    events_per_record: float
    rated_records: int
    repetitions: int
    busy_cores: float | None
    """The machine's load before the run: how many processes of others wanted a core."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """The samples of one repetition."""

    produce: Sample
    rate: Sample
    store: Sample
    plain: Sample

    @property
    def ratio(self) -> float:
        """How many times the plain agent's rate the worker reached."""
        return self.rate.per_second / self.plain.per_second

    @property
    def cpu_ratio(self) -> float | None:
        """How many times the worker's processor time an event costs the plain agent."""
        ours, plain = self.rate.cpu_us_per_row, self.plain.cpu_us_per_row
        return None if not ours or not plain else plain / ours


_PARTS = (
    ("produce", "events/s", "tokenmill: emitter, confirmed by the broker"),
    ("rate", "events/s", "tokenmill: one worker process, committed"),
    ("store", "rows/s", "tokenmill: one sink process into ClickHouse, committed"),
    ("plain", "events/s", "plain Faust agent, one event a record, same sums"),
)


def text(setting: Setting, repetitions: Sequence[Repetition], problems: Sequence[str], compared: int) -> str:
    """The report for a person."""
    lines = [f"{'':8} {'median':>11} {'min':>11} {'max':>11}            us of CPU each"]
    for name, unit, meaning in _PARTS:
        samples: list[Sample] = [getattr(each, name) for each in repetitions]
        rates = [sample.per_second for sample in samples]
        cost = _median_or_none([sample.cpu_us_per_row for sample in samples])
        shown = f"{cost:8.2f}" if cost is not None else f"{'-':>8}"
        lines.append(
            f"{name:8} {median(rates):11,.0f} {min(rates):11,.0f} {max(rates):11,.0f} {unit:8} {shown}   {meaning}"
        )
    ratios = [each.ratio for each in repetitions]
    verdict = "reached" if median(ratios) >= GOAL else "NOT reached"
    lines += [
        "",
        f"rate, tokenmill / plain: {median(ratios):.1f} (min {min(ratios):.1f}, max {max(ratios):.1f}; "
        f"goal at least {GOAL}: {verdict})",
    ]
    cpu = _median_or_none([each.cpu_ratio for each in repetitions])
    if cpu is not None:
        lines.append(f"processor time per event, plain / tokenmill: {cpu:.1f}")
    if problems:
        lines += ["totals DIFFER", *problems]
    else:
        lines.append(f"totals equal: requests and tokens of {compared:,} (tenant, model, hour), in every repetition")
    return "\n".join([*lines, "", *_circumstances(setting)])


def _circumstances(setting: Setting) -> list[str]:
    load = "" if setting.busy_cores is None else f", load {setting.busy_cores:.1f} before the start"
    return [
        f"measured on {setting.cores} cores{load}, Python {setting.python}, {setting.broker}, "
        f"{setting.partitions} partitions;",
        f"{setting.events:,} events ({setting.plain_events:,} for the plain agent), {setting.events_per_record:,.0f} "
        f"events a record, {setting.usage_keys:,} usage keys and hours (--keys {setting.keys}), "
        f"{setting.rated_records:,} rated records a repetition;",
        f"repetitions in turns: {setting.repetitions}, after one warm-up of each part. Rate and store: from the first "
        "committed offset to the last, so without the start of the process.",
        "The plain agent: from its first event to its last, whether committed yet or not.",
    ]


def document(
    setting: Setting, repetitions: Sequence[Repetition], problems: Sequence[str], compared: int
) -> dict[str, object]:
    """The report as JSON."""
    ratios = [each.ratio for each in repetitions]
    return {
        "setting": {name: getattr(setting, name) for name in setting.__slots__},
        "repetitions": [{name: _figures(getattr(each, name)) for name, _, _ in _PARTS} for each in repetitions],
        "median": {name: median(getattr(each, name).per_second for each in repetitions) for name, _, _ in _PARTS},
        "ratio": {"median": median(ratios), "min": min(ratios), "max": max(ratios), "goal": GOAL},
        "cpu_ratio": _median_or_none([each.cpu_ratio for each in repetitions]),
        "totals": {"equal": not problems, "compared": compared, "problems": list(problems)},
    }


def _figures(sample: Sample) -> dict[str, float | None]:
    return {
        "rows": sample.rows,
        "seconds": sample.seconds,
        "per_second": sample.per_second,
        "cpu_us_per_row": sample.cpu_us_per_row,
    }


def _median_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
