"""Asking a process of the deployment for its metrics, and reading them."""

from __future__ import annotations

import http.client
import math
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 0.5


def ask(address: str, path: str) -> str | None:
    """What a process answers at a path; None when it does not answer, or answers that it is not so."""
    try:
        with urllib.request.urlopen(f"http://{address}/{path}", timeout=TIMEOUT_S) as answer:
            return bytes(answer.read()).decode()
    except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Durations:
    """How long something took, as a histogram tells it: how often, and bounds in seconds.

    Half of them took at most `p50_s`, 99 % at most `p99_s`; infinite where they took longer than the last bucket.
    """

    count: int
    p50_s: float
    p99_s: float


def durations(text: str, name: str) -> Durations | None:
    """The histogram `name` of a metrics page, over all its labels; None where nothing was measured yet."""
    buckets: dict[float, int] = {}
    for bound, count in _buckets(text, name):
        buckets[bound] = buckets.get(bound, 0) + count
    total = buckets.get(math.inf, 0)
    if not total:
        return None
    return Durations(total, _bound(buckets, total, 50), _bound(buckets, total, 99))


def _buckets(text: str, name: str) -> Iterator[tuple[float, int]]:
    for family in text_string_to_metric_families(text):
        if family.name == name:
            for sample in family.samples:
                if sample.name == f"{name}_bucket":
                    yield float(sample.labels["le"]), int(sample.value)


def _bound(buckets: dict[float, int], total: int, percent: int) -> float:
    return next(bound for bound in sorted(buckets) if buckets[bound] * 100 >= total * percent)
