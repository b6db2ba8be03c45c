"""What each period takes over from the one before, kept so that it outlives the state of the earlier one.

An earlier period is forgotten while the later one still takes late usage: what it handed over is then known from here.
"""

from collections.abc import Iterator

import orjson

from rating.terms.opening import NOTHING_OPEN, Opening, opening_from
from rating.windows import next_period

OPENING = "opening"
"""The kind of the state records."""
PeriodKey = tuple[str, str]
"""Tenant and period of service."""


class Openings:
    """The openings of a partition's periods, by tenant and period."""

    def __init__(self) -> None:
        self._known: dict[PeriodKey, Opening] = {}

    def restore(self, key: list[object], payload: list[object]) -> None:
        """Put back one state entry."""
        tenant, period = key
        self._known[str(tenant), str(period)] = opening_from(payload)  # type: ignore[arg-type]

    def of(self, key: PeriodKey) -> Opening:
        """What a period takes over."""
        return self._known.get(key, NOTHING_OPEN)

    def hand_over(self, key: PeriodKey, opening: Opening) -> PeriodKey | None:
        """Notes what a period hands over; gives the period that takes it over, if that changed."""
        following = key[0], next_period(key[1])
        if opening == self.of(following):
            return None
        if opening:
            self._known[following] = opening
        else:
            del self._known[following]
        return following

    def state(self, key: PeriodKey, position: int) -> tuple[bytes, bytes | None]:
        """Key and value of the state record of a period; no value where it takes over nothing."""
        opening = self._known.get(key)
        value = None if opening is None else orjson.dumps([position, *opening.document()])
        return orjson.dumps([OPENING, *key]), value

    def periods(self) -> set[str]:
        """The periods that take over something."""
        return {period for _, period in self._known}

    def forget(self, periods: set[str]) -> Iterator[bytes]:
        """Drops what these periods took over; gives the keys of the state records."""
        for key in [key for key in self._known if key[1] in periods]:
            del self._known[key]
            yield orjson.dumps([OPENING, *key])
