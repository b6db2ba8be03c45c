"""Patterns with `*` (any text) and `?` (any one character), as cards use them to match models or GPU types."""

from __future__ import annotations

import re
from functools import cache, lru_cache

_WILDCARD = re.compile(r"[*?]")


def is_pattern(text: str) -> bool:
    """Whether the text has a wildcard; otherwise it means exactly itself."""
    return "*" in text or "?" in text


def matches(pattern: str, value: str) -> bool:
    """Whether the whole value matches. Upper and lower case differ."""
    if not is_pattern(pattern):
        return pattern == value
    return _compiled(pattern).fullmatch(value) is not None


def weight(pattern: str) -> tuple[int, int, int]:
    """How specific a pattern is, for comparing two of which one contains the other: characters, `?`, fewer `*`."""
    stars, marks = pattern.count("*"), pattern.count("?")
    return len(pattern) - stars - marks, marks, -stars


@lru_cache(maxsize=4096)
def intersect(left: str, right: str) -> bool:
    """Whether some value matches both patterns."""
    if _clash(_literal_start(left), _literal_start(right)) or _clash(
        _literal_start(left[::-1]), _literal_start(right[::-1])
    ):
        return False  # most pairs end here

    @cache
    def from_here(i: int, j: int) -> bool:
        if i == len(left) and j == len(right):
            return True
        if i < len(left) and left[i] == "*":
            return from_here(i + 1, j) or (j < len(right) and from_here(i, j + 1))
        if j < len(right) and right[j] == "*":
            return from_here(i, j + 1) or (i < len(left) and from_here(i + 1, j))
        if i == len(left) or j == len(right):
            return False
        return (left[i] == right[j] or "?" in (left[i], right[j])) and from_here(i + 1, j + 1)

    return from_here(0, 0)


def _literal_start(pattern: str) -> str:
    return _WILDCARD.split(pattern, maxsplit=1)[0]


def _clash(left: str, right: str) -> bool:
    shorter = min(len(left), len(right))
    return left[:shorter] != right[:shorter]


@lru_cache(maxsize=4096)
def contains(outer: str, inner: str) -> bool:
    """Whether everything that matches `inner` also matches `outer`, as far as their wildcards show it.

    A wildcard of `inner` must be taken by one of `outer`: then True is certain. False may be wrong only for patterns
    that spell one set in two ways, such as `*?` and `?*`.
    """

    @cache
    def from_here(i: int, j: int) -> bool:
        if i < len(outer) and outer[i] == "*":
            return from_here(i + 1, j) or (j < len(inner) and from_here(i, j + 1))
        if i == len(outer) or j == len(inner):
            return i == len(outer) and j == len(inner)
        if inner[j] == "*":
            return False
        return (outer[i] == "?" or outer[i] == inner[j]) and from_here(i + 1, j + 1)

    return from_here(0, 0)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(char) or re.escape(char) for char in pattern), re.DOTALL)
