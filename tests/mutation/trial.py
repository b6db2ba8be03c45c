"""Running the tests against one mutant, in a process forked from one that has the slow imports behind it."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final, Literal

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings

Verdict = Literal["killed", "survived", "timeout"]
_TIMEOUT_S: Final = 240.0
_KILLED, _SURVIVED, _BROKEN = 0, 7, 8


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a changed source."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self._name, self._path, self._source = name, path, source

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        package = self._path.name == "__init__.py"
        return importlib.util.spec_from_loader(name, self, origin=str(self._path), is_package=package)

    def exec_module(self, module: ModuleType) -> None:
        if self._path.name == "__init__.py":
            module.__path__ = [str(self._path.parent)]
        exec(compile(self._source, str(self._path), "exec"), module.__dict__)  # noqa: S102 - the mutant itself


def module_name(path: Path) -> str:
    """`rating/models/flat.py` is `rating.models.flat`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def trial(path: Path, source: str, tests: Sequence[str]) -> Verdict:
    """Whether the tests notice that the module at `path` (relative) has another source."""
    child = os.fork()
    if not child:
        try:
            os._exit(_run(path, source, tests))
        finally:
            # Whatever went wrong: the child must not go on as a second copy of its parent.
            os._exit(_BROKEN)
    ends = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if code == _BROKEN:
                raise RuntimeError(f"the tests of {path} cannot be run: {', '.join(tests)}")
            return "survived" if code == _SURVIVED else "killed"
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def _run(path: Path, source: str, tests: Sequence[str]) -> int:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.meta_path.insert(0, _Changed(module_name(path), path, source))
    # The same examples each time, and no shrinking: that a test goes red is all that is asked.
    hypothesis_settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    hypothesis_settings.load_profile("mutation")
    ended = pytest.main(["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly", *tests])
    if ended == pytest.ExitCode.USAGE_ERROR or ended == pytest.ExitCode.NO_TESTS_COLLECTED:
        return _BROKEN
    return _SURVIVED if ended == pytest.ExitCode.OK else _KILLED
