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


class _PlainLoader(yaml.SafeLoader):
    """YAML without surprises: an instant stays the text that was written."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class CardFile:
    """A card document as it stands in a file, and where each of its parts begins (line and column from 1)."""

    path: Path
    document: dict[str, Any]
    positions: Mapping[NodePath, tuple[int, int]]

    def place(self, path: NodePath) -> str:
        """`file:line:column` of a part, or of the nearest part around it that is in the file."""
        while path and path not in self.positions:
            path = path[:-1]
        line, column = self.positions.get(path, (1, 1))
        return f"{self.path}:{line}:{column}"


def read_card_file(path: Path) -> CardFile:
    """Read a card from a YAML (or JSON) file. Raises ConfigurationError when there is none in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"cannot read the rate card {path}: {reason}", code="card_file") from None
    loader = _PlainLoader(text)
    try:
        node = loader.get_single_node()
        document = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigurationError(f"{place}: not YAML: {error.problem}", code="card_file") from None
    finally:
        loader.dispose()
    if node is None or not isinstance(document, dict):
        raise ConfigurationError(f"{path}: a rate card is a mapping with id, version, currency, ...", code="card_file")
    positions: dict[NodePath, tuple[int, int]] = {}
    _note(node, (), positions)
    return CardFile(path, document, positions)


def _note(node: yaml.Node, path: NodePath, positions: dict[NodePath, tuple[int, int]]) -> None:
    positions[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _note(value, (*path, str(key.value)), positions)
            positions[*path, str(key.value)] = (key.start_mark.line + 1, key.start_mark.column + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note(value, (*path, index), positions)
