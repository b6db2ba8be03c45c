"""On which lines the usage of a period stands: one for the sum of each meter, and others that count it otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rating.cards import RateCard
from rating.catalog import Span
from rating.errors import PeriodError
from rating.selectors.choosing import UNTIMED, Slot
from rating.series import SeriesId, series_id
from rating.skus import Line, Router, counts, route
from rating.usage import UsageKey
from rating.windows import WindowSize


class Places(NamedTuple):
    """The lines of a leaf meter: that of its sum, those that count something else, and those that count level x time."""

    line: Line
    series: SeriesId
    counts: tuple[tuple[Line, SeriesId], ...]
    levels: tuple[tuple[Line, SeriesId], ...]


class Routes(dict[str, Places]):
    """The lines of one usage key by leaf, under one card and at one time of day; found when they are asked for."""

    def __init__(self, card: RateCard | None, key: UsageKey, slot: Slot, opened: Callable[[Line], Line]) -> None:
        super().__init__()
        self._card, self._key, self._slot, self._opened = card, key, slot, opened

    def __missing__(self, leaf: str) -> Places:
        line = self._opened(route(self._card, self._key, leaf, self._slot))
        beside = [self._opened(each) for each in counts(self._card, self._key, leaf, self._slot)]
        found = self[leaf] = Places(
            line,
            series_id(line),
            tuple((each, series_id(each)) for each in beside if each.reading != "time_weighted"),
            tuple((each, series_id(each)) for each in beside if each.reading == "time_weighted"),
        )
        return found


class Placing:
    """Finds the lines of a tenant's usage in one period, and remembers them."""

    def __init__(self, spans: Sequence[Span], window: WindowSize, opened: Callable[[Line], Line]) -> None:
        """`spans`: which card prices which windows; `opened`: a line with what the period before left it."""
        self._spans = spans
        self._window = window
        self._opened = opened
        self._clocks = [_clock(span) for span in spans]
        """Per span, what knows the time of day, if prices depend on it."""
        self._routes: dict[tuple[UsageKey, int, Slot], Routes] = {}
        self.level_meters: frozenset[str] = frozenset().union(
            *(span.card.level_meters for span in spans if span.card is not None)
        )
        """The custom meters whose events some card of the period takes for changes of a level."""

    def routes(self, key: UsageKey, hour: int) -> Routes:
        """The lines of a usage key in a window. Raises PeriodError for a window that is in no span."""
        position = next((place for place, span in enumerate(self._spans) if hour <= span.last), None)
        if position is None:
            raise PeriodError(f"window {hour} is after all windows of the period", hour=hour)
        clock = self._clocks[position]
        slot = UNTIMED if clock is None else clock.slot(hour, self._window)
        found = self._routes.get((key, position, slot))
        if found is None:
            found = self._routes[key, position, slot] = Routes(self._spans[position].card, key, slot, self._opened)
        return found


def _clock(span: Span) -> Router | None:
    return span.card.router if span.card is not None and span.card.router.is_timed else None
