"""Where in a TOML text each key stands: the standard library's parser does not say.

Only for texts that `tomllib` has accepted: this reads just enough of the grammar to find keys, and checks nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}', re.DOTALL)
_SPACE = re.compile(r"[ \t]*")
_BETWEEN = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_PLAIN = re.compile(r"[^\"'#\[\]{}\n]+")
_CLOSING = re.compile(r"\]{1,2}")
_COMMENT = re.compile(r"#[^\n]*")


def key_lines(text: str) -> Mapping[tuple[str, ...], int]:
    """The line (from 1) of each key and table header, by its whole path; a key of an inline table has that table's line."""
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[tuple[str, ...], int] = {}

    def read(self) -> Mapping[tuple[str, ...], int]:
        table: tuple[str, ...] = ()
        self._take(_BETWEEN)
        while self._at < len(self._text):
            line = self._text.count("\n", 0, self._at) + 1
            if self._text[self._at] == "[":
                self._at += 2 if self._text.startswith("[[", self._at) else 1
                table = self._key()
                self._note(table, 0, line)
                self._take(_CLOSING)
            else:
                path = table + self._key()
                self._note(path, len(table), line)
                self._at = self._text.index("=", self._at) + 1
                self._skip_value()
            self._take(_BETWEEN)
        return self._lines

    def _note(self, path: tuple[str, ...], below: int, line: int) -> None:
        """Note the line of a key and of the tables that its dots open; the first place counts."""
        for length in range(below + 1, len(path) + 1):
            self._lines.setdefault(path[:length], line)

    def _key(self) -> tuple[str, ...]:
        parts: list[str] = []
        while True:
            self._take(_SPACE)
            if self._text[self._at] in "\"'":
                quoted = self._take(_BASIC) or self._take(_LITERAL)
                parts.append(tomllib.loads(f"key = {quoted}")["key"])
            else:
                parts.append(self._take(_BARE))
            self._take(_SPACE)
            if not self._text.startswith(".", self._at):
                return tuple(parts)
            self._at += 1

    def _skip_value(self) -> None:
        """Go to the end of the line on which the value ends."""
        depth = 0
        while self._at < len(self._text):
            sign = self._text[self._at]
            if sign == "\n" and depth == 0:
                return
            if sign in "[{":
                depth += 1
            elif sign in "]}":
                depth -= 1
            elif any(self._take(part) for part in (_LONG, _BASIC, _LITERAL, _COMMENT, _PLAIN)):
                continue
            self._at += 1

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found.group()
