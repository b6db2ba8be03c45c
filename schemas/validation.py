"""Checking whole batches: the rules of the models, applied to columns.

`validate` accepts exactly the rows that the model of the kind accepts and gives them the same codes (a property test holds
the two together). Text in dictionaries is checked once per distinct value, numbers with NumPy over the Arrow buffers;
nothing is done per row unless something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from schemas.batch import integers
from schemas.errors import SchemaError
from schemas.events import EVENT_TYPES, AtMost, rules
from schemas.fields import (
    DECIMAL_SCALE,
    MAX_COUNT,
    UNITS_MAX,
    ChoiceRule,
    CountRule,
    FlagRule,
    InstantRule,
    MeasureRule,
    QuantityRule,
    Rule,
    TextRule,
    UnitsRule,
)
from schemas.instants import END_OF_TIME_US
from schemas.reasons import missing, wrong_value

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
Check = Callable[[Any], Mask | None]
"""From a column without regard to its nulls to the rows that are bad, or None when none is."""

_MAX_QUANTITY: Final = MAX_COUNT * 10**DECIMAL_SCALE
_FEW_ENTRIES: Final = 64
_MAX_KNOWN: Final = 50_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `validate` found: `codes[row]` is 0 for a good row, else an index into `names`."""

    kind: str
    batch: Any
    codes: np.ndarray[tuple[int], np.dtype[np.uint8]]
    names: tuple[str, ...]

    @property
    def all_good(self) -> bool:
        """Whether no row is bad."""
        return not self.codes.any()

    def bad_rows(self) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Indices of the bad rows, ascending."""
        return np.flatnonzero(self.codes)

    def reason(self, row: int) -> tuple[str, str]:
        """Code and reason of a bad row. ValueError: the row is good."""
        index = int(self.codes[row])
        if index == 0:
            raise ValueError(f"row {row} is good")
        model = EVENT_TYPES[self.kind]
        fields = list(model.model_fields)
        if index > len(fields):
            invariant = model.invariants[index - len(fields) - 1]
            values = {name: self._value(name, row) for name in (*invariant.parts, invariant.whole)}
            return invariant.code, invariant.explain(values)
        name = fields[index - 1]
        value = self._value(name, row)
        error = missing(name) if value is None else wrong_value(model, name, value)
        return error.code, error.message

    def _value(self, name: str, row: int) -> object:
        scalar = self.batch.column(name)[row]
        try:
            return scalar.as_py()
        except (ValueError, OverflowError):  # an instant that no datetime can be
            return f"{scalar.value} us after 1970"


def validate(kind: str, batch: Any) -> Verdict:
    """Check every row of a canonical batch (a pyarrow.RecordBatch from `decode_batch` or `rows_to_batch`).

    SchemaError: `invalid_type` if the kind has no events, `invalid_batch` if the batch is not in the canonical schema.
    """
    plan = _plan(kind)
    columns = batch.columns
    if len(columns) != len(plan.fields):
        raise SchemaError(
            "invalid_batch", f"a batch of {len(columns)} columns is not in the canonical schema of {kind}"
        )
    rows = batch.num_rows
    codes = np.zeros(rows, np.uint8)
    if rows == 0:
        return Verdict(kind, batch, codes, plan.names)
    for index, (column, (check, required)) in enumerate(zip(columns, plan.fields, strict=True), start=1):
        bad = _bad_rows(column, check, required)
        if bad is not None:
            codes[bad & (codes == 0)] = index
    for index, (parts, whole) in enumerate(plan.invariants, start=len(plan.fields) + 1):
        total = integers(columns[parts[0]])
        for part in parts[1:]:
            total = total + integers(columns[part])
        above = total > integers(columns[whole])
        if above.any():
            codes[above & (codes == 0)] = index
    return Verdict(kind, batch, codes, plan.names)


@dataclass(frozen=True, slots=True)
class _Plan:
    fields: tuple[tuple[Check, bool], ...]
    invariants: tuple[tuple[tuple[int, ...], int], ...]
    names: tuple[str, ...]


@lru_cache(maxsize=len(EVENT_TYPES))
def _plan(kind: str) -> _Plan:
    model = EVENT_TYPES.get(kind)
    if model is None:
        raise SchemaError("invalid_type", f"type {kind[:80]!r} is not one of {', '.join(EVENT_TYPES)}")
    place = {name: index for index, name in enumerate(model.model_fields)}

    def places(invariant: AtMost) -> tuple[tuple[int, ...], int]:
        return tuple(place[part] for part in invariant.parts), place[invariant.whole]

    return _Plan(
        fields=tuple((_check(rule), model.model_fields[name].is_required()) for name, rule in rules(model).items()),
        invariants=tuple(places(invariant) for invariant in model.invariants),
        names=("", *(f"invalid_{name}" for name in place), *(invariant.code for invariant in model.invariants)),
    )


def _bad_rows(column: Any, check: Check, required: bool) -> Mask | None:
    nulls = column.null_count
    if nulls == len(column):
        return np.ones(nulls, bool) if required else None
    bad = check(column)
    if not nulls:
        return bad
    null = column.is_null().to_numpy(zero_copy_only=False)
    if bad is not None:
        bad = bad & ~null
    if required:
        bad = null if bad is None else bad | null
    return bad


# --- one check per rule -----------------------------------------------------------------------------------------------


def _check(rule: Rule) -> Check:
    match rule:
        case TextRule(unique=True):
            return _PlainText(rule)
        case TextRule() | ChoiceRule():
            return _Entries(rule)
        case CountRule():
            return _Whole(rule.minimum, rule.maximum)
        case InstantRule():
            return _Whole(0, END_OF_TIME_US - 1)
        case MeasureRule():
            return lambda column: _measures(column, rule.minimum, rule.maximum)
        case QuantityRule():
            return _quantities
        case UnitsRule():
            return _UnitEntries(rule)
        case FlagRule():
            return lambda column: None
    raise TypeError(f"no check for {rule}")


@dataclass(frozen=True, slots=True)
class _Whole:
    minimum: int
    maximum: int

    def __call__(self, column: Any) -> Mask | None:
        values = integers(column)
        # As unsigned numbers, negative ones are above every maximum: one pass instead of two.
        if values.view(np.uint64).max() <= self.maximum and (self.minimum == 0 or values.min() >= self.minimum):
            return None
        bad: Mask = (values < self.minimum) | (values > self.maximum)
        return bad


def _measures(column: Any, minimum: float, maximum: float) -> Mask | None:
    values = np.frombuffer(column.buffers()[1], np.float64, count=column.offset + len(column))[column.offset :]
    good = (values >= minimum) & (values <= maximum)  # NaN is neither
    return None if good.all() else ~good


def _quantities(column: Any) -> Mask | None:
    end = column.offset + len(column)
    words = np.frombuffer(column.buffers()[1], np.uint64, count=2 * end).reshape(end, 2)[column.offset :]
    # Two little-endian words; a negative number has bits in the high one.
    good = (words[:, 1] == 0) & (words[:, 0] <= _MAX_QUANTITY)
    return None if good.all() else ~good


class _Known:
    """Distinct texts that a rule has accepted before: names come back in every batch."""

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self._accepts = accepts
        self._good: set[str] = set()

    def bad(self, values: list[str]) -> Mask | None:
        """Which of the values the rule does not accept."""
        if self._good.issuperset(values):
            return None
        good = [value is not None and (value in self._good or self._accepts(value)) for value in values]
        if len(self._good) > _MAX_KNOWN:
            self._good.clear()
        self._good.update(value for value, fine in zip(values, good, strict=True) if fine)
        return None if all(good) else ~np.array(good, bool)


class _Entries:
    """Text in a dictionary: its entries are checked, then spread over the rows."""

    def __init__(self, rule: TextRule | ChoiceRule) -> None:
        self._rule = rule
        self._known = _Known(rule.accepts)

    def __call__(self, column: Any) -> Mask | None:
        entries = column.dictionary
        plain = isinstance(self._rule, TextRule) and self._rule.tenant is None
        if plain and len(entries) > _FEW_ENTRIES and _is_plain(entries, self._rule.max_length):  # type: ignore[union-attr]
            return None
        bad = self._known.bad(entries.to_pylist())
        if bad is None:
            return None
        indices = column.indices.fill_null(0).to_numpy()
        rows: Mask = bad[indices]
        return rows if rows.any() else None


class _PlainText:
    """Ids: nearly every row has its own."""

    def __init__(self, rule: TextRule) -> None:
        self._rule = rule

    def __call__(self, column: Any) -> Mask | None:
        if _is_plain(column, self._rule.max_length):
            return None
        good = [value is None or self._rule.accepts(value) for value in column.to_pylist()]
        return None if all(good) else ~np.array(good, bool)


def _is_plain(column: Any, max_length: int) -> bool:
    """Whether every text is 1 to `max_length` printable ASCII characters; False says nothing."""
    _, offsets_buffer, text_buffer = column.buffers()
    start = column.offset
    offsets = np.frombuffer(offsets_buffer, np.int32, count=start + len(column) + 1)[start:]
    lengths = offsets[1:] - offsets[:-1]
    if lengths.max() > max_length or (lengths.min() < 1 and not _empty_only_where_null(column, lengths)):
        return False
    if text_buffer is None or offsets[-1] == offsets[0]:
        return False
    text = np.frombuffer(text_buffer, np.uint8)[offsets[0] : offsets[-1]]
    return bool((text - np.uint8(0x20)).max() < 0x5F)  # 0x20 to 0x7E; smaller bytes wrap around


def _empty_only_where_null(column: Any, lengths: np.ndarray[tuple[int], np.dtype[np.int32]]) -> bool:
    if not column.null_count:
        return False
    return bool(((lengths > 0) | column.is_null().to_numpy(zero_copy_only=False)).all())


class _UnitEntries:
    """Custom meters: names and quantities are checked once per distinct text, then spread over entries and rows."""

    def __init__(self, rule: UnitsRule) -> None:
        self._names = _Known(rule.accepts_name)
        self._quantities = _Known(rule.accepts_quantity)

    def __call__(self, column: Any) -> Mask | None:
        offsets = column.offsets.to_numpy()
        counts = np.diff(offsets)
        first, last = int(offsets[0]), int(offsets[-1])
        bad: Mask = counts > UNITS_MAX
        names = column.keys.slice(first, last - first).dictionary_encode()
        quantities = column.items.slice(first, last - first).dictionary_encode()
        row_of_entry = np.repeat(np.arange(len(counts)), counts)
        for entries, known in ((names, self._names), (quantities, self._quantities)):
            indices = entries.indices.fill_null(-1).to_numpy()
            refused = known.bad(entries.dictionary.to_pylist())
            if refused is not None:
                bad[row_of_entry[(indices >= 0) & refused[indices]]] = True
            bad[row_of_entry[indices < 0]] = True
        pairs = row_of_entry * (len(names.dictionary) + 1) + names.indices.fill_null(-1).to_numpy() + 1
        _, first_seen = np.unique(pairs, return_index=True)
        if len(first_seen) < len(pairs):
            repeated = np.ones(len(pairs), bool)
            repeated[first_seen] = False
            bad[row_of_entry[repeated]] = True
        return bad if bad.any() else None
