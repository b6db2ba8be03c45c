"""Rate cards as YAML files: plain data, and the line and column of every part of it."""

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

_MOST_PARTS = 200_000


class _PlainLoader(yaml.SafeLoader):
    """YAML without surprises: an instant stays the text that was written."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _RepeatedKey(yaml.MarkedYAMLError):
    """A mapping holds a key twice."""


@dataclass(frozen=True, slots=True)
class CardFile:
    """A card document as it stands in a file, and where each of its parts begins (line and column from 1)."""

    path: Path
    document: dict[str, Any]
    positions: Mapping[NodePath, tuple[int, int]]

    def position(self, path: NodePath) -> tuple[int, int]:
        """Line and column of a part, or of the nearest part around it that is in the file."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (1, 1))

    def place(self, path: NodePath) -> str:
        """The same as `file:line:column`."""
        line, column = self.position(path)
        return f"{self.path}:{line}:{column}"


def read_card_file(path: Path) -> CardFile:
    """Read a card from a YAML (or JSON) file. Raises ConfigurationError when there is none in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"cannot read the rate card {path}: {reason}", code="card_file") from None
    positions: dict[NodePath, tuple[int, int]] = {}
    try:
        node = yaml.compose(text, _PlainLoader)
        if node is not None:
            _note(node, (), positions)
        document = yaml.load(text, _PlainLoader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        kind = "" if isinstance(error, _RepeatedKey) else "not YAML: "
        raise ConfigurationError(f"{place}: {kind}{reason}", code="card_file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # A character that no YAML may hold, a date that no calendar has, thousands of nested brackets.
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"{path}: not YAML: {reason}", code="card_file") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: a rate card is a mapping with id, version, currency, ...", code="card_file")
    return CardFile(path, document, positions)


def _note(node: yaml.Node, path: NodePath, positions: dict[NodePath, tuple[int, int]]) -> None:
    """Note where each part begins: a key of a mapping at the key, an item of a list at the item.

    Raises _RepeatedKey for a key that stands twice (YAML readers keep the last: a price would vanish silently), ValueError
    when aliases make a small file a huge document.
    """
    positions[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if len(positions) > _MOST_PARTS:
        raise ValueError(f"more than {_MOST_PARTS:,} keys and items")
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen and name != "<<":
                raise _RepeatedKey(problem=f"{name} stands here a second time", problem_mark=key.start_mark)
            seen.add(name)
            _note(value, (*path, name), positions)
            positions[*path, name] = (key.start_mark.line + 1, key.start_mark.column + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note(value, (*path, index), positions)
