"""The names of log events: one scheme, and all of them in the documentation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("infra", "producers", "rating", "schemas", "sinks", "streams")
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")


def _events(source: str) -> Iterator[tuple[str, str]]:
    """Name and level of each event that a module logs; an event without a fixed name has the name ""."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            logger = node.func.value
            if isinstance(logger, ast.Name) and logger.id in ("log", "_log"):
                first = node.args[0]
                fixed = isinstance(first, ast.Constant) and isinstance(first.value, str)
                yield str(first.value) if isinstance(first, ast.Constant) and fixed else "", node.func.attr


def _logged() -> set[tuple[str, str]]:
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {event for path in files for event in _events(path.read_text(encoding="utf-8"))}


def test_every_event_is_documented_with_its_level_and_none_that_is_not_logged() -> None:
    page = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([^`]+)` \| ([a-z]+) \|", page, re.MULTILINE))
    assert _logged() == documented


def test_names_are_a_place_and_what_happened_there() -> None:
    assert [name for name, _ in _logged() if not re.fullmatch(r"[a-z]+\.[a-z_]+", name)] == []


def test_an_event_without_a_fixed_name_is_found() -> None:
    assert set(_events('log.info("a.b", x=1)\nlog.error(f"a.{b}")\n_log.warning(name)')) == {
        ("a.b", "info"),
        ("", "error"),
        ("", "warning"),
    }
