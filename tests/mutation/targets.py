"""Which modules are mutated, and which tests are asked first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_CASES: Final = ("tests/rating/test_engine_reference.py", "tests/rating/test_peer_cases.py")
TARGETS: Final[Mapping[str, tuple[str, ...]]] = {
    "rating/money.py": ("tests/rating/test_money.py", *_CASES),
}
"""Module to the tests that should kill its mutants, the quickest first."""
