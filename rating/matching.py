"""Which SKU is for which usage, and which of two is the more specific.

The rank of a SKU orders them: more exact values first, then more patterns, then the narrower patterns, then a leaf
meter before a group. Two SKUs of one card that could both win are refused when the card is made, so that routing
never has to choose by position.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rating import patterns
from rating.cards import Sku
from rating.meters import GROUP_METERS
from rating.usage import UsageKey

Rank = tuple[int, int, int, int, int, int]


def rank(sku: Sku) -> Rank:
    """How specific a SKU is; greater wins."""
    values = sku.match.constraints().values()
    exact = sum(not patterns.is_pattern(value) for value in values) + (sku.match.context_bracket is not None)
    weights = [patterns.weight(value) for value in values if patterns.is_pattern(value)]
    characters, marks, stars = (sum(column) for column in zip(*weights, strict=True)) if weights else (0, 0, 0)
    return exact, len(weights), characters, marks, stars, sku.meter not in GROUP_METERS


def matches(sku: Sku, key: UsageKey) -> bool:
    """Whether usage with this key is what the SKU is for (the meter aside)."""
    context = sku.match.context_bracket
    if context is not None and not context.brackets[0] <= key.context_bracket <= context.brackets[1]:
        return False
    constraints = sku.match.constraints()
    return all(patterns.matches(value, getattr(key, name)) for name, value in constraints.items())


def can_both_match(left: Sku, right: Sku) -> bool:
    """Whether some usage is matched by both and counted by the meters of both, in the same way."""
    if left.aggregation != right.aggregation or not set(left.leaves) & set(right.leaves):
        return False
    if not _brackets_meet(left, right):
        return False
    ours, theirs = left.match.constraints(), right.match.constraints()
    return all(patterns.intersect(value, theirs[name]) for name, value in ours.items() if name in theirs)


def is_ambiguous(left: Sku, right: Sku) -> bool:
    """Whether some usage is matched by both and neither is clearly the more specific.

    That is so when they are equal but for the characters of their patterns and these are not nested: `llama-*` is
    narrower than `*`, but `llama-*` and `*-chat` are two claims to llama-3-chat.
    """
    first, second = rank(left), rank(right)
    if first[:2] != second[:2] or not can_both_match(left, right):
        return False
    if first[2:5] == second[2:5]:
        return first[5] == second[5] or not (_nested(left, right) or _nested(right, left))
    narrow, wide = (left, right) if first > second else (right, left)
    return not _nested(wide, narrow)


def _nested(wide: Sku, narrow: Sku) -> bool:
    """Whether every pattern and value of `wide` contains that of `narrow`, dimension by dimension."""
    ours, theirs = wide.match.constraints(), narrow.match.constraints()
    return _brackets_contain(wide, narrow) and all(
        name in theirs and patterns.contains(value, theirs[name]) for name, value in ours.items()
    )


def _brackets_meet(left: Sku, right: Sku) -> bool:
    ours, theirs = left.match.context_bracket, right.match.context_bracket
    if ours is None or theirs is None:
        return True
    return max(ours.brackets[0], theirs.brackets[0]) <= min(ours.brackets[1], theirs.brackets[1])


def _brackets_contain(wide: Sku, narrow: Sku) -> bool:
    ours, theirs = wide.match.context_bracket, narrow.match.context_bracket
    if ours is None:
        return True
    return theirs is not None and ours.brackets[0] <= theirs.brackets[0] and theirs.brackets[1] <= ours.brackets[1]


def can_share_id(left: Sku, right: Sku) -> bool:
    """Whether both SKUs could give their lines one id, so that two prices would stand under one name."""
    if not patterns.intersect(left.id_pattern(), right.id_pattern()):
        return False
    return not (_shadows(left, right) or _shadows(right, left))


def _shadows(winner: Sku, loser: Sku) -> bool:
    """Whether `winner` takes all usage for which `loser` would make an id that `winner` makes too.

    Between cells of two SKUs the SKUs decide, since usage goes to a SKU first and then to its cell.
    """
    ours, theirs = winner.cell, loser.cell
    if ours is not None and theirs is not None and ours.sku is theirs.sku:
        taker, asked = winner, loser
        if not set(ours.times) <= set(theirs.times):
            return False
    else:
        taker, asked = (each if each.cell is None else each.cell.sku for each in (winner, loser))
    if rank(taker) <= rank(asked) or not set(winner.leaves) >= set(loser.leaves):
        return False
    if winner.aggregation != loser.aggregation or not _brackets_contain(taker, loser):
        return False
    values = loser.match.constraints() | dict(_values_at_shared_id(winner, loser))
    return all(
        name in values and patterns.contains(wanted, values[name]) for name, wanted in taker.match.constraints().items()
    )


def _values_at_shared_id(winner: Sku, loser: Sku) -> Mapping[str, str]:
    """What the placeholders of `loser` must be for it to make an id that `winner` makes too."""
    ours = winner.match.constraints()
    if winner.sku == loser.sku:
        # One template: equal ids come from equal values, and the winner's are within its own constraints.
        return {name: ours[name] for name in loser.placeholders if name in ours}
    identity = winner.id_pattern()
    if patterns.is_pattern(identity) or not loser.placeholders:
        return {}
    several = len(loser.placeholders) > 1
    parts = re.split(r"\{([^{}]*)\}", loser.sku)
    pieces = [
        f"(?P<{part}>{'[^/]*' if several else '.*'})" if i % 2 else re.escape(part) for i, part in enumerate(parts)
    ]
    found = re.fullmatch("".join(pieces), identity, re.DOTALL)
    return found.groupdict() if found else {}
