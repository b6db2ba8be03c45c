"""Migrations of the ClickHouse database: numbered SQL files, applied in order, each once, never changed afterwards.

A file is `NNNN_name.sql` with one or more statements. ClickHouse has no transactions over several statements, so every
statement has to be one that can be repeated (`IF NOT EXISTS`, `IF EXISTS`, `OR REPLACE`): a migration that broke off
half way, or that two processes apply at once, is simply applied again. What was applied is noted in the table
`schema_migrations` with the checksum of the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.clickhouse import INSERT_SETTINGS, store_errors
from infra.clickhouse_lexer import split_statements, tokens
from infra.errors import StoreError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DIRECTORY: Final = Path(__file__).parent / "sql"
TABLE: Final = "schema_migrations"

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_CREATE_TABLE: Final = f"""
CREATE TABLE IF NOT EXISTS {TABLE}
(
    number UInt32,
    name String,
    checksum String COMMENT 'SHA-256 of the file',
    statements UInt32,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY number
SETTINGS non_replicated_deduplication_window = 10000
"""


class MigrationError(StoreError):
    """The files and what the database says was applied do not fit together, or a file is not what a migration must be."""

    def __init__(self, message: str, *, code: str = "migration", exit_code: int = 1, **data: object) -> None:
        super().__init__(message, code=code, exit_code=exit_code, **data)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `checksum` is the SHA-256 of its text with Unix line ends, in hexadecimal digits."""

    number: int
    name: str
    checksum: str
    statements: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """The file's name in the directory."""
        return f"{self.number:04d}_{self.name}.sql"


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that `apply` applied (or, in a dry run, would apply), with the number of its statements."""

    number: int
    name: str
    statements: int


def load(directory: Path = DIRECTORY) -> tuple[Migration, ...]:
    """The migrations of a directory in their order.

    Raises MigrationError `migration_file` for a file that is not called NNNN_name.sql, a number that occurs twice or
    is left out, a file without a statement, and a statement that could not be repeated.
    """
    migrations = [_read(path) for path in sorted(directory.glob("*.sql"))]
    for expected, migration in enumerate(migrations, 1):
        if migration.number != expected:
            raise MigrationError(
                f"{directory}: expected migration {expected:04d}, found {migration.file_name}: number the files without "
                "gaps and without twins",
                code="migration_file",
            )
    return tuple(migrations)


def _read(path: Path) -> Migration:
    named = _FILE.fullmatch(path.name)
    if named is None:
        raise MigrationError(f"{path} is not called like 0001_name.sql: rename it", code="migration_file")
    source = path.read_bytes().replace(b"\r\n", b"\n")
    statements = split_statements(source)
    if not statements:
        raise MigrationError(f"{path} holds no statement: write one or remove the file", code="migration_file")
    for number, statement in enumerate(statements, 1):
        if not _can_be_repeated(statement):
            raise MigrationError(
                f"{path}, statement {number} cannot be repeated after a failure: use IF NOT EXISTS, IF EXISTS or "
                "OR REPLACE, and no INSERT",
                code="migration_file",
            )
    texts = tuple(statement.decode() for statement in statements)
    return Migration(int(named[1]), named[2], hashlib.sha256(source).hexdigest(), texts)


def _can_be_repeated(statement: bytes) -> bool:
    words = [token.upper for token in tokens(statement) if token.kind == "word" and token.depth == 0]
    if not words or words[0] not in (b"CREATE", b"DROP", b"ALTER"):
        return False
    guarded = b"EXISTS" in words or words[:3] == [b"CREATE", b"OR", b"REPLACE"]
    # Changing a column, a setting or a comment to what it is already does nothing.
    return guarded or (words[0] == b"ALTER" and not {b"ADD", b"DROP", b"RENAME", b"UPDATE", b"DELETE"} & set(words))


def apply(client: Client, database: str, dry_run: bool = False, *, directory: Path = DIRECTORY) -> list[Applied]:
    """Apply what is missing in `database`, which is created if it is not there; returns what was applied, in order.

    The client needs no database of its own (`connect(settings, database="")`). A dry run changes nothing and returns
    what would be applied. May run twice, and by several processes at once.

    Raises MigrationError: `migration_changed` (an applied file was changed), `migration_unknown` (the database has
    migrations that this version does not know), `migration_file`; StoreError when ClickHouse refuses.
    """
    if not _DATABASE.fullmatch(database):
        raise MigrationError(f"{database!r} cannot name a database: use letters, digits and _", code="migration_name")
    migrations = load(directory)
    applied = _applied(client, database)
    _check(migrations, applied, database)
    missing = [migration for migration in migrations if migration.number not in applied]
    if not dry_run:
        _prepare(client, database)
        for migration in missing:
            _apply_one(client, database, migration)
    return [Applied(migration.number, migration.name, len(migration.statements)) for migration in missing]


def _applied(client: Client, database: str) -> dict[int, set[tuple[str, str]]]:
    """Name and checksum of every migration that the database has noted; several only if someone edited the table."""
    with store_errors(f"reading the migrations of database {database}"):
        exists = client.query(
            "SELECT count() FROM system.tables WHERE database = {database:String} AND name = {table:String}",
            parameters={"database": database, "table": TABLE},
        ).result_rows
        if not exists[0][0]:
            return {}
        rows = client.query(f"SELECT number, name, checksum FROM `{database}`.{TABLE}").result_rows
    noted: dict[int, set[tuple[str, str]]] = {}
    for number, name, checksum in rows:
        noted.setdefault(number, set()).add((name, checksum))
    return noted


def _check(migrations: Sequence[Migration], applied: Mapping[int, set[tuple[str, str]]], database: str) -> None:
    known = {migration.number: migration for migration in migrations}
    unknown = sorted(set(applied) - set(known))
    if unknown:
        raise MigrationError(
            f"database {database} has migrations that this version does not know "
            f"({', '.join(f'{number:04d}' for number in unknown)}): use the version that applied them, or a newer one",
            code="migration_unknown",
            numbers=unknown,
        )
    for number, noted in applied.items():
        migration = known[number]
        if {checksum for _, checksum in noted} != {migration.checksum}:
            raise MigrationError(
                f"{migration.file_name} was changed after it was applied to database {database}: restore the file and "
                "put the change into a new migration",
                code="migration_changed",
                number=number,
            )
    holes = [number for number in known if number not in applied and number < max(applied, default=0)]
    if holes:
        raise MigrationError(
            f"database {database} lacks migration {holes[0]:04d} but has later ones: give the new file the next number",
            code="migration_order",
            numbers=holes,
        )


def _prepare(client: Client, database: str) -> None:
    with store_errors(f"creating database {database}"):
        client.command(f"CREATE DATABASE IF NOT EXISTS `{database}`")
        client.command(_CREATE_TABLE, settings={"database": database})


def _apply_one(client: Client, database: str, migration: Migration) -> None:
    for number, statement in enumerate(migration.statements, 1):
        with store_errors(f"migration {migration.file_name}, statement {number}"):
            client.command(statement, settings={"database": database})
    # The token makes one row of it also when two processes apply the migration at once.
    settings = {
        **INSERT_SETTINGS,
        "database": database,
        "insert_deduplication_token": f"migration/{migration.number}/{migration.checksum}",
    }
    row = [migration.number, migration.name, migration.checksum, len(migration.statements)]
    with store_errors(f"noting migration {migration.file_name}"):
        client.insert(
            f"`{database}`.{TABLE}",
            [row],
            column_names=["number", "name", "checksum", "statements"],
            column_type_names=["UInt32", "String", "String", "UInt32"],
            settings=settings,
        )
