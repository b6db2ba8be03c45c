"""One finding of `tokenmill doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, and how to mend it ("" where there is nothing to mend)."""

    name: str
    state: State
    found: str
    mend: str = ""


def ok(name: str, found: str) -> Check:
    """All is well."""
    return Check(name, "ok", found)


def warning(name: str, found: str, mend: str) -> Check:
    """It works, but somebody should know."""
    return Check(name, "warning", found, mend)


def problem(name: str, found: str, mend: str) -> Check:
    """It does not work, or will not for long."""
    return Check(name, "problem", found, mend)
