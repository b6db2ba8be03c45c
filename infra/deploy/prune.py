"""Names the installed distributions that Tokenmill does not need to run, one a line, for `pip uninstall`.

    python infra/deploy/prune.py [--without NAME ...]

Makes the image small: the lock file also pins what tests and checks need. `--without` also gives up a distribution that
Tokenmill requires, with all that only it needs: a server's image has no use for the embedded broker and ClickHouse.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = canonicalize_name("tokenmill")


def not_needed(installed: Iterable[Distribution], without: Iterable[str] = ()) -> list[str]:
    """The canonical names of the installed distributions that `tokenmill` does not require, sorted.

    Raises ValueError when `tokenmill` is not installed or a name in `without` is none of its requirements.
    """
    known = {canonicalize_name(each.metadata["Name"]): each for each in installed}
    if ROOT not in known:
        raise ValueError(f"{ROOT} is not installed here")
    given_up = {canonicalize_name(name) for name in without}
    unknown = given_up - {name for name, _ in _required(known[ROOT], frozenset())}
    if unknown:
        raise ValueError(f"{ROOT} does not require {', '.join(sorted(unknown))}")
    needed: set[tuple[NormalizedName, frozenset[str]]] = set()
    waiting: list[tuple[NormalizedName, frozenset[str]]] = [(ROOT, frozenset())]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in needed or name in given_up or name not in known:
            continue
        needed.add((name, extras))
        waiting.extend(_required(known[name], extras))
    return sorted(set(known) - {name for name, _ in needed})


def _required(distribution: Distribution, extras: frozenset[str]) -> Iterable[tuple[NormalizedName, frozenset[str]]]:
    """What a distribution requires on this machine, each with the extras it asks for."""
    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            yield canonicalize_name(requirement.name), frozenset(requirement.extras)


def main() -> None:
    """Print the names."""
    parser = argparse.ArgumentParser(
        description="Name the installed distributions that Tokenmill does not need to run."
    )
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="give up this requirement too")
    try:
        names = not_needed(distributions(), parser.parse_args().without)
    except ValueError as error:
        sys.exit(str(error))
    sys.stdout.writelines(f"{name}\n" for name in names)


if __name__ == "__main__":
    main()
