"""The names of the aggregations and scopes, as cards write them."""

from __future__ import annotations

from typing import Literal, get_args

Aggregation = Literal["sum", "count", "max", "latest", "unique_api_keys", "unique_workflows", "time_weighted"]
"""What a SKU counts of its meter.

sum: the quantities; count: the events; max: the largest quantity; latest: the quantity of the last event by time;
unique_api_keys, unique_workflows: how many different ones the events have; time_weighted: quantities are changes of a
level (+2, -1), and what counts is level x hours.
"""
Scope = Literal["period", "hour"]
"""Where tiers and allowances begin anew: with each billing period, or with each window."""
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)
Reading = Literal[Aggregation, "per_event"]
"""How a series reads what is gathered: by its aggregation, or, for a price that needs them, event by event."""
UNIQUE: tuple[Aggregation, ...] = ("unique_api_keys", "unique_workflows")
"""The aggregations that need a set of ids, kept only where a card asks for it."""
OF_EVENTS: tuple[Aggregation, ...] = ("count", "max", "latest", "time_weighted")
"""The aggregations of single quantities, which events of custom meters have; other meters are counted by their sum."""
