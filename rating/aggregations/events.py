"""Usage of single events, for those who have events instead of what a stream has gathered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from rating.aggregations.gathered import Gathered, MeteredEvent, gathered_of
from rating.meters import is_custom, meter
from rating.money import to_scaled
from rating.windows import HOUR, WindowSize, unix_us


def event_usage(
    when: datetime,
    quantities: Mapping[str, Decimal | Gathered],
    *,
    identity: int = 0,
    api_key: str | None = None,
    workflow: str | None = None,
    window: WindowSize = HOUR,
) -> dict[str, Decimal | Gathered]:
    """What one event used, by leaf or custom meter, as `rate` and `TenantPeriod.add` take it; what was gathered stays.

    It is read by every aggregation: `when` orders events and weighs changes of levels, `identity` orders those of one
    instant, and the ids count as unique ones. Raises MeterError for a meter that does not exist, MoneyError for floats
    and for more decimals than the meter has.
    """
    time_us = unix_us(when)
    end_us = (time_us // window.microseconds + 1) * window.microseconds
    found: dict[str, Decimal | Gathered] = {}
    for name, quantity in quantities.items():
        if isinstance(quantity, Gathered) or (not is_custom(name) and api_key is None and workflow is None):
            found[name] = quantity
            continue
        scaled = to_scaled(quantity, meter(name).decimals)
        made = gathered_of([MeteredEvent(time_us, identity, scaled)], end_us) if is_custom(name) else Gathered(scaled)
        # As in the stream: a leaf meter counts only where it was used.
        if scaled or is_custom(name):
            made.api_keys.update({} if api_key is None else {_id(api_key): None})
            made.workflows.update({} if workflow is None else {_id(workflow): None})
        found[name] = made
    return found


def _id(text: str) -> int:
    """64 bits that tell ids apart."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
