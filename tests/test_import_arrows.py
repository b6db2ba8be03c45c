"""The arrows between packages (DESIGN section 2): who may import whom, read from the source, not by running it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("rating", "schemas", "infra", "producers", "streams", "sinks")
ANY = None
"""Third-party packages are not limited."""


class Rule(NamedTuple):
    ours: frozenset[str]
    third_party: frozenset[str] | None


_PYDANTIC = frozenset({"pydantic", "pydantic_core"})
RULES = {
    "rating": Rule(frozenset(), _PYDANTIC),
    "schemas": Rule(frozenset(), _PYDANTIC | {"orjson", "pyarrow", "numpy"}),
    "infra": Rule(frozenset(), ANY),
    "infra/cli": Rule(frozenset(OURS), ANY),
    "producers": Rule(frozenset({"schemas", "infra"}), ANY),
    "streams": Rule(frozenset({"schemas", "rating", "infra"}), ANY),
    "sinks": Rule(frozenset({"schemas", "rating", "infra"}), ANY),
}
ONLY_IN_STREAMS = frozenset({"faust", "mode", "aiokafka"})
"""`streams` is the only place that knows Faust."""


def imports(source: str) -> Iterator[tuple[int, str, bool]]:
    """Line, module and whether it is relative, of each import in `source`, those inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, False
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:  # with the name: `from infra import cli` imports a package
                yield node.lineno, f"{node.module}.{alias.name}", node.level > 0


def package_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts
    return "infra/cli" if parts[:2] == ("infra", "cli") else parts[0]


def violations(root: Path) -> list[str]:
    """Each import below `root` that the rules do not allow, as `file:line imports module`."""
    found = []
    for top in OURS:
        for path in sorted((root / top).rglob("*.py")):
            for line, module, relative in imports(path.read_text()):
                if not relative and not allowed(package_of(path, root), module):
                    found.append(f"{path.relative_to(root)}:{line} imports {module}")
    return found


def allowed(package: str, module: str) -> bool:
    rule = RULES[package]
    top = module.split(".")[0]
    if module.split(".")[:2] == ["infra", "cli"]:
        return package == "infra/cli"
    if top in OURS:
        return top in rule.ours or top == package.split("/")[0]
    if top in sys.stdlib_module_names:
        return True
    if top in ONLY_IN_STREAMS and package != "streams":
        return False
    return top not in ("tests", "bench") and (rule.third_party is ANY or top in rule.third_party)


def test_no_package_imports_what_the_design_does_not_allow() -> None:
    assert violations(ROOT) == []


def test_every_package_is_walked() -> None:
    assert all(any((ROOT / top).rglob("*.py")) for top in OURS)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("rating/money.py", "import numpy"),
        ("rating/money.py", "import schemas.rated"),
        ("schemas/codec.py", "from infra.config import Settings"),
        ("schemas/codec.py", "def f():\n    import confluent_kafka"),
        ("infra/topics.py", "from schemas import headers"),
        ("infra/topics.py", "from infra.cli import main"),
        ("infra/topics.py", "from infra import cli"),
        ("producers/emitter.py", "from rating import money"),
        ("producers/emitter.py", "import streams.app"),
        ("sinks/raw.py", "from streams.state import State"),
        ("sinks/raw.py", "import faust"),
        ("streams/app.py", "from sinks import raw"),
        ("streams/app.py", "from infra.cli.main import main"),
        ("streams/app.py", "from tests.support import eventually"),
    ],
)
def test_a_forbidden_arrow_is_found(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    (found,) = violations(tmp_path)
    assert found.startswith(f"{file}:")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("rating/money.py", "import decimal, pydantic\nfrom . import windows"),
        ("schemas/codec.py", "import numpy, pyarrow as pa, orjson"),
        ("infra/topics.py", "import confluent_kafka, infra.config, infra.click"),
        ("infra/cli/main.py", "import click, sinks.raw, streams.app, rating.money, producers, schemas, infra.cli.demo"),
        ("streams/app.py", "import faust, aiokafka, rating, schemas.batch, infra.faults"),
    ],
)
def test_an_allowed_arrow_is_not(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert violations(tmp_path) == []
