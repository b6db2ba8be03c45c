"""Meters: what usage is counted in, and the one place where a request's counts become what prices are put on.

Leaf meters are disjoint: every token, second and request is in exactly one of them, so prices of several meters never
charge a token twice. Group meters are sums of leaves. Custom meters are the `units` that an event carries, named
`units.<name>`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from rating.errors import MeterError


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter: its name, the unit it counts (for people) and how many decimals a quantity may have."""

    name: str
    unit: str
    decimals: int


LEAF_METERS: tuple[Meter, ...] = (
    Meter("input_uncached", "tokens", 0),
    Meter("input_cache_read", "tokens", 0),
    Meter("input_cache_write", "tokens", 0),
    Meter("output_text", "tokens", 0),
    Meter("output_reasoning", "tokens", 0),
    Meter("requests", "requests", 0),
    Meter("training_tokens", "tokens", 0),
    Meter("images", "images", 0),
    Meter("audio_seconds", "seconds", 6),
    Meter("video_seconds", "seconds", 6),
    Meter("gpu_seconds", "seconds", 6),
    Meter("gpu_busy_seconds", "seconds", 6),
    Meter("gpu_energy_joules", "joules", 6),
)
"""The leaf meters in their fixed order: bit i of an unpriced mask and column i of a leaf array mean LEAF_METERS[i]."""
LEAF_NAMES: tuple[str, ...] = tuple(meter.name for meter in LEAF_METERS)
LEAF_INDEX: Mapping[str, int] = {name: index for index, name in enumerate(LEAF_NAMES)}

GROUP_METERS: Mapping[str, tuple[str, ...]] = {
    "input": ("input_uncached", "input_cache_read", "input_cache_write"),
    "output": ("output_text", "output_reasoning"),
}
"""The group meters and the leaves that each sums. The leaves of one group have the same unit."""

CUSTOM_PREFIX = "units."
CUSTOM_DECIMALS = 9
"""Decimals of a custom quantity (`units` of an event)."""
_CUSTOM_NAME = re.compile(r"units\.[^\x00-\x1f\x7f]{1,250}")
"""With the prefix a name of at most 256 characters, which is what a rated record holds."""
_FIXED: Mapping[str, Meter] = {
    **{meter.name: meter for meter in LEAF_METERS},
    **{group: Meter(group, "tokens", 0) for group in GROUP_METERS},
}


def meter(name: str) -> Meter:
    """The leaf, group or custom (`units.<name>`) meter of that name; another name raises MeterError."""
    fixed = _FIXED.get(name)
    if fixed is not None:
        return fixed
    if _CUSTOM_NAME.fullmatch(name):
        return Meter(name, "units", CUSTOM_DECIMALS)
    raise MeterError(f"there is no meter {name!r}: use {', '.join(_FIXED)} or units.<name>", meter=name)


def is_custom(name: str) -> bool:
    """Whether this is the name of a custom meter."""
    return name.startswith(CUSTOM_PREFIX)


def leaves_of(name: str) -> tuple[str, ...]:
    """The leaf (or custom) meters that a meter of a card covers: a group's leaves, or the meter itself."""
    return GROUP_METERS.get(name) or (meter(name).name,)


class Countable(Protocol):
    """What leaf quantities can be derived from: integers, or NumPy integer arrays (element by element)."""

    def __sub__(self, other: Self, /) -> Self:
        """The difference."""
        ...


Count = TypeVar("Count", bound=Countable)


def derive_leaves(
    *,
    requests: Count,
    input_tokens: Count,
    cache_read_input_tokens: Count,
    cache_write_input_tokens: Count,
    output_tokens: Count,
    reasoning_output_tokens: Count,
    training_tokens: Count,
    images: Count,
    audio_microseconds: Count,
    video_microseconds: Count,
    gpu_microseconds: Count,
    gpu_busy_microseconds: Count,
    gpu_energy_microjoules: Count,
) -> tuple[Count, ...]:
    """The leaf quantities, in the order of LEAF_METERS and in the smallest unit of each (tokens, microseconds, ...).

    `input_tokens` is the total and includes cache reads and writes, `output_tokens` includes reasoning: this function
    alone takes them apart. It is linear, so one event, the sums of an hour and NumPy columns may all be given to it.
    """
    return (
        input_tokens - cache_read_input_tokens - cache_write_input_tokens,
        cache_read_input_tokens,
        cache_write_input_tokens,
        output_tokens - reasoning_output_tokens,
        reasoning_output_tokens,
        requests,
        training_tokens,
        images,
        audio_microseconds,
        video_microseconds,
        gpu_microseconds,
        gpu_busy_microseconds,
        gpu_energy_microjoules,
    )
