"""What differs between two cards, field by field, with the change of each price in percent.

SKUs are compared by what they are for (meter and match), then by their id: a SKU that got another id is one that was
renamed, not one that went and one that came. A price is compared per unit, so that 0.15 per 1,000 and 150 per 1,000,000
are the same price in other words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from rating.cards import RateCard
from rating.errors import MoneyError, Path, format_path
from rating.meters import leaves_of
from rating.money import exact_decimal, round_half_away

Document = Mapping[str, Any]
Status = Literal["added", "removed", "changed"]
_NOT_COMPARED = frozenset({"version"})
_PRICES = frozenset({"price", "amount", "rate", "flat_fee", "fixed_fee", "multiplier", "overage_factor"})
_BLOCKS = ("per", "size")
"""Fields that say how many units a price is for."""
_NAMES = ("sku", "name", "seller_id", "plan")
"""Fields that tell the items of a list apart."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs: where in its part of the card, and its values as the documents have them (None: absent).

    `percent` is how much more the new price is for one unit, with one decimal, half away from zero; None where the field
    is no price or was 0.
    """

    path: Path
    before: object
    after: object
    percent: Decimal | None = None

    @property
    def name(self) -> str:
        """The place as people write it: charge.tiers[0].price."""
        return format_path(self.path)


@dataclass(frozen=True, slots=True)
class PartChange:
    """A part of a card that came, went or differs: a SKU, a fee, a discount, ... or the fields of the card itself ("card").

    `before` and `after` are its documents. `unpriced` are the leaf meters that no SKU of the new card prices and that it
    does not list as free either, although this SKU priced them: usage of them would wait without a price.
    """

    kind: str
    name: str
    status: Status
    before: Document | None
    after: Document | None
    fields: tuple[FieldChange, ...] = ()
    unpriced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CardDiff:
    """What differs between two cards, in the order of the new card; what only the old one has comes last in its list."""

    old: RateCard
    new: RateCard
    parts: tuple[PartChange, ...]

    def __bool__(self) -> bool:
        return bool(self.parts)


def diff_cards(old: RateCard, new: RateCard) -> CardDiff:
    """What differs. Two cards that say the same, in whatever order, have no parts."""
    before, after = old.document(), new.document()
    parts: list[PartChange] = []
    plain = {
        name: None
        for name in (*after, *before)
        if not _is_list_of_parts(after.get(name)) | _is_list_of_parts(before.get(name))
    }
    fields = tuple(
        change
        for name in plain
        if name not in _NOT_COMPARED
        for change in _differences(before.get(name), after.get(name), (name,), None)
    )
    if fields:
        parts.append(PartChange("card", new.id, "changed", before, after, fields))
    for name in dict.fromkeys((*after, *before)):
        if name not in plain and name != "skus":
            kind = name.removesuffix("s").replace("_", " ")
            parts += _list_changes(kind, before.get(name, ()), after.get(name, ()), (_name_of,))
    parts += (_with_unpriced(part, new) for part in _sku_changes(before, after))
    if old.currency != new.currency:  # 2 EUR are no part of 3 USD
        parts = [replace(part, fields=tuple(replace(each, percent=None) for each in part.fields)) for part in parts]
    return CardDiff(old, new, tuple(parts))


def _sku_changes(before: Document, after: Document) -> Iterator[PartChange]:
    purposes: tuple[Callable[[Document], Hashable], ...] = (_purpose_and_name, _name_of, _purpose)
    yield from _list_changes("SKU", before.get("skus", ()), after.get("skus", ()), purposes)


def _list_changes(
    kind: str, before: Sequence[Document], after: Sequence[Document], keys: Sequence[Callable[[Document], Hashable]]
) -> Iterator[PartChange]:
    """Pairs the items of two lists by the first key, those left over by the next one, and so on."""
    left, right = dict(enumerate(before)), dict(enumerate(after))
    pairs: dict[int, int] = {}
    for key in keys:
        places: dict[Hashable, list[int]] = {}
        for position, item in left.items():
            places.setdefault(key(item), []).append(position)
        for position, item in list(right.items()):
            found = places.get(key(item))
            if found:
                pairs[position] = found.pop(0)
                del right[position], left[pairs[position]]
    for position, item in enumerate(after):
        if position in right:
            yield PartChange(kind, _label(item), "added", None, item)
            continue
        old = before[pairs[position]]
        fields = tuple(_differences(old, item, (), None))
        if fields:
            yield PartChange(kind, _label(old), "changed", old, item, fields)
    for item in left.values():
        yield PartChange(kind, _label(item), "removed", item, None)


def _with_unpriced(part: PartChange, new: RateCard) -> PartChange:
    """Says what a SKU that went, or counts something else now, leaves without a price."""
    if part.before is None:
        return part
    free = {leaf for name in new.not_charged for leaf in leaves_of(name)}
    covered = free | {leaf for sku in new.skus for leaf in sku.leaves}
    gone = tuple(leaf for leaf in leaves_of(part.before["meter"]) if leaf not in covered)
    return replace(part, unpriced=gone)


def _differences(
    before: object, after: object, path: Path, block: tuple[Fraction, Fraction] | None
) -> Iterator[FieldChange]:
    """The leaves that differ. `block`: the units that prices around here are for, before and after."""
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        inner = _blocks(before, after) or block
        names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
        for name in names:
            if names == [name] and name in _BLOCKS and inner:  # the same price for another number of units
                yield FieldChange((*path, name), before[name], after[name], _more(1 / inner[0], 1 / inner[1]))
            else:
                yield from _differences(before.get(name), after.get(name), (*path, name), inner)
    elif _is_list_of_parts(before) and _is_list_of_parts(after):
        assert isinstance(before, list | tuple) and isinstance(after, list | tuple)  # noqa: S101, PT018  # as asked above
        for index in range(max(len(before), len(after))):
            old, new = (part[index] if index < len(part) else None for part in (before, after))
            yield from _differences(old, new, (*path, index), block)
    else:
        yield FieldChange(path, before, after, _percent(before, after, path, block))


def _blocks(before: Document, after: Document) -> tuple[Fraction, Fraction] | None:
    for name in _BLOCKS:
        if name in before and name in after:
            return Fraction(exact_decimal(before[name])), Fraction(exact_decimal(after[name]))
    return None


def _percent(before: object, after: object, path: Path, block: tuple[Fraction, Fraction] | None) -> Decimal | None:
    if not path or path[-1] not in _PRICES:
        return None
    try:
        old, new = (Fraction(exact_decimal(value)) for value in (before, after))
    except (MoneyError, ArithmeticError, TypeError, ValueError):
        return None
    if path[-1] == "price" and block is not None:
        old, new = old / block[0], new / block[1]
    return _more(old, new) if old else None


def _more(old: Fraction, new: Fraction) -> Decimal:
    """How much more the new price is, in percent with one decimal."""
    share = (new - old) / old * 1000
    return Decimal(round_half_away(share.numerator, share.denominator)).scaleb(-1)


def _is_list_of_parts(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _name_of(item: Document) -> Hashable:
    return next((str(item[name]) for name in _NAMES if name in item), json.dumps(item, sort_keys=True))


def _purpose(item: Document) -> Hashable:
    return item.get("meter"), json.dumps(item.get("match"), sort_keys=True)


def _purpose_and_name(item: Document) -> Hashable:
    return _purpose(item), _name_of(item)


def _label(item: Document) -> str:
    """What people call an item: its id, and what usage it is for."""
    words = [f"{name} {value}" for name, value in (item.get("match") or {}).items() if not isinstance(value, Mapping)]
    context = (item.get("match") or {}).get("context_bracket")
    if context:
        words += [f"input above {context['above']}"] if "above" in context else []
        words += [f"input up to {context['up_to']}"] if "up_to" in context else []
    return f"{_name_of(item)} ({', '.join(words)})" if words else str(_name_of(item))
