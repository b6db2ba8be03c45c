"""Which series reads which aggregation."""

from __future__ import annotations

from rating.aggregations.count import CountSeries
from rating.aggregations.latest import LatestSeries
from rating.aggregations.maximum import MaxSeries
from rating.aggregations.per_event import PerEventSeries
from rating.aggregations.time_weighted import TimeWeightedSeries
from rating.aggregations.unique import UniqueSeries
from rating.series import Series, SeriesId


def series_for(name: SeriesId) -> Series:
    """A new, empty series of the right kind."""
    match name.reading:
        case "sum":
            return Series(name.scope)
        case "count":
            return CountSeries(name.scope)
        case "max":
            return MaxSeries(name.scope)
        case "latest":
            return LatestSeries(name.scope)
        case "unique_api_keys":
            return UniqueSeries(name.scope, "api_keys")
        case "unique_workflows":
            return UniqueSeries(name.scope, "workflows")
        case "time_weighted":
            return TimeWeightedSeries(name.scope)
        case "per_event":
            return PerEventSeries(name.scope)
