"""The fields of a SKU that say how its meter is counted."""

from __future__ import annotations

from rating.aggregations.names import OF_EVENTS, UNIQUE, Aggregation, Scope
from rating.match import Document
from rating.meters import CUSTOM_DECIMALS, Meter, is_custom, meter

_GPU_METERS = frozenset({"gpu_seconds", "gpu_busy_seconds", "gpu_energy_joules"})
_COUNTED: dict[Aggregation, str] = {
    "count": "events",
    "unique_api_keys": "API keys",
    "unique_workflows": "workflows",
}
"""The units of whole numbers."""


class Counting(Document):
    """How the events of a SKU become its quantity, and where its tiers begin anew."""

    aggregation: Aggregation = "sum"
    """What is counted: sum, count (events), max, latest, unique_api_keys, unique_workflows, or time_weighted: quantities
    are changes of a level (+2, -1), which is counted in unit-hours and goes on until it changes."""
    tier_scope: Scope = "period"
    """Where tiers, allowances and the aggregation begin anew: with each period, or with each window ("hour")."""


def counting_problem(meter_name: str, aggregation: Aggregation) -> str | None:
    """Why a meter cannot be counted so, with what to write instead; None if it can."""
    if aggregation in OF_EVENTS and not is_custom(meter_name):
        instead = "leave it out" if aggregation != "count" else "count requests by the sum of the meter `requests`"
        return f"{meter_name} cannot be counted as {aggregation}, only custom meters (units.<name>) can: {instead}"
    if aggregation in UNIQUE and meter_name in _GPU_METERS:
        return (
            f"{meter_name} belongs to no request, so it has no API keys or workflows: use another meter, e.g. requests"
        )
    return None


def counted_meter(meter_name: str, aggregation: Aggregation, unit: str | None) -> Meter:
    """The meter as lines show it: what its quantity counts, and with how many decimals. `unit` is the SKU's own name for it."""
    found = meter(meter_name)
    if aggregation in _COUNTED:
        return Meter(found.name, unit or _COUNTED[aggregation], 0)
    if aggregation == "time_weighted":
        return Meter(found.name, unit or f"{found.unit}-hours", CUSTOM_DECIMALS)
    return Meter(found.name, unit, found.decimals) if unit else found
