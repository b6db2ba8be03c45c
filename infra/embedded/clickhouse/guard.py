"""What a ClickHouse server refuses and chDB, made for one's own scripts, allows: reaching the owner's machine by SQL.

A server reads files only inside its `user_files` directory, and its File engine takes no path. chDB reads any file of
the process and looks into its Python variables.
"""

from __future__ import annotations

from itertools import pairwise

from infra.clickhouse_lexer import tokens
from infra.embedded.clickhouse.errors import ClickHouseError

_FUNCTIONS = frozenset({b"FILE", b"FILECLUSTER", b"PYTHON", b"EXECUTABLE", b"EXECUTABLEPOOL", b"SQLITE"})


def refuse_local_access(statement: bytes) -> None:
    """Raise ClickHouseError ACCESS_DENIED for table functions and engines that reach files or Python of this process."""
    for name, bracket in pairwise(tokens(statement)):
        called = name.text.strip(b'"`').upper() if name.kind in ("word", "name") else b""
        if called in _FUNCTIONS and bracket.text == b"(":
            raise ClickHouseError(
                "ACCESS_DENIED", f"{name.text.decode()}(...) reaches this machine's files: not allowed here", code=497
            )
