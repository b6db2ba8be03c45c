"""Rate cards and plans as YAML files: plain data, and the line and column of every part of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.errors import ConfigurationError

NodePath = tuple[str | int, ...]
"""Keys and list positions from the root of a document."""

EXAMPLES = Path(__file__).parent / "examples" / "ratecards"
"""The example cards that come with tokenmill."""
PLANS = EXAMPLES.parent / "plans"
"""The example plans that come with tokenmill."""

_MOST_PARTS = 200_000
_MOST_BYTES = 16 * 1024 * 1024


class _PlainLoader(yaml.SafeLoader):
    """YAML without surprises, as the core schema of YAML 1.2 has it and editors show it.

    An instant stays the text that was written, `no` is text and not false, 010 is not eight and 1:30 not ninety.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # PyYAML's own name


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


@dataclass(frozen=True, slots=True)
class CardFile:
    """A document as it stands in a file, and where each of its parts begins (line and column from 1).

    `repeated` are the keys that stand twice in one mapping. YAML readers keep the last, so that a price would vanish
    silently: whoever uses the document has to refuse them.
    """

    path: Path
    document: dict[str, Any]
    positions: Mapping[NodePath, tuple[int, int]]
    repeated: tuple[tuple[NodePath, tuple[int, int]], ...] = ()

    def position(self, path: NodePath) -> tuple[int, int]:
        """Line and column of a part, or of the nearest part around it that is in the file."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (1, 1))

    def place(self, path: NodePath) -> str:
        """The same as `file:line:column`."""
        line, column = self.position(path)
        return f"{self.path}:{line}:{column}"


def read_card_file(path: Path, what: str = "rate card", holds: str = "id, version, currency, ...") -> CardFile:
    """Read a card (or plan) from a YAML or JSON file. Raises ConfigurationError when there is none in it.

    `what` and `holds` name the document in messages.
    """
    text = _read_text(path, what)
    positions: dict[NodePath, tuple[int, int]] = {}
    repeated: list[tuple[NodePath, tuple[int, int]]] = []
    try:
        node = yaml.compose(text, _PlainLoader)
        if node is not None:
            _note(node, (), positions, repeated)
        document = yaml.load(text, _PlainLoader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else f"{path}:1:1"
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigurationError(f"{place}: not YAML: {reason}{_advice(reason)}", code="card_file") from None
    except yaml.reader.ReaderError as error:
        place = _place_of(path, text[: error.position])
        reason = f"unacceptable character #x{int(error.character):04x}: remove it"
        raise ConfigurationError(f"{place}: not YAML: {reason}", code="card_file") from None
    except RecursionError:
        raise ConfigurationError(f"{path}:1:1: not YAML: nested without end: write it flat", code="card_file") from None
    except (yaml.YAMLError, ValueError) as error:
        # A document that grows without end, a number of too many digits.
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"{path}:1:1: not YAML: {reason}", code="card_file") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}:1:1: a {what} is a mapping with {holds}", code="card_file")
    return CardFile(path, document, positions, tuple(repeated))


def _read_text(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read the {what} {path}: {error.strerror}", code="card_file") from None
    if len(raw) > _MOST_BYTES:
        raise ConfigurationError(
            f"{path}:1:1: more than {_MOST_BYTES // 2**20} MiB: this is no {what}", code="card_file"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place_of(path, raw[: error.start].decode("utf-8-sig", "replace"))
        bad = raw[error.start]
        raise ConfigurationError(
            f"{place}: not UTF-8 text (byte 0x{bad:02x}): save the file as UTF-8", code="card_file"
        ) from None


def _place_of(path: Path, before: str) -> str:
    return f"{path}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def _advice(reason: str) -> str:
    if "'\\t'" in reason:
        return ": indent with spaces"
    if "mapping values are not allowed" in reason:
        return ": put text with ': ' in quotes, or correct the indentation"
    if "single document" in reason:
        return ": one file holds one document, remove the '---'"
    if "constructor for the tag" in reason:
        return ": remove the tag"
    if "unhashable key" in reason:
        return ": keys are text"
    return ""


def _note(
    node: yaml.Node,
    path: NodePath,
    positions: dict[NodePath, tuple[int, int]],
    repeated: list[tuple[NodePath, tuple[int, int]]],
) -> None:
    """Note where each part begins: a key of a mapping at the key, an item of a list at the item; and repeated keys.

    Raises ValueError when aliases make a small file a huge document.
    """
    positions[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if len(positions) > _MOST_PARTS:
        raise ValueError(f"more than {_MOST_PARTS:,} keys and items: write the card without so many aliases")
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            place = (key.start_mark.line + 1, key.start_mark.column + 1)
            if name in seen and name != "<<":
                repeated.append(((*path, name), place))
                continue
            seen.add(name)
            _note(value, (*path, name), positions, repeated)
            positions[*path, name] = place
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note(value, (*path, index), positions, repeated)
