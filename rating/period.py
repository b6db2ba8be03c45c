"""One tenant's billing period, rated incrementally: usage goes in, in any order, and changed records come out.

`TenantPeriod` is pure: no clock, no I/O. The records depend only on the usage that was added and on the catalog,
never on the order of the usage or on how often `lines` was called. What a call costs goes by what changed, not by the
hours of the period that lie before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from rating.aggregations.gathered import Gathered, Quantity, merged, single
from rating.aggregations.registry import series_for
from rating.catalog import Catalog
from rating.errors import MeterError, PeriodError
from rating.late import LateUsage
from rating.levels import LevelId, Levels
from rating.meters import LEAF_INDEX, is_custom, meter
from rating.money import amount_of, from_scaled, to_scaled
from rating.placing import Placing
from rating.rated import RatedLine
from rating.series import HourState, Series, SeriesId
from rating.skus import Kind, Line
from rating.terms.account import AccountTerms
from rating.terms.entries import PeriodEntry
from rating.terms.opening import NOTHING_OPEN, Opening
from rating.terms.rollover import with_allowance
from rating.terms.subscription import Subscription, subscription_of
from rating.usage import UsageKey, UsageTotals
from rating.windows import HOUR, WindowSize, period_end, period_start

Cell = tuple[UsageKey, int]
"""Where usage is counted: key and window."""
Quantities = dict[str, Quantity]
"""Quantities by leaf or custom meter, each in the meter's smallest unit."""


