"""What is changed in a module, and that a change can be found again."""

from __future__ import annotations

import ast

from tests.mutation.mutants import mutants

_SOURCE = '''
"""A page with 1 number."""
from typing import Annotated
Limit = Annotated[int, 5]

def price(quantity: int, flag: bool) -> int:
    """A line with 2 numbers."""
    if quantity < 3 and not flag:
        raise ValueError(f"{quantity + 1} is too small")
    note(quantity)
    return max(quantity, 7) - (1 if flag else 0)
'''


def _changes() -> set[tuple[str, str]]:
    return {(each.before, each.after) for each in mutants(_SOURCE)}


def test_expressions_that_decide_are_changed_and_texts_types_and_messages_are_not() -> None:
    changes = _changes()
    assert changes >= {
        ("quantity < 3", "quantity <= 3"),
        ("quantity < 3 and (not flag)", "quantity < 3 or not flag"),
        ("not flag", "not not flag"),
        ("3", "4"),
        ("note(quantity)", "..."),
        ("max(quantity, 7)", "min(quantity, 7)"),
        ("max(quantity, 7) - (1 if flag else 0)", "max(quantity, 7) + (1 if flag else 0)"),
        ("1 if flag else 0", "0 if flag else 1"),
    }
    assert not any(before in ("5", "2", "quantity + 1") for before, _ in changes)


def test_every_mutant_is_another_module_with_a_key_of_its_own() -> None:
    made = list(mutants(_SOURCE))
    assert len({each.key for each in made}) == len(made)
    assert len({ast.dump(ast.parse(each.source)) for each in made} | {ast.dump(ast.parse(_SOURCE))}) == len(made) + 1


def test_a_key_stays_when_lines_above_it_move() -> None:
    moved = {each.key for each in mutants("# one line more\n" + _SOURCE)}
    assert moved == {each.key for each in mutants(_SOURCE)}
