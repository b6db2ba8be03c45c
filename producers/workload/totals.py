"""Exact totals of a workload, summed from the numbers that its events are made of."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from producers.workload.draws import Ints
from producers.workload.figures import CLASSES
from producers.workload.requests import ERROR, STATUSES, Requests

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class TokenTotals:
    """Plain sums over some events. `input` holds `cache_read` and `cache_write`, `output` holds `reasoning`."""

    requests: int
    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    training: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """What a workload holds, summed from the columns it was made of: the figures a meter must arrive at.

    `offered` = `unique` + `duplicates`. `tokens`, `by_tenant_model` and `by_class` are over unique events of every status,
    `charged` and `charged_by_tenant_model` only over those that are charged by default (success and aborted).
    """

    offered: int
    unique: int
    duplicates: int
    by_status: Mapping[str, int]
    tokens: TokenTotals
    charged: TokenTotals
    by_tenant_model: Mapping[tuple[str, str], TokenTotals]
    charged_by_tenant_model: Mapping[tuple[str, str], TokenTotals]
    by_class: Mapping[str, TokenTotals]


class Summing:
    """Sums chunks of requests by class, status, tenant and model."""

    def __init__(self, tenants: int, models: int) -> None:
        self._tenants, self._models = tenants, models
        self._sums: dict[int, list[int]] = {}

    def add(self, requests: Requests) -> None:
        """Count these rows."""
        group = (requests.kind * len(STATUSES) + requests.status) * self._tenants + requests.tenant
        group = group * self._models + requests.model
        found, columns = _sums(group, len(CLASSES) * len(STATUSES) * self._tenants * self._models, requests)
        for key, *sums in zip(found.tolist(), *(column.tolist() for column in columns), strict=True):
            have = self._sums.setdefault(key, [0] * len(sums))
            for place, value in enumerate(sums):
                have[place] += int(value)

    def expected(self, tenants: list[str], models: list[str], duplicates: int) -> Expected:
        """The totals of everything that was added."""
        by_status = dict.fromkeys(STATUSES, 0)
        pairs: dict[tuple[int, int], list[int]] = {}
        charged: dict[tuple[int, int], list[int]] = {}
        classes: dict[int, list[int]] = {}
        for (kind, status, tenant, model), sums in self._groups():
            by_status[STATUSES[status]] += sums[0]
            _into(classes, kind, sums)
            _into(pairs, (tenant, model), sums)
            if status != ERROR:
                _into(charged, (tenant, model), sums)
        unique = sum(by_status.values())
        return Expected(
            offered=unique + duplicates,
            unique=unique,
            duplicates=duplicates,
            by_status=by_status,
            tokens=_total(pairs.values()),
            charged=_total(charged.values()),
            by_tenant_model={(tenants[i], models[j]): TokenTotals(*pairs[i, j]) for i, j in sorted(pairs)},
            charged_by_tenant_model={(tenants[i], models[j]): TokenTotals(*charged[i, j]) for i, j in sorted(charged)},
            by_class={CLASSES[kind].name: TokenTotals(*classes[kind]) for kind in sorted(classes)},
        )

    def _groups(self) -> Iterator[tuple[tuple[int, int, int, int], list[int]]]:
        for key, sums in self._sums.items():
            rest, model = divmod(key, self._models)
            rest, tenant = divmod(rest, self._tenants)
            kind, status = divmod(rest, len(STATUSES))
            yield (kind, status, tenant, model), sums


_DENSE = 1 << 12
"""Up to so many possible groups are counted without sorting."""


def _sums(group: Ints, groups: int, requests: Requests) -> tuple[Ints, list[Ints]]:
    """The groups that occur, and per measure (the fields of TokenTotals) the sum of each."""
    found = np.arange(groups)
    if groups > _DENSE:
        found, group = np.unique(group, return_inverse=True)
    counts = np.bincount(group, minlength=len(found))
    present = np.flatnonzero(counts)
    measures = (
        *(requests.input_tokens, requests.cached_tokens, requests.written_tokens),
        *(requests.output_tokens, requests.reasoning_tokens, requests.training_tokens),
    )
    # Sums of a chunk stay far below 2^53, where floating point is exact for whole numbers.
    sums = [np.bincount(group, weights=each, minlength=len(found)).astype(np.int64) for each in measures]
    return found[present], [each[present] for each in (counts, *sums)]


def _into(groups: dict[Key, list[int]], key: Key, sums: list[int]) -> None:
    have = groups.setdefault(key, [0] * len(sums))
    for place, value in enumerate(sums):
        have[place] += value


def _total(groups: Iterable[list[int]]) -> TokenTotals:
    columns = list(zip(*groups, strict=True)) or [()] * len(fields(TokenTotals))
    return TokenTotals(*(sum(column) for column in columns))
