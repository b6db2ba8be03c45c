"""Where a statement ends and its data begins: the little of ClickHouse's grammar that the HTTP protocol needs.

A request carries the statement and, for INSERT, the data in one byte string (the URL's `query`, a newline, the body).
The data may be binary, so the statement is read token by token and reading stops where the data begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from infra.clickhouse_lexer import Token, tokens
from infra.embedded.clickhouse.errors import ClickHouseError

_DATA_START = re.compile(rb"[ \t\f]*;?[ \t\f]*(?:\r?\n)?")
_SELECT_WORDS = frozenset({b"SELECT", b"WITH", b"FROM", b"WATCH"})
_BEFORE_NAMES = frozenset({b"INTO", b"TABLE", b"FUNCTION", b"."})


class Kind(StrEnum):
    """What a statement is, as far as its way through the engine depends on it."""

    SELECT = "select"
    INSERT_DATA = "insert with data"
    INSERT_INPUT = "insert from a select over data"
    INSERT_SELECT = "insert from a select"
    SETTING = "set"
    USE = "use"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `text` is what the engine gets: without a trailing semicolon, for inserts without `FORMAT x`.

    `format` is the FORMAT named in the statement ("" if none); for INSERT_DATA and INSERT_INPUT the format of the
    data, and `data_at` is where the data begin in the bytes that were parsed (-1: no data). `input` is for
    INSERT_INPUT where in `text` the function `input(` begins and where its arguments do. `words` are the statement's
    bare words in upper case.
    """

    kind: Kind
    text: bytes
    format: str
    data_at: int
    words: frozenset[bytes]
    input: tuple[int, int] = (-1, -1)

    @property
    def takes_data(self) -> bool:
        """Whether data follow the statement."""
        return self.kind in (Kind.INSERT_DATA, Kind.INSERT_INPUT)


def parse(source: bytes) -> Statement:
    """Split `source` into its statement and, for INSERT, the place of its data.

    Raises ClickHouseError SYNTAX_ERROR for an empty query and for several statements in one request,
    INTO_OUTFILE_NOT_ALLOWED and UNKNOWN_TYPE_OF_QUERY for files on the client's side, which a server has none of.
    """
    words: list[Token] = []
    end = -1
    for token in tokens(source):
        if token.ends_statement:
            end = token.start if end < 0 else end
            continue
        if end >= 0:
            raise ClickHouseError("SYNTAX_ERROR", f"Syntax error (Multi-statements are not allowed): at {end + 1}")
        words.append(token)
        if words[0].upper == b"INSERT":
            inserting = _insert_with_data(source, words)
            if inserting is not None:
                return inserting
    if not words:
        raise ClickHouseError("SYNTAX_ERROR", "Syntax error: failed at position 1 (end of query): Empty query")
    _refuse_files(words)
    text = source if end < 0 else source[:end]
    return Statement(_kind(words), text, _output_format(words), -1, _words(words))


def _insert_with_data(source: bytes, words: list[Token]) -> Statement | None:
    """The statement, if its newest token is the one before the data: VALUES, or the name of the FORMAT."""
    last = words[-1]
    before = words[-2] if len(words) > 1 else last
    if last.is_word(b"VALUES") and before.upper not in _BEFORE_NAMES:
        head, data_format, data_at = last.start, "Values", last.end
    elif before.is_word(b"FORMAT") and last.kind == "word" and words[-3].upper not in _BEFORE_NAMES:
        start = _DATA_START.match(source, last.end)
        head, data_format = before.start, last.text.decode()
        data_at = last.end if start is None else start.end()
    else:
        return None
    _refuse_files(words)
    if not _selects(words):
        return Statement(Kind.INSERT_DATA, source[:head], data_format, data_at, _words(words))
    function = _input_function(words)
    if function is None:
        return Statement(Kind.INSERT_SELECT, source[:head], "", -1, _words(words))
    return Statement(Kind.INSERT_INPUT, source[:head], data_format, data_at, _words(words), function)


def _selects(words: list[Token]) -> bool:
    return any(word.is_word(*_SELECT_WORDS) and before.upper not in _BEFORE_NAMES for before, word in pairwise(words))


def _input_function(words: list[Token]) -> tuple[int, int] | None:
    """Where `input(structure)` begins and where its arguments begin."""
    for function, bracket, argument in zip(words, words[1:], words[2:], strict=False):
        if function.upper == b"INPUT" and bracket.text == b"(":
            if argument.text == b")":
                raise ClickHouseError("NOT_IMPLEMENTED", "The embedded ClickHouse needs the structure in input(...)")
            return function.start, bracket.end
    return None


def _kind(words: list[Token]) -> Kind:
    first = next((token.upper for token in words if token.upper != b"("), b"")
    if first in (b"SELECT", b"WITH", b"FROM"):
        return Kind.SELECT
    if first == b"INSERT":
        return Kind.INSERT_SELECT
    return {b"SET": Kind.SETTING, b"USE": Kind.USE}.get(first, Kind.OTHER)


def _output_format(words: list[Token]) -> str:
    """The FORMAT that a query names for its result: at its end, or before a last SETTINGS."""
    for at in range(len(words) - 2, 0, -1):
        if words[at].is_word(b"FORMAT") and words[at + 1].kind == "word":
            after = words[at + 2] if at + 2 < len(words) else None
            if after is None or after.is_word(b"SETTINGS"):
                return words[at + 1].text.decode()
    return ""


def _words(words: list[Token]) -> frozenset[bytes]:
    return frozenset(token.upper for token in words if token.kind == "word")


def _refuse_files(words: list[Token]) -> None:
    for before, word in pairwise(words):
        if before.is_word(b"INTO") and word.is_word(b"OUTFILE") and words[0].upper != b"INSERT":
            raise ClickHouseError("INTO_OUTFILE_NOT_ALLOWED", "INTO OUTFILE is not allowed")
        if before.is_word(b"FROM") and word.is_word(b"INFILE"):
            raise ClickHouseError("UNKNOWN_TYPE_OF_QUERY", "Query has infile and was sent directly to server", code=78)
