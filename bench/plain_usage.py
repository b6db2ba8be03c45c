"""What the plain agent does with one event: find its usage key and its sums. No Faust here."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from bench.events import Place, Tokens
from rating.usage import DEFAULT_CONTEXT_EDGES
from schemas.instants import format_instant, from_microseconds

_MILLION = 1_000_000
_SEPARATOR = "\x1f"

Sums = list[int]
"""Requests, input, cache read, cache write, output, reasoning and training tokens, images, audio and video in
microseconds: the totals that tokenmill keeps per usage key and hour of a request."""


def usage_of(data: Mapping[str, Any]) -> tuple[str, Sums]:
    """The table key (usage key and hour) and the sums of one TokenUsage event, given as its JSON `data`.

    The key has the parts of `rating.usage.UsageKey`, then the hour. Raises KeyError for an event without its required
    fields.
    """
    get = data.get
    read = data["input_tokens"]
    key = _SEPARATOR.join(
        (
            data["tenant_id"],
            data["operation"],
            data["response_model"],
            data["endpoint"],
            get("region") or "",
            get("service_tier", "default"),
            get("gpu_type") or "",
            str(bisect_left(DEFAULT_CONTEXT_EDGES, read)),
            data["status"],
            str(int(datetime.fromisoformat(data["ended_at"]).timestamp()) // 3600),
        )
    )
    return key, [
        1,
        read,
        get("cache_read_input_tokens", 0),
        get("cache_write_input_tokens", 0),
        data["output_tokens"],
        get("reasoning_output_tokens", 0),
        get("training_tokens") or 0,
        get("images") or 0,
        _microseconds(get("audio_seconds")),
        _microseconds(get("video_seconds")),
    ]


def added(before: Sums | None, more: Sums) -> Sums:
    """Two sums added up; `before` is None for the first event of a key."""
    if before is None:
        return more
    return [left + right for left, right in zip(before, more, strict=True)]


def totals_of(table: Iterable[tuple[str, Sums]]) -> dict[Place, Tokens]:
    """The agent's table by tenant, model and hour."""
    totals: dict[Place, Tokens] = {}
    for key, sums in table:
        tenant, _, model, *_, hour = key.split(_SEPARATOR)
        place = tenant, model, format_instant(from_microseconds(int(hour) * 3600 * _MILLION))
        old = totals.get(place, Tokens(0, 0, 0, 0))
        totals[place] = Tokens(
            old.requests + sums[0], old.input + sums[1], old.cache_read + sums[2], old.output + sums[4]
        )
    return totals


def _microseconds(seconds: str | None) -> int:
    return int(Decimal(seconds) * _MILLION) if seconds else 0
