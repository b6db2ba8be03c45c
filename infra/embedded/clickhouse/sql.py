"""Where a statement ends and its data begins: the little of ClickHouse's grammar that the HTTP protocol needs.

A request carries the statement and, for INSERT, the data in one byte string (the URL's `query`, a newline, the body).
The data may be binary, so the statement is read token by token and reading stops where the data begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from infra.embedded.clickhouse.errors import ClickHouseError

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

_DATA_START = re.compile(rb"[ \t\f]*;?[ \t\f]*(?:\r?\n)?")
_OPENING = frozenset({b"(", b"[", b"{"})
_CLOSING = frozenset({b")", b"]", b"}"})
_SELECT_WORDS = frozenset({b"SELECT", b"WITH", b"FROM", b"WATCH"})
_BEFORE_NAMES = frozenset({b"INTO", b"TABLE", b"FUNCTION", b"."})


class Kind(StrEnum):
    """What a statement is, as far as its way through the engine depends on it."""

    SELECT = "select"
    INSERT_DATA = "insert with data"
    INSERT_SELECT = "insert from a select"
    SETTING = "set"
    USE = "use"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `text` is what the engine gets: without a trailing semicolon, for INSERT_DATA without `FORMAT x`.

    `format` is the FORMAT named in the statement ("" if none); for INSERT_DATA the format of the data, and
    `data_at` is where the data begins in the bytes that were parsed (-1: no data). `words` are the statement's bare
    words in upper case.
    """

    kind: Kind
    text: bytes
    format: str
    data_at: int
    words: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: bytes
    upper: bytes
    start: int
    end: int
    depth: int

    def is_word(self, *words: bytes) -> bool:
        """Whether this is one of these keywords outside of all brackets."""
        return self.kind == "word" and self.depth == 0 and self.upper in words


def parse(source: bytes) -> Statement:
    """Split `source` into its statement and, for INSERT, the place of its data.

    Raises ClickHouseError SYNTAX_ERROR for an empty query and for several statements in one request,
    INTO_OUTFILE_NOT_ALLOWED and UNKNOWN_TYPE_OF_QUERY for files on the client's side, which a server has none of.
    """
    tokens: list[_Token] = []
    end = -1
    for token in _tokens(source):
        if token.kind == "mark" and token.upper == b";":
            end = token.start if end < 0 else end
            continue
        if end >= 0:
            raise ClickHouseError("SYNTAX_ERROR", f"Syntax error (Multi-statements are not allowed): at {end + 1}")
        tokens.append(token)
        if tokens[0].upper == b"INSERT":
            inserting = _insert_with_data(source, tokens)
            if inserting is not None:
                return inserting
    if not tokens:
        raise ClickHouseError("SYNTAX_ERROR", "Syntax error: failed at position 1 (end of query): Empty query")
    _refuse_files(tokens)
    text = source if end < 0 else source[:end]
    return Statement(_kind(tokens), text, _output_format(tokens), -1, _words(tokens))


def _tokens(source: bytes) -> Iterator[_Token]:
    depth = 0
    for match in _TOKEN.finditer(source):
        kind = match.lastgroup or "mark"
        if kind == "space":
            continue
        text = match[0]
        if kind == "mark":
            if text in _OPENING:
                depth += 1
            elif text in _CLOSING:
                depth = max(0, depth - 1)
        yield _Token(kind, text, text.upper() if kind == "word" else text, match.start(), match.end(), depth)


def _insert_with_data(source: bytes, tokens: list[_Token]) -> Statement | None:
    """The statement, if its newest token is the one before the data: VALUES, or the name of the FORMAT."""
    last = tokens[-1]
    before = tokens[-2] if len(tokens) > 1 else last
    if last.is_word(b"VALUES") and before.upper not in _BEFORE_NAMES:
        head, data_format, data_at = last.start, "Values", last.end
    elif before.is_word(b"FORMAT") and last.kind == "word" and tokens[-3].upper not in _BEFORE_NAMES:
        start = _DATA_START.match(source, last.end)
        head, data_format = before.start, last.text.decode()
        data_at = last.end if start is None else start.end()
    else:
        return None
    _refuse_files(tokens)
    kind = Kind.INSERT_SELECT if _selects(tokens) else Kind.INSERT_DATA
    text = source if kind is Kind.INSERT_SELECT else source[:head]
    return Statement(kind, text, data_format, data_at, _words(tokens))


def _selects(tokens: list[_Token]) -> bool:
    return any(word.is_word(*_SELECT_WORDS) and before.upper not in _BEFORE_NAMES for before, word in pairwise(tokens))


def _kind(tokens: list[_Token]) -> Kind:
    first = next((token.upper for token in tokens if token.upper != b"("), b"")
    if first in (b"SELECT", b"WITH", b"FROM"):
        return Kind.SELECT
    if first == b"INSERT":
        return Kind.INSERT_SELECT
    return {b"SET": Kind.SETTING, b"USE": Kind.USE}.get(first, Kind.OTHER)


def _output_format(tokens: list[_Token]) -> str:
    """The FORMAT that a query names for its result: at its end, or before a last SETTINGS."""
    for at in range(len(tokens) - 2, 0, -1):
        if tokens[at].is_word(b"FORMAT") and tokens[at + 1].kind == "word":
            after = tokens[at + 2] if at + 2 < len(tokens) else None
            if after is None or after.is_word(b"SETTINGS"):
                return tokens[at + 1].text.decode()
    return ""


def _words(tokens: list[_Token]) -> frozenset[bytes]:
    return frozenset(token.upper for token in tokens if token.kind == "word")


def _refuse_files(tokens: list[_Token]) -> None:
    for before, word in pairwise(tokens):
        if before.is_word(b"INTO") and word.is_word(b"OUTFILE") and tokens[0].upper != b"INSERT":
            raise ClickHouseError("INTO_OUTFILE_NOT_ALLOWED", "INTO OUTFILE is not allowed")
        if before.is_word(b"FROM") and word.is_word(b"INFILE"):
            raise ClickHouseError("UNKNOWN_TYPE_OF_QUERY", "Query has infile and was sent directly to server", code=78)