class TenantPeriod:
    """The usage of one tenant in one billing period, and its rated records.

    Not safe for threads. After a restart, make a new one, add all usage again and call `lines` once: the same records
    come out, and from then on only changes.
    """

    def __init__(self, tenant_id: str, period: str, window: WindowSize = HOUR) -> None:
        self.tenant_id = tenant_id
        self.period = period
        self._window = window
        self._first, self._last = window.first(period), window.last(period)
        self._cells: dict[Cell, Quantities] = {}
        self._late_cells: dict[str, dict[Cell, Quantities]] = {}
        self._pending: list[tuple[str | None, Cell, Quantities]] = []
        """Usage that was added since the last call of `lines`."""
        self._catalog: Catalog | None = None
        self._placing = Placing((), window, self._opened)
        self._closed: bool | None = None
        self._terms = AccountTerms()
        self._subscription: Subscription | None = None
        self._taken_over = NOTHING_OPEN
        self._handover = NOTHING_OPEN
        self._changed_lines: dict[tuple[Line, Fraction], Line] = {}
        self._series: dict[SeriesId, Series] = {}
        self._late = LateUsage()
        self._levels = Levels(self._first, self._last, window)
        self._levels_before: Mapping[LevelId, int] = {}
        self._dirty: set[SeriesId] = set()
        self._yielded: dict[tuple[str, Kind], dict[int, HourState]] = {}
        """What `lines` gave last, by line and window."""
        self._yielded_period: dict[tuple[str, Kind, str, str], RatedLine] = {}

    def add(self, key: UsageKey, hour: int, booked: str | None, quantities: Mapping[str, Decimal | Gathered]) -> None:
        """Adds leaf quantities (decimals or integers, in the meter's unit, or what was gathered of events) to a window.

        A plain quantity of a custom meter counts as one event at the start of the window. `booked` is None for usage on
        time, or the later billing period ("YYYY-MM") for usage that arrived after this period closed. Quantities are
        differences: a negative one takes usage back. Raises MoneyError for floats and for more decimals than the meter
        has, MeterError for anything but leaf and custom meters, PeriodError for usage that is not of this tenant and
        period.
        """
        scaled: Quantities = {}
        for name, quantity in quantities.items():
            if name not in LEAF_INDEX and not is_custom(name):
                raise MeterError(f"{name!r} is not a leaf meter or units.<name>", meter=name)
            if isinstance(quantity, Gathered):
                scaled[name] = quantity
            else:
                scaled[name] = to_scaled(quantity, meter(name).decimals)
        self._add(key, hour, booked, scaled)

    def add_scaled(self, key: UsageKey, hour: int, booked: str | None, quantities: Mapping[str, Quantity]) -> None:
        """As `add`, for whole numbers of each meter's smallest unit (tokens, microseconds, 10^-9 of a custom meter)."""
        for name in quantities:
            if name not in LEAF_INDEX and not is_custom(name):
                raise MeterError(f"{name!r} is not a leaf meter or units.<name>", meter=name)
        self._add(key, hour, booked, dict(quantities))

    def add_totals(self, key: UsageKey, hour: int, booked: str | None, totals: UsageTotals) -> None:
        """As `add`, for a difference of totals."""
        self._add(key, hour, booked, dict(totals.scaled_leaves()))

    def carry(self, opening: Mapping[LevelId, int]) -> None:
        """States the levels that all earlier periods left, in 10^-9, for meters that a card counts as time_weighted.

        Changes that are late for this period too have the billing period they are booked in.
        """
        self._levels_before = opening
        self._levels.carry(opening)

    def gathered(self, key: UsageKey, hour: int, booked: str | None, meter_name: str) -> Gathered:
        """What was gathered of a meter so far, to be read only; nothing where there are plain quantities alone."""
        cells = self._cells if booked is None else self._late_cells.get(booked, {})
        found = cells.get((key, hour), {}).get(meter_name)
        return found if isinstance(found, Gathered) else Gathered()

    def level_changes(self, meters: frozenset[str] | None = None) -> dict[LevelId, int]:
        """What the period's own usage changes of levels, by where it is booked; `meters` None: of all custom meters."""
        found: dict[LevelId, int] = {}
        for booked, cells in [(None, self._cells), *self._late_cells.items()]:
            for (key, _), quantities in cells.items():
                for name, quantity in quantities.items():
                    if isinstance(quantity, Gathered) and (is_custom(name) if meters is None else name in meters):
                        level = LevelId(key, name, booked)
                        found[level] = found.get(level, 0) + quantity.total
        return found

    def lines(
        self, catalog: Catalog, *, closed: bool, only_changed: bool = True, now: int | None = None
    ) -> list[RatedLine]:
        """The records that changed since the last call; all of them if `only_changed` is false or `closed` changed.

        `now` is the last window that has begun, up to which levels go on; left out: the whole period. A record whose
        usage is now charged elsewhere, or was taken back, comes once more with quantity and amount 0.
        """
        everything = not only_changed or closed != self._closed
        self._closed = closed
        rerouted = self._follow(catalog)
        self._apply(self._pending)
        self._pending = []
        self._apply_levels(self._last if now is None else now)
        lines: list[RatedLine] = []
        for name in list(self._series if everything else self._dirty):
            lines.extend(self._settled_lines(name, everything))
        if rerouted:
            lines.extend(self._vanished_lines())
        if everything or rerouted or self._dirty:
            lines.extend(self._period_lines(everything))
        self._dirty.clear()
        return lines

    def open_with(self, opening: Opening) -> None:
        """States what the period before hands over: unused allowances, and fees that were paid in advance.

        It is provisional until that period closes.
        """
        if opening != self._taken_over:
            self._taken_over = opening
            self._subscription = None

    def handover(self) -> Opening:
        """What the next period takes over, as of the last call of `lines`."""
        return self._handover

    def late_periods(self) -> list[str]:
        """The billing periods in which usage of this period was booked late, in their order."""
        return sorted(self._late_cells)

    def as_if_on_time(self, booked: str) -> TenantPeriod:
        """A new period of the same usage, with what was booked late up to this billing period counted as on time."""
        made = TenantPeriod(self.tenant_id, self.period, self._window)
        for late, cells in [("", self._cells), *self._late_cells.items()]:
            for (key, hour), quantities in cells.items():
                if late <= booked:
                    made._add(key, hour, None, dict(quantities))
        opening: dict[LevelId, int] = {}
        for level, left in self._levels_before.items():
            if (level.booked or "") <= booked:
                on_time = level._replace(booked=None)
                opening[on_time] = opening.get(on_time, 0) + left
        made.carry(opening)
        allowances = dict(self._taken_over.allowances)
        for name, units in self._handover.allowances.items():
            allowances[name] = allowances.get(name, Fraction(0)) - units
        made.open_with(Opening(allowances, self._taken_over.fees))
        return made

    def _add(self, key: UsageKey, hour: int, booked: str | None, scaled: Quantities) -> None:
        if key.tenant_id != self.tenant_id or not self._first <= hour <= self._last:
            raise PeriodError(
                f"usage of {key.tenant_id} in window {hour} is not of {self.tenant_id} in {self.period}",
                tenant_id=key.tenant_id,
                hour=hour,
            )
        if booked is not None and booked <= self.period:
            raise PeriodError(f"usage of {self.period} cannot be booked late in {booked}", period=booked)
        cells = self._cells if booked is None else self._late_cells.setdefault(booked, {})
        cell = cells.setdefault((key, hour), {})
        for name, quantity in scaled.items():
            known = cell.get(name, 0)
            if type(quantity) is int and type(known) is int and name in LEAF_INDEX:
                cell[name] = known + quantity
                continue
            if type(quantity) is int and is_custom(name):
                scaled[name] = quantity = single(quantity, hour * self._window.microseconds, self._window.microseconds)
            cell[name] = merged(known, quantity)
        self._pending.append((booked, (key, hour), scaled))

    def _follow(self, catalog: Catalog) -> bool:
        """Routes all usage anew if this catalog prices the period differently than the last one."""
        if catalog is self._catalog and self._subscription is not None:
            return False
        self._catalog = catalog
        subscription = subscription_of(catalog, self.tenant_id, self.period, self._window)
        if subscription.same_as(self._subscription):
            return False
        self._subscription = subscription
        self._placing = Placing(subscription.spans, self._window, self._opened)
        self._terms = AccountTerms(subscription, self._taken_over)
        self._changed_lines.clear()
        self._dirty = set()
        self._series = {}
        self._late = LateUsage()
        self._levels = Levels(self._first, self._last, self._window)
        self._levels.carry(self._levels_before)
        self._pending = [(None, cell, quantities) for cell, quantities in self._cells.items()]
        for booked, cells in self._late_cells.items():
            self._pending.extend((booked, cell, quantities) for cell, quantities in cells.items())
        return True

    def _apply(self, usage: Iterable[tuple[str | None, Cell, Quantities]]) -> None:
        """Puts quantities on the lines that price them."""
        level_meters = self._placing.level_meters
        for booked, (key, hour), quantities in usage:
            routes = self._placing.routes(key, hour)
            for leaf, quantity in quantities.items():
                if not quantity:
                    continue
                line, name, beside, _ = routes[leaf]
                series = self._series.get(name)
                if series is not None and booked is None and type(quantity) is int:
                    self._dirty.add(name)
                    series.add(hour, quantity, line)
                else:
                    self._put(booked, name, hour, quantity, line)
                for other, name in beside:
                    self._put(booked, name, hour, quantity, other)
                if leaf in level_meters and isinstance(quantity, Gathered):
                    self._levels.add(LevelId(key, leaf, booked), hour, quantity.total, quantity.weighted)

    def _apply_levels(self, now: int) -> None:
        """Puts level x time on the lines that count it, in every window up to `now`."""
        for (key, leaf, booked), hour, weighted in self._levels.moved(now):
            for line, name in self._placing.routes(key, hour)[leaf].levels:
                self._put(booked, name, hour, weighted, line)

    def _put(self, booked: str | None, name: SeriesId, hour: int, quantity: Quantity, line: Line) -> None:
        self._dirty.add(name)
        if booked is not None:
            self._late.add(booked, name, hour, quantity, line)
            return
        series = self._series.get(name)
        if series is None:
            series = self._series[name] = series_for(name)
        series.take(hour, quantity, line)

    def _opened(self, line: Line) -> Line:
        """A line with what is left of the allowance of the period before."""
        return self._changed(line, self._taken_over.allowances.get((line.sku, line.meter)))

    def _settled_lines(self, name: SeriesId, everything: bool) -> Iterator[RatedLine]:
        """The records of a series that changed, or all of them."""
        if self._late and name in self._dirty:
            self._late.on_time_changed(name)
        series = self._series.get(name)
        if series is None:  # only late usage so far
            return
        yielded = self._yielded.setdefault((name.sku, name.kind), {})
        first, emptied = series.settle()
        for hour in emptied:
            state = yielded.pop(hour, None)
            if state is not None:
                yield self._hour_line(hour, HourState(0, 0, state.line))
        for hour, state in series.states(0 if everything else first):
            if everything or yielded.get(hour) != state:
                yielded[hour] = state
                yield self._hour_line(hour, state)
        if series.is_empty:
            del self._series[name]

    def _vanished_lines(self) -> Iterator[RatedLine]:
        """Records whose usage went to other lines, with nothing left on them."""
        present: dict[tuple[str, Kind], set[int]] = {}
        for name, series in self._series.items():
            present.setdefault((name.sku, name.kind), set()).update(hour for hour, _ in series.states())
        for identity, yielded in self._yielded.items():
            kept = present.get(identity, set())
            for hour in [hour for hour in yielded if hour not in kept]:
                yield self._hour_line(hour, HourState(0, 0, yielded.pop(hour).line))

    def _period_lines(self, everything: bool) -> Iterator[RatedLine]:
        """The records of the whole period that changed, or all of them; those that are owed no more come with 0."""
        self._handover = self._terms.handover(self._series)
        entries = [
            *self._terms.entries(self._series),
            *self._late.entries(self._series, self._terms, self._without_what_was_handed_over),
        ]
        lines = {
            (entry.sku, entry.kind, entry.billing_period, entry.service_period or self.period): self._period_line(entry)
            for entry in entries
        }
        for identity, line in lines.items():
            if everything or self._yielded_period.get(identity) != line:
                yield line
        for identity, old in self._yielded_period.items():
            if identity not in lines:
                amount = None if old.amount is None else amount_of(0)
                yield replace(old, quantity=Decimal(0), amount=amount, provisional=not self._closed)
        self._yielded_period = lines

    def _without_what_was_handed_over(self, line: Line) -> Line:
        """The line for late usage: of the allowance only that is left which the next period did not take over."""
        units = self._handover.allowances.get((line.sku, line.meter))
        return self._changed(line, None if units is None else -units)

    def _changed(self, line: Line, units: Fraction | None) -> Line:
        """A line that includes so many units more or less; always the same one, since lines are compared by identity."""
        if units is None:
            return line
        found = self._changed_lines.get((line, units))
        if found is None:
            found = self._changed_lines[line, units] = with_allowance(line, units)
        return found

    def _hour_line(self, hour: int, state: HourState) -> RatedLine:
        line = state.line
        return RatedLine(
            tenant_id=self.tenant_id,
            sku=line.sku,
            meter=line.meter,
            kind=line.kind,
            window_kind="hour",
            window_start=self._window.start(hour),
            window_end=self._window.end(hour),
            billing_period=self.period,
            service_period=self.period,
            quantity=from_scaled(state.quantity, line.decimals),
            unit=line.unit,
            amount=None if line.outcome == "unrated" else amount_of(state.amount),
            currency=line.currency,
            card_id=line.card_id,
            card_version=line.card_version,
            provisional=not self._closed,
            dimensions=line.dimensions,
            seller_id=line.seller_id,
        )

    def _period_line(self, entry: PeriodEntry) -> RatedLine:
        line = entry.line
        return RatedLine(
            tenant_id=self.tenant_id,
            sku=entry.sku,
            meter=line.meter,
            kind=entry.kind,
            window_kind="period",
            window_start=period_start(entry.billing_period),
            window_end=period_end(entry.billing_period),
            billing_period=entry.billing_period,
            service_period=entry.service_period or self.period,
            quantity=from_scaled(entry.quantity, line.decimals),
            unit=line.unit,
            amount=None if line.outcome == "unrated" else amount_of(entry.amount),
            currency=line.currency,
            card_id=line.card_id,
            card_version=line.card_version,
            provisional=not self._closed,
            dimensions=line.dimensions,
            seller_id=line.seller_id,
        )
