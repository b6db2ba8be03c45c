"""The words of ClickHouse's SQL: enough to find keywords, and where statements begin and end. Knows no grammar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""
    (?P<space> \s+ | --[^\n]*\n? | \#[ !][^\n]*\n? | /\*.*?\*/ )
  | (?P<heredoc> \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
  | (?P<string> '(?:[^'\\]|\\.|'')*' )
  | (?P<name> "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*` )
  | (?P<word> [A-Za-z_]\w* )
  | (?P<number> [0-9][\w.]* )
  | (?P<mark> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING = frozenset({b"(", b"[", b"{"})
_CLOSING = frozenset({b")", b"]", b"}"})


@dataclass(frozen=True, slots=True)
class Token:
    """One word, quoted name, string, number or mark, at bytes `start` to `end`, inside of `depth` brackets.

    `upper` is the text in upper case if it is a bare word, else the text itself.
    """

    kind: str
    text: bytes
    upper: bytes
    start: int
    end: int
    depth: int

    def is_word(self, *words: bytes) -> bool:
        """Whether this is one of these keywords (in upper case), outside of all brackets."""
        return self.kind == "word" and self.depth == 0 and self.upper in words

    @property
    def ends_statement(self) -> bool:
        """Whether this is a semicolon."""
        return self.kind == "mark" and self.text == b";"


def tokens(source: bytes) -> Iterator[Token]:
    """The tokens without spaces and comments, read lazily: what follows the last one taken is not looked at."""
    depth = 0
    for match in _TOKEN.finditer(source):
        kind = match.lastgroup or "mark"
        if kind == "space":
            continue
        text = match[0]
        if kind == "mark" and text in _OPENING:
            depth += 1
        elif kind == "mark" and text in _CLOSING:
            depth = max(0, depth - 1)
        yield Token(kind, text, text.upper() if kind == "word" else text, match.start(), match.end(), depth)


def split_statements(source: bytes) -> list[bytes]:
    """The statements between semicolons, without the semicolons, surrounding comments and spaces; no empty ones."""
    statements: list[bytes] = []
    first = last = -1
    for token in tokens(source):
        if token.ends_statement:
            if first >= 0:
                statements.append(source[first:last])
            first = -1
        else:
            first = token.start if first < 0 else first
            last = token.end
    if first >= 0:
        statements.append(source[first:last])
    return statements
