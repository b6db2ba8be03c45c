"""What is written from the model: the JSON Schema of a TOML file, an example file, the tables of `docs/configuration.md`.

`python -m infra.config.pages` writes the tables of the page anew; a test fails when they are not current.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from infra.config.catalog import TABLES, Setting, catalog
from infra.config.model import ClickHouseAddress

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
_BEGIN = "<!-- The tables below are written by: python -m infra.config.pages -->\n"
_END = "<!-- End of the tables. -->\n"
_EXAMPLE_WIDTH = 100


def of_table(table: str) -> list[Setting]:
    """The settings of one table of a TOML file; what is a table of its own comes last, as TOML wants it."""
    found = [setting for setting in catalog().values() if setting.table == table]
    return sorted(found, key=lambda setting: dict in setting.kind.toml)


def json_schema() -> dict[str, object]:
    """The JSON Schema (draft 2020-12) of a TOML file with settings, for editors and checks."""
    properties: dict[str, object] = {setting.key: _property(setting) for setting in of_table("")}
    for table, title in TABLES.items():
        if table:
            inner = {setting.key: _property(setting) for setting in of_table(table)}
            properties[table] = {
                "title": title,
                "type": "object",
                "properties": inner,
                "additionalProperties": False,
            }
    for setting in catalog().values():
        flat = {**setting.kind.schema, "description": f"The same as {setting.toml}."}
        if setting.name in TABLES:  # `kafka` and `clickhouse` are an address or a table
            properties[setting.name] = {"anyOf": [properties[setting.name], flat]}
        elif setting.table:
            properties[setting.name] = flat
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:tokenmill:configuration:v1",
        "title": "Tokenmill configuration",
        "description": "Settings of Tokenmill's processes in a TOML file. Environment variables and flags win over it.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _property(setting: Setting) -> dict[str, object]:
    said: dict[str, object] = {**setting.kind.schema, "description": f"{setting.help} Variable: {setting.variable}."}
    if not setting.hidden and setting.default is not None:
        said["default"] = plain(setting.default)
    return said


def plain(value: object) -> object:
    """A value as JSON and TOML have it."""
    if isinstance(value, ClickHouseAddress):
        return value.text()
    if isinstance(value, Path):
        return str(value).encode(errors="replace").decode()  # a name may hold bytes that are no UTF-8
    if isinstance(value, tuple):
        return list(value)
    return "" if value is None else value


def toml_value(value: object) -> str:
    """A value as TOML writes it; a table is written as one in line."""
    found = plain(value)
    if isinstance(found, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml_value(inner)}" for key, inner in found.items()) + "}"
    return json.dumps(found, ensure_ascii=False)


def example() -> str:
    """A TOML file that holds every setting at its default, each commented out, with its meaning and bounds."""
    lines = [
        "# Settings of Tokenmill, each at its default. Flags win over environment variables, those over this file.",
        "# Read from ./tokenmill.toml, or from where --config FILE or TOKENMILL_CONFIG says. Check it with: tokenmill config",
    ]
    for table, title in TABLES.items():
        lines += ["", f"# {title}"]
        if table:
            lines.append(f"[{table}]")
        for setting in of_table(table):
            lines += ["", *_commented(setting.help)]
            if setting.kind.schema != {"type": "string"} and not setting.kind.is_path:
                lines += _commented(f"Allowed: {setting.kind.allowed}.")
            if dict in setting.kind.toml:
                lines += [f"#[{table}.{setting.key}]", '# "client.rack" = "a"']
            else:
                lines.append(f"#{setting.key} = {toml_value(setting.default)}")
    return "\n".join(lines) + "\n"


def _commented(text: str) -> list[str]:
    return textwrap.wrap(text, _EXAMPLE_WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def markdown(page: str) -> str:
    """The page with current tables between its two marks; what stands around them is written by hand.

    Raises ValueError when the page has lost a mark.
    """
    before, found, rest = page.partition(_BEGIN)
    _, ended, after = rest.partition(_END)
    if not found or not ended:
        raise ValueError(f"the page needs the two lines {_BEGIN.strip()} and {_END.strip()}")
    tables = "\n".join(line for table, title in TABLES.items() for line in _markdown_table(table, title))
    return f"{before}{_BEGIN}\n{tables}\n{_END}{after}"


def _markdown_table(table: str, title: str) -> Iterator[str]:
    place = f"table `[{table}]`" if table else "at the top of the file, before the first table"
    yield f"### {title}\n\nIn a TOML file: {place}.\n"
    yield from _rows(
        ("in TOML", "variable", "default", "allowed", "meaning"), (_cells(each) for each in of_table(table))
    )
    yield ""


def _rows(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(heading) + " |"
    yield "|" + "---|" * len(heading)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _cells(setting: Setting) -> tuple[str, ...]:
    default = plain(setting.default)
    shown = "" if default in ("", {}) else f"`{toml_value(default)}`"
    return f"`{setting.key}`", f"`{setting.variable}`", shown, setting.kind.allowed, setting.help


def rendered(value: object) -> str:
    """A value for people: as it would be typed into a variable; of a table one `name=value` a line."""
    found = plain(value)
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, list):
        return ", ".join(str(item) for item in found)
    if isinstance(found, Mapping):
        return "\n".join(f"{name}={inner}" for name, inner in found.items())
    return str(found)


if __name__ == "__main__":
    PAGE.write_text(markdown(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stderr.write(f"written: {PAGE}\n")
