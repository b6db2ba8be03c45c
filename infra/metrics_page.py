"""The table of `docs/metrics.md`, from the declarations in `infra.metrics`.

`python -m infra.metrics_page` writes it anew; a test fails when it is not current.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infra.metrics import DECLARATIONS, Declaration

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
_BEGIN = "<!-- The tables below are written by: python -m infra.metrics_page -->\n"
_END = "<!-- End of the tables. -->\n"
_SECTIONS = (("worker", "Workers"), ("sink", "Sinks"), (None, "Every process"))


def tables() -> str:
    """A table for each kind of process: name, type, labels and meaning of each metric."""
    return "\n".join("\n".join(_table(role, title)) + "\n" for role, title in _SECTIONS)


def _table(role: str | None, title: str) -> Iterator[str]:
    yield f"### {title}\n"
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    for each in DECLARATIONS:
        if each.role == role:
            yield _row(each)


def _row(declared: Declaration) -> str:
    labels = ", ".join(f"`{label}`" for label in declared.labels)
    return f"| `{declared.name}` | {declared.kind} | {labels} | {declared.help} |"


def page() -> str:
    """The page as it should be: its text by hand, its tables from the declarations."""
    text = PAGE.read_text(encoding="utf-8")
    before, found, rest = text.partition(_BEGIN)
    _, ended, after = rest.partition(_END)
    if not (found and ended):
        raise ValueError(f"{PAGE} lacks the two comments that stand around its tables")
    return f"{before}{_BEGIN}\n{tables()}\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
