"""What flags, environment and a TOML file give, each value with its place, for people to find it again."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.config.catalog import CONFIG, PREFIX, TABLES, Setting, by_place, catalog, misspelled, suggestion
from infra.config.toml_lines import key_lines

FLAG, ENVIRONMENT, FILE = 3, 2, 1
"""How strong a source is."""
DEFAULT_FILE = Path("tokenmill.toml")


@dataclass(frozen=True, slots=True)
class Given:
    """One value as somebody gave it."""

    name: str
    text: str
    """As an environment variable would hold it."""
    strength: int
    place: str
    """`--kafka`, `TOKENMILL_KAFKA` or `tokenmill.toml:4`."""
    problem: str
    """How a line about it begins: the place, and the value unless it is a secret."""


class Problems(list[str]):
    """The lines about everything that is wrong."""

    def in_order(self, path: Path | None) -> tuple[str, ...]:
        """Flags and environment first, in the order in which they were found, then the file's by line."""
        begin = re.compile(f"{re.escape(str(path))}:([0-9]+):")

        def line(problem: str) -> int:
            found = begin.match(problem)
            return int(found[1]) if found else 0

        return tuple(sorted(self, key=line))


def from_flags(overrides: Mapping[str, str], flags: Mapping[str, str], problems: Problems) -> Iterator[Given]:
    """Overrides as if given by flags; `flags` says how a flag is written that is not `--name`."""
    for name, text in overrides.items():
        flag = flags.get(name, "--" + name.replace("_", "-"))
        if name == CONFIG:
            continue
        if name not in catalog():
            problems.append(f"{flag}: no setting is called {name!r}{_did_you_mean(name)}")
            continue
        shown = f" {_short(repr(text))}" if _may_be_shown(catalog()[name], text) else ""
        yield Given(name, text, FLAG, flag, flag + shown)


def from_environment(environ: Mapping[str, str], problems: Problems) -> Iterator[Given]:
    """Variables that begin with TOKENMILL_; those that nearly name a setting are problems."""
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        meant = misspelled(variable)
        setting = catalog().get(variable.removeprefix(PREFIX).lower())
        if meant is not None:
            problems.append(f"{variable} is no setting, did you mean {meant}?")
        elif setting is not None and variable == setting.variable:
            shown = f"={_short(repr(text))}" if _may_be_shown(setting, text) else ""
            yield Given(setting.name, text, ENVIRONMENT, variable, variable + shown)


