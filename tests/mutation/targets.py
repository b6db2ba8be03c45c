"""Which modules are mutated, and which tests are asked first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_WHOLE: Final = ("test_engine_reference", "test_peer_cases")
_MODELS: Final = ("test_models", "test_modifiers", *_WHOLE)
_PERIOD: Final = ("test_period", "test_late", "test_account", *_WHOLE)

_ASKED: Final[Mapping[str, tuple[str, ...]]] = {
    "money": ("test_money", *_WHOLE),
    "modifiers": _MODELS,
    "percent": _MODELS,
    "series": ("test_series", "test_models", *_PERIOD),
    "period": _PERIOD,
    "late": _PERIOD,
    **{
        f"models/{name}": _MODELS
        for name in ("base", "compiled", "dynamic", "flat", "graduated", "graduated_percentage", "package")
    },
    **{f"models/{name}": _MODELS for name in ("per_unit", "percentage", "tiers", "volume")},
}

TARGETS: Final[Mapping[str, tuple[str, ...]]] = {
    f"rating/{module}.py": tuple(f"tests/rating/{test}.py" for test in tests) for module, tests in _ASKED.items()
}
"""Module to the tests that should kill its mutants, the quickest first; those that do not exist are left out."""
