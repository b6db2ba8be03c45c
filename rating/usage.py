"""Usage before any price: the key that a rate card can match on, and the sums that are kept per key and window."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import NamedTuple

from rating.meters import CUSTOM_DECIMALS, CUSTOM_PREFIX, LEAF_METERS, LEAF_NAMES, derive_leaves
from rating.money import from_scaled

DEFAULT_CONTEXT_EDGES: tuple[int, ...] = (32_000, 64_000, 128_000, 200_000, 256_000, 512_000, 1_000_000)
"""Total input tokens of a request at which a context bracket ends; a deployment may set others when it is created."""


class UsageKey(NamedTuple):
    """Everything that a rate card can match on. A value that the event does not have is the empty string.

    `context_bracket` is the index of the bracket that the request's total input falls in (see `context_bracket`).
    `status` is success, error or aborted; usage that is no request (GPU time) has the empty string and
    is always charged.
    """

    tenant_id: str
    operation: str = ""
    model: str = ""
    endpoint: str = ""
    region: str = ""
    service_tier: str = ""
    gpu_type: str = ""
    context_bracket: int = 0
    status: str = ""


def context_bracket(input_tokens: int, edges: Sequence[int] = DEFAULT_CONTEXT_EDGES) -> int:
    """The bracket of a request by its total input, cached included: how many edges it is above ("above" means >)."""
    return bisect_left(edges, input_tokens)


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Exact sums of usage, as integers; two of them are merged with `+`, in any order. Differences are totals too.

    Seconds are microseconds, joules are microjoules, and `units` maps a custom unit's name to its quantity in 10^-9.
    """

    requests: int = 0
    input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0
    training_tokens: int = 0
    images: int = 0
    audio_microseconds: int = 0
    video_microseconds: int = 0
    gpu_microseconds: int = 0
    gpu_busy_microseconds: int = 0
    gpu_energy_microjoules: int = 0
    units: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: UsageTotals) -> UsageTotals:
        return self._combine(other, 1)

    def __sub__(self, other: UsageTotals) -> UsageTotals:
        return self._combine(other, -1)

    def _combine(self, other: UsageTotals, sign: int) -> UsageTotals:
        counts: dict[str, int] = {name: getattr(self, name) + sign * getattr(other, name) for name in TOTAL_NAMES}
        units = dict(self.units)
        for name, quantity in other.units.items():
            units[name] = units.get(name, 0) + sign * quantity
        return replace(self, **counts, units={name: quantity for name, quantity in units.items() if quantity})

    def counts(self) -> tuple[int, ...]:
        """The built-in sums in the order of TOTAL_NAMES."""
        return tuple(getattr(self, name) for name in TOTAL_NAMES)

    def scaled_leaves(self) -> dict[str, int]:
        """Leaf and custom meters with a quantity other than 0, in the smallest unit of each meter."""
        derived = derive_leaves(
            requests=self.requests,
            input_tokens=self.input_tokens,
            cache_read_input_tokens=self.cache_read_input_tokens,
            cache_write_input_tokens=self.cache_write_input_tokens,
            output_tokens=self.output_tokens,
            reasoning_output_tokens=self.reasoning_output_tokens,
            training_tokens=self.training_tokens,
            images=self.images,
            audio_microseconds=self.audio_microseconds,
            video_microseconds=self.video_microseconds,
            gpu_microseconds=self.gpu_microseconds,
            gpu_busy_microseconds=self.gpu_busy_microseconds,
            gpu_energy_microjoules=self.gpu_energy_microjoules,
        )
        leaves = {name: quantity for name, quantity in zip(LEAF_NAMES, derived, strict=True) if quantity}
        leaves.update((CUSTOM_PREFIX + name, quantity) for name, quantity in self.units.items() if quantity)
        return leaves

    def leaves(self) -> dict[str, Decimal]:
        """Leaf and custom meters with a quantity other than 0, as decimals in the meter's unit."""
        return {name: from_scaled(quantity, _decimals(name)) for name, quantity in self.scaled_leaves().items()}


TOTAL_NAMES: tuple[str, ...] = tuple(each.name for each in fields(UsageTotals) if each.name != "units")
"""The built-in sums of UsageTotals in their fixed order, e.g. for columns."""
_LEAF_DECIMALS: Mapping[str, int] = {each.name: each.decimals for each in LEAF_METERS}


def _decimals(name: str) -> int:
    return _LEAF_DECIMALS.get(name, CUSTOM_DECIMALS)