def from_file(path: Path, named_by: str, problems: Problems) -> Iterator[Given]:
    """The settings of a TOML file; `named_by` is the flag or variable that names the file, "" for the default one."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        document = tomllib.loads(text)
    except OSError as error:
        between = " " if named_by.startswith("-") else "="
        where = f"{named_by}{between}{str(path)!r}" if named_by else str(path)
        problems.append(f"{where}: cannot read the configuration file ({error.strerror}): name one that can be read")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.append(f"{path}:{line}: is not UTF-8 text (byte 0x{error.object[error.start]:02x}): save it as UTF-8")
    except (ValueError, RecursionError) as error:  # the parser's own, a number of 5,000 digits, a thousand brackets
        problems.append(_syntax_problem(path, text, str(error)))
    else:
        yield from _Document(path, key_lines(text.replace("\r\n", "\n")), problems).values(document)


def _may_be_shown(setting: Setting, text: str) -> bool:
    """Whether a value may stand in a message: no secret, and nothing that may be one by mistake.

    People write a user and a password into an address that takes none, and a password where its file should be named.
    """
    misplaced = "@" in text or (setting.name.endswith("password_file") and "/" not in text)
    return not setting.hidden and not misplaced


def _syntax_problem(path: Path, text: str, message: str) -> str:
    """What the parser says, with its place in front: `tokenmill.toml:3:5: unclosed array`."""
    found = re.search(r" \(at line ([0-9]+), column ([0-9]+)\)$", message)
    if found:
        line, column = int(found[1]), int(found[2])
    else:
        lines = text.splitlines() or [""]
        line, column = len(lines), len(lines[-1]) + 1
    said = message.partition(" (at ")[0]
    hint = next((f"; {hint}" for begin, hint in _SYNTAX_HINTS.items() if said.startswith(begin)), "")
    if not found:
        hint = "; the file ends before the value does"
    return f"{path}:{line}:{column}: not valid TOML: {said[:1].lower()}{said[1:]}{hint}"


_SYNTAX_HINTS = {
    "Invalid value": 'texts need quotes, as in name = "value"',
    "Illegal character '\\n'": "a text ends on its line, with the quote that it begins with",
    "Expected '=' after a key": 'a line is name = "value" or [table]',
    "Invalid statement": 'a line is name = "value" or [table]',
    "Cannot overwrite a value": "it is there already: keep one",
    "Cannot declare": "it is there already: keep one",
}
"""What to do about what `tomllib` says most often."""


@dataclass(frozen=True, slots=True)
class _Document:
    """A TOML file: reads its values, and knows the line of each key."""

    path: Path
    lines: Mapping[tuple[str, ...], int]
    problems: Problems

    def values(self, document: Mapping[str, object]) -> Iterator[Given]:
        seen: dict[str, str] = {}
        for setting, keys, value in self._settings(document):
            place = self._place(keys)
            if setting.name in seen:
                self.problems.append(f"{place}: {setting.name} is given twice, also at {seen[setting.name]}: keep one")
                continue
            seen[setting.name] = place
            written = f"{place}: {_key_text(keys)}"
            # A table in a wrong place may hold a password.
            simple = "{" not in str(value) and _may_be_shown(setting, str(value))
            shown = f"{written} = {_shown(value)}" if simple else written
            try:
                text = _as_text(setting, value)
            except ValueError as error:
                self.problems.append(f"{shown}: {error}")
            else:
                if setting.kind.is_path and text and not text.startswith("~"):
                    text = str(self.path.parent / text)
                yield Given(setting.name, text, FILE, place, shown)

    def _settings(self, document: Mapping[str, object]) -> Iterator[tuple[Setting, tuple[str, ...], object]]:
        for key, value in document.items():
            if key in TABLES and isinstance(value, dict):
                for below, inner in value.items():
                    if (key, below) in by_place():
                        yield by_place()[key, below], (key, below), inner
                    else:
                        self._unknown((key, below))
            elif key in catalog():
                yield catalog()[key], (key,), value
            elif ("", key) in by_place():
                yield by_place()["", key], (key,), value
            elif key in TABLES:
                self.problems.append(f"{self._place((key,))}: {key} must be a table, begun with a line [{key}]")
            else:
                self._unknown((key,), isinstance(value, dict))

    def _unknown(self, keys: tuple[str, ...], is_table: bool = False) -> None:
        table = keys[0] if len(keys) == 2 else ""
        place = self._place(keys)
        if is_table:
            close = difflib.get_close_matches(keys[0], TABLES, n=1)
            hint = f", did you mean [{close[0]}]?" if close else f"; the tables are {_tables()}"
            self.problems.append(f"{place}: there is no table [{keys[0]}]{hint}")
            return
        meant = _meant(table, keys[-1])
        if meant is not None and meant.table == table:
            hint = f", did you mean {meant.key}?"
        elif meant is not None:
            where = f"in the table [{meant.table}]" if meant.table else "at the top, before the first table"
            hint = f", did you mean {meant.key} {where}?"
        else:
            here = ", ".join(key for where, key in by_place() if where == table)
            hint = f"; there are {here}" + ("" if table else f", and the tables {_tables()}")
        self.problems.append(f"{place}: {_key_text(keys)} is no setting{hint}")

    def _place(self, keys: tuple[str, ...]) -> str:
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return f"{self.path}:{self.lines[keys]}" if keys else str(self.path)


def _tables() -> str:
    return ", ".join(f"[{name}]" for name in TABLES if name)


def _meant(table: str, key: str) -> Setting | None:
    """The setting nearest to a key that a table does not have: in this table, else anywhere."""
    if table:
        close = suggestion(f"{table}_{key}")
        if close is not None and close.table == table:
            return close
    return suggestion(key)


def _key_text(keys: tuple[str, ...]) -> str:
    return f"[{keys[0]}] {keys[1]}" if len(keys) == 2 else keys[0]


def _did_you_mean(name: str) -> str:
    found = suggestion(name)
    return f", did you mean {found.name}?" if found else "; `tokenmill config` lists them all"


def _as_text(setting: Setting, value: object) -> str:
    """The text that an environment variable would hold for a TOML value.

    Raises ValueError when the value is of a type that the setting does not have.
    """
    kind = setting.kind
    wrong = ValueError(f"is {_type_name(value)}; must be {kind.allowed}")
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        if bool not in kind.toml:
            raise wrong
        return "true" if value else "false"
    if isinstance(value, dict) and dict in kind.toml:
        return json.dumps(dict(_flat(value, "")))
    if isinstance(value, list) and list in kind.toml:
        if not all(isinstance(item, int | str) and not isinstance(item, bool) for item in value):
            raise wrong
        return ",".join(str(item) for item in value)
    if not isinstance(value, int | float) or type(value) not in kind.toml:
        if isinstance(value, int | float) and str in kind.toml and kind.toml == (str,):
            raise ValueError(
                "is a number; must be text in quotes" + ("" if setting.hidden else f': "{_short(str(value))}"')
            )
        raise wrong
    return repr(value)


def _flat(table: Mapping[str, object], prefix: str) -> Iterator[tuple[str, str]]:
    """A table of options: `security.protocol = "SSL"` without quotes is a table in a table for TOML, but meant as one name."""
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict):
            yield from _flat(value, name + ".")
        elif isinstance(value, bool):
            yield name, "true" if value else "false"
        elif isinstance(value, str | int | float):
            yield name, str(value)
        else:
            raise ValueError(f"{name} is {_type_name(value)}; must be text, a number, true or false")


def _type_name(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "a whole number"
    if isinstance(value, float):
        return "a number with a fraction"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "an array"
    return "a table" if isinstance(value, dict) else "a date or time"


_LONGEST = 80
_OF_JSON = (str, int, float, list, dict)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, _OF_JSON) else str(value)
    return _short(text)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
