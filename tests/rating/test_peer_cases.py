"""Rating examples from the test suites of other billing systems, through the real engine.

`PEER_CASES=path` adds the examples of any file of the same form. A model that nobody mapped is a failure; one whose meaning
contradicts ours is listed in `differs` with the reason, at most 5 % of a file.
"""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.rating.peers.differs import reason_to_differ
from tests.rating.peers.results import result

_OWN = Path(__file__).parent / "peers" / "cases.json"
_FILES = [_OWN, *(Path(path) for path in [os.environ.get("PEER_CASES")] if path)]
_MOST_THAT_DIFFER = Decimal("0.05")

Case = dict[str, Any]


def _cases(file: Path) -> list[Case]:
    cases: list[Case] = json.loads(file.read_text(encoding="utf-8"))["cases"]
    return cases


_ALL = [(file.name, case) for file in _FILES for case in _cases(file)]


@pytest.mark.parametrize("case", [case for _, case in _ALL], ids=[f"{name}:{case['id']}" for name, case in _ALL])
def test_the_engine_comes_to_what_the_peer_states(case: Case) -> None:
    found = result(case["model"], case["definition"], str(case["usage"]), case.get("expects", "amount"))
    reason = reason_to_differ(case["model"], case["definition"])
    if reason:
        assert found != Decimal(str(case["expected_amount"])), "it agrees: no reason to list it"
        return
    assert found == Decimal(str(case["expected_amount"]))


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.name)
def test_few_examples_differ(file: Path) -> None:
    cases = _cases(file)
    differing = [case["id"] for case in cases if reason_to_differ(case["model"], case["definition"])]
    assert len(differing) <= _MOST_THAT_DIFFER * len(cases), differing
