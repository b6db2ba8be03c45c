"""What can be wrong with the cells of a SKU as a whole: seen only with the SKU's id, match and meter beside the charge."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import combinations
from zoneinfo import ZoneInfo

from rating import patterns
from rating.cards import Sku
from rating.errors import Path
from rating.matching import can_share_id, is_ambiguous
from rating.selectors.base import Selector
from rating.selectors.cells import CellOf
from rating.selectors.time_of_day import DAY_MINUTES, TimeOfDay, minute_of
from rating.windows import WINDOW_MINUTES, WindowSize

_LOOKED_AHEAD = timedelta(days=30 * 366)
"""How far after the start of a card its time zones are asked for their offsets."""
_STEP = timedelta(days=7)
"""No offset of a zone was ever in force for less."""


def cell_problems(sku: Sku) -> Iterator[tuple[Path, str]]:
    """What is wrong with the cells of a SKU, with the place inside its charge."""
    if not isinstance(sku.charge, Selector) or any(_shape_problems(sku.charge)):
        return  # what its selectors say of themselves comes first
    cells = [(cell, cell.cell) for cell in sku.cells if cell.cell is not None]
    for cell, info in cells:
        if not info.is_reachable:
            yield info.cell_place, f"no usage of {sku.sku} is here: its match asks for something else, leave this out"
        elif not info.is_named:
            yield info.cell_place, f"a pattern cannot stand in the id of a line ({cell.sku}): add name: ..."
    for (left, one), (right, other) in _pairs_alike([each for each in cells if each[1].is_reachable]):
        if can_share_id(left, right):
            yield (
                other.cell_place,
                f"duplicate: {right.sku} is the line of {_text(one)} too, give one of them another name",
            )
        elif not _apart(one, other) and is_ambiguous(left, right):
            yield other.cell_place, f"some usage is here and in {_text(one)} alike: narrow one"


def unaligned_times(
    selector: TimeOfDay, window: WindowSize, start: datetime, end: datetime | None
) -> Iterator[tuple[Path, str]]:
    """The edges of buckets that are no edges of windows at some time in [start, end), with the place inside the charge."""
    offsets = _offsets(selector.time_zone, start, end)
    for index, bucket in enumerate(selector.buckets):
        for field, text in (("from", bucket.begins), ("to", bucket.ends)):
            minute = minute_of(text)
            if all((minute - offset) % window.minutes == 0 for offset in offsets):
                continue
            yield (
                ("buckets", index, field),
                f"{text} in {selector.time_zone} cuts a window: it is not the start of a window of "
                f"{window.minutes} minutes{_advice(minute, offsets, window)}",
            )


def time_charges(charge: object, place: Path = ()) -> Iterator[tuple[Path, TimeOfDay]]:
    """The time-of-day charges in a charge, with their places."""
    if isinstance(charge, TimeOfDay):
        yield place, charge
    if isinstance(charge, Selector):
        for choice in charge.choices():
            yield from time_charges(choice.charge, (*place, *choice.place))


def _shape_problems(charge: Selector) -> Iterator[tuple[Path, str]]:
    yield from charge.own_problems()
    for choice in charge.choices():
        if isinstance(choice.charge, Selector):
            yield from _shape_problems(choice.charge)


_Cell = tuple[Sku, CellOf]


def _pairs_alike(cells: Sequence[_Cell]) -> Iterator[tuple[_Cell, _Cell]]:
    """The pairs of cells that may have a line or usage in common. Cells without patterns are looked up."""
    by_id: dict[str, list[_Cell]] = {}
    by_values: dict[Hashable, list[_Cell]] = {}
    wide: list[_Cell] = []
    for each in cells:
        cell, info = each
        constraints = cell.match.constraints()
        by_id.setdefault(cell.id_pattern(), []).append(each)
        if any(patterns.is_pattern(value) for value in constraints.values()):
            wide.append(each)
        context = cell.match.context_bracket
        by_values.setdefault((tuple(constraints.items()), context and context.brackets, info.times), []).append(each)
    seen: set[tuple[int, int]] = set()
    order = {id(cell): number for number, (cell, _) in enumerate(cells)}
    groups = [*by_id.values(), *by_values.values(), *([each, other] for each in wide for other in cells)]
    for group in groups:
        for left, right in combinations(group, 2):
            first, second = sorted((order[id(left[0])], order[id(right[0])]))
            if first != second and (first, second) not in seen:
                seen.add((first, second))
                yield cells[first], cells[second]


def _apart(one: CellOf, other: CellOf) -> bool:
    """Whether two cells are for different buckets of one time-of-day charge, which have no time in common."""
    return any(
        left == right and bucket != other_bucket for left, bucket in one.times for right, other_bucket in other.times
    )


def _text(info: CellOf) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in info.cell_place).lstrip(".")


def _offsets(zone: str, start: datetime, end: datetime | None) -> tuple[int, ...]:
    last = min(end or start + _LOOKED_AHEAD, start + _LOOKED_AHEAD)
    return _offsets_between(zone, start.astimezone(UTC), last.astimezone(UTC))


@lru_cache(maxsize=256)
def _offsets_between(zone: str, start: datetime, end: datetime) -> tuple[int, ...]:
    """The offsets from UTC that a zone has, in minutes."""
    found: set[int] = set()
    at = start
    while at < end:
        offset = at.astimezone(ZoneInfo(zone)).utcoffset() or timedelta(0)
        found.add(offset // timedelta(minutes=1))
        at += _STEP
    return tuple(sorted(found))


def _advice(minute: int, offsets: Sequence[int], window: WindowSize) -> str:
    """The nearest times that are edges of windows, or the size of windows that it takes."""
    for distance in range(1, window.minutes):
        for other in (minute - distance, minute + distance):
            if 0 <= other <= DAY_MINUTES and all((other - offset) % window.minutes == 0 for offset in offsets):
                return f", use '{other // 60:02d}:{other % 60:02d}'"
    sizes = [size for size in WINDOW_MINUTES if all((minute - offset) % size == 0 for offset in offsets)]
    return f": that takes a deployment with windows of {sizes[0]} minutes" if sizes else ""
