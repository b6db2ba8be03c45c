"""When requests come: a daily shape, weekends, and bursts for the class that has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from producers.workload.draws import Floats, lookup
from producers.workload.figures import EXPONENTIAL, RequestClass


def arrival_seconds(
    random: np.random.Generator, kind: RequestClass, count: int, start: datetime, seconds: int
) -> Floats:
    """`count` arrivals of a class in seconds from `start`, ascending, all below `seconds`.

    A Poisson process of the class's rate, given its number of events: independent places under the rate curve.
    """
    rate = _rates(kind, start, seconds)
    if kind.on_off is not None:
        bursts = rate * _bursts(random, seconds, *kind.on_off)
        rate = bursts if bursts.any() else rate  # a very short workload may fall into one pause
    edges = np.concatenate(([0.0], np.cumsum(rate)))
    places = np.sort(random.random(count)) * edges[-1]
    second = np.minimum(np.searchsorted(edges, places, side="right") - 1, seconds - 1)
    # Rounding may leave a place a hair beyond its second; the last microsecond belongs to it.
    within = np.clip((places - edges[second]) / np.where(rate[second] > 0, rate[second], 1.0), 0.0, 0.999_999)
    seconds_from_start: Floats = second + within
    return seconds_from_start


def _rates(kind: RequestClass, start: datetime, seconds: int) -> Floats:
    """The relative rate of every second."""
    midnight = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since_midnight = (start - midnight).total_seconds() + np.arange(seconds)
    day = (since_midnight // 86_400).astype(np.int64)
    weekend = np.array([(midnight + timedelta(days=number)).weekday() >= 5 for number in range(int(day[-1]) + 1)])
    rates: Floats = lookup(kind.per_minute, since_midnight % 86_400 / 3_600) * np.where(weekend[day], kind.weekend, 1.0)
    return rates


def _bursts(random: np.random.Generator, seconds: int, mean_on: float, mean_off: float) -> Floats:
    """1 for every second in a burst, 0 for every second in a pause."""
    cycles = int(seconds / (mean_on + mean_off) * 2) + 16
    lengths = lookup(EXPONENTIAL, random.random(cycles * 2)) * np.tile([mean_off, mean_on], cycles)
    changes = np.cumsum(lengths)
    return (np.searchsorted(changes, np.arange(seconds), side="right") % 2).astype(np.float64)
