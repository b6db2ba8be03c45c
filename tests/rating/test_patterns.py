from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from rating import patterns

PATTERNS = st.text("ab*?", max_size=4)
# Every text over a small alphabet with one letter that no pattern names. Long enough to tell patterns of 4 apart.
TEXTS = ["".join(letters) for length in range(7) for letters in product("abz", repeat=length)]


def language(pattern: str) -> set[str]:
    return {text for text in TEXTS if fnmatchcase(text, pattern)}


@given(PATTERNS)
@settings(max_examples=60, deadline=None)
def test_matching_is_what_fnmatch_says_of_stars_and_question_marks(pattern: str) -> None:
    assert {text for text in TEXTS if patterns.matches(pattern, text)} == language(pattern)


@given(PATTERNS, PATTERNS)
@settings(max_examples=150, deadline=None)
def test_two_patterns_intersect_exactly_if_some_text_matches_both(left: str, right: str) -> None:
    assert patterns.intersect(left, right) == bool(language(left) & language(right))


@given(PATTERNS, PATTERNS)
@settings(max_examples=150, deadline=None)
def test_containment_is_never_claimed_wrongly(outer: str, inner: str) -> None:
    if patterns.contains(outer, inner):
        assert language(inner) <= language(outer)
    elif language(inner) <= language(outer):
        # Only patterns where `*` and `?` stand side by side can spell one set in two ways.
        assert any(pair in text for text in (outer, inner) for pair in ("*?", "?*", "**"))


@given(PATTERNS, PATTERNS)
@settings(max_examples=150, deadline=None)
def test_a_narrower_pattern_weighs_more(outer: str, inner: str) -> None:
    if patterns.contains(outer, inner) and language(inner) < language(outer):
        assert patterns.weight(inner) > patterns.weight(outer)


def test_brackets_and_dots_mean_themselves() -> None:
    assert patterns.matches("a.[b]*", "a.[b]c")
    assert not patterns.matches("a.[b]*", "axbc")
    assert patterns.matches("*", "line\nbreak")
