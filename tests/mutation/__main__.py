"""`python -m tests.mutation [MODULE ...]`: mutate, test, write down what survived. It goes on where it ended."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.mutation.mutants import Mutant, mutants
from tests.mutation.report import write_report
from tests.mutation.targets import TARGETS
from tests.mutation.trial import trial

RESULTS = Path("tests/mutation/results")


def main() -> None:
    """Run the modules that are named, or all; the others' results stay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=sorted(TARGETS), help="e.g. rating/money.py (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at once (default 2)")
    parser.add_argument("--again", action="store_true", help="try those again that survived")
    wanted = parser.parse_args()
    for module in wanted.modules:
        run(Path(module), wanted.jobs, again=wanted.again)
    write_report(RESULTS)


def run(module: Path, jobs: int, *, again: bool) -> None:
    """Test every mutant of a module that has no result for this source yet."""
    source = module.read_text(encoding="utf-8")
    tests = [test for test in TARGETS[str(module)] if Path(test).exists()]
    file = RESULTS / f"{'.'.join(module.with_suffix('').parts)}.json"
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    known = _known(file, digest)
    made = list(mutants(source))
    keys = {each.key for each in made}
    verdicts: dict[str, str] = {key: verdict for key, verdict in known.items() if key in keys}
    left = [
        each for each in made if verdicts.get(each.key, "survived" if again else "") == ("survived" if again else "")
    ]
    began = time.monotonic()

    def one(mutant: Mutant) -> tuple[Mutant, str]:
        return mutant, trial(module, mutant.source, tests)

    with ThreadPoolExecutor(jobs) as pool:
        for number, (mutant, verdict) in enumerate(pool.map(one, left), 1):
            verdicts[mutant.key] = verdict
            if verdict != "killed":
                print(f"{module}:{mutant.line}: {verdict}: {mutant.key}", flush=True)
            if sys.stderr.isatty():
                print(f"\r{module}: {number} of {len(left)}", end="", file=sys.stderr)
            if number % 20 == 0 or number == len(left):
                _write(file, digest, made, verdicts)
    _write(file, digest, made, verdicts)
    survived = sum(verdict == "survived" for verdict in verdicts.values())
    print(f"{module}: {len(made)} mutants, {survived} survived, {time.monotonic() - began:.0f} s", flush=True)


def _known(file: Path, digest: str) -> dict[str, str]:
    if not file.exists():
        return {}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if found["source"] != digest:
        return {}
    survived = {each["mutant"]: each["verdict"] for each in found["not_killed"]}
    return {key: survived.get(key, "killed") for key in found["tested"]}


def _write(file: Path, digest: str, made: list[Mutant], verdicts: dict[str, str]) -> None:
    lines = {each.key: each.line for each in made}
    document = {
        "source": digest,
        "mutants": len(made),
        "tested": sorted(verdicts),
        "not_killed": [
            {"line": lines[key], "mutant": key, "verdict": verdict}
            for key, verdict in sorted(verdicts.items())
            if verdict != "killed"
        ],
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
