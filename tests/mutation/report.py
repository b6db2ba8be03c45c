"""The page of results, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path("docs/mutation.md")
EQUIVALENTS: Final = Path("tests/mutation/equivalents.json")
_HEAD = """# Mutation testing of the money modules

`python -m tests.mutation` changes one expression at a time (comparisons, arithmetic, constants, conditions, calls for their
effect) and asks the tests. A mutant that no test notices survives. Those that compute the same as the original are listed
with the two equal expressions; every other survivor is a test that is missing. This page is written by the command; results
are kept by module in `tests/mutation/results`, so that a run goes on where the last one ended.

| module | mutants | killed | ran too long | equivalent | survived |
|---|---:|---:|---:|---:|---:|
"""


def write_report(results: Path) -> None:
    """Write the page from all results that are kept."""
    equivalents: dict[str, dict[str, str]] = json.loads(EQUIVALENTS.read_text(encoding="utf-8"))
    found = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.glob("*.json"))}
    rows = [_row(module, each, equivalents.get(module, {})) for module, each in found.items()]
    parts = [_HEAD + "\n".join(rows)]
    parts += [_list("Survivors", list(_survivors(found, equivalents)))]
    parts += [_list("Equivalent: the two expressions are equal", list(_equal(equivalents)))]
    PAGE.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def _row(module: str, found: dict[str, Any], equal: dict[str, str]) -> str:
    slow = sum(each["verdict"] == "timeout" for each in found["not_killed"])
    alive = [each["mutant"] for each in found["not_killed"] if each["verdict"] == "survived"]
    same = sum(mutant in equal for mutant in alive)
    tested = len(found["tested"])
    killed = tested - slow - len(alive)
    left = f" ({found['mutants'] - tested} not tested yet)" if tested < found["mutants"] else ""
    return f"| `{module}`{left} | {found['mutants']} | {killed} | {slow} | {same} | {len(alive) - same} |"


def _survivors(found: dict[str, dict[str, Any]], equivalents: dict[str, dict[str, str]]) -> Iterator[str]:
    for module, each in found.items():
        for one in each["not_killed"]:
            if one["verdict"] == "survived" and one["mutant"] not in equivalents.get(module, {}):
                yield f"- `{module}` line {one['line']}: `{one['mutant']}`"


def _equal(equivalents: dict[str, dict[str, str]]) -> Iterator[str]:
    for module, each in sorted(equivalents.items()):
        for mutant, why in sorted(each.items()):
            yield f"- `{module}`: `{mutant}`: {why}"


def _list(title: str, lines: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(lines) if lines else ""
