"""Which modules are mutated, and which tests are asked first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_WHOLE: Final = ("test_engine_reference",)
_MODELS: Final = ("test_models", "test_modifiers", "test_cards", *_WHOLE)
_PERIOD: Final = ("test_series", "test_period", "test_account", *_WHOLE)
_WALLETS: Final = ("test_wallets", "test_wallet_properties")
_TERMS: Final = (
    "test_terms_lines",
    "test_terms_card",
    "test_terms_fees",
    "test_rollover",
    "test_account",
    "test_terms_checks",
)

_ASKED: Final[Mapping[str, tuple[str, ...]]] = {
    "money": ("test_money", *_WHOLE),
    "modifiers": ("test_modifiers", "test_models", "test_price_text", "test_terms_lines", "test_cards", *_WHOLE),
    **{
        f"models/{name}": _MODELS
        for name in ("base", "compiled", "dynamic", "flat", "graduated", "graduated_percentage", "package")
    },
    **{f"models/{name}": _MODELS for name in ("per_unit", "tiers", "volume")},
    "models/percentage": ("test_percentage", *_MODELS),
    "series": (*_PERIOD, "test_aggregations", "test_percentage", *_TERMS),
    "period": _PERIOD,
    "late": (*_PERIOD, *_TERMS),
    "rerating": ("test_rerating", "test_pinned", "test_trial"),
    "credit_notes": ("test_documents",),
    "documents": ("test_documents",),
    "statements": ("test_marketplace",),
    "sla": ("test_sla",),
    **{f"wallets/{name}": _WALLETS for name in ("charges", "debits", "grants", "report", "sweep", "wallet")},
    **{f"terms/{name}": _TERMS for name in ("account", "card", "fees", "lines", "overage", "rollover", "subscription")},
    "showback": ("test_showback",),
    "marketplace": ("test_marketplace",),
}

TARGETS: Final[Mapping[str, tuple[str, ...]]] = {
    f"rating/{module}.py": tuple(f"tests/rating/{test}.py" for test in tests) for module, tests in _ASKED.items()
}
"""Module to the tests that should kill its mutants, the quickest first; those that do not exist are left out."""
