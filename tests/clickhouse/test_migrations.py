"""Migrations: once each, never changed, safe to repeat and to run at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from infra import migrations
from infra.clickhouse import connect
from infra.embedded.clickhouse import EmbeddedClickHouse
from infra.errors import StoreError
from infra.migrations import Applied, MigrationError, apply, load

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

FIRST = """
-- Two statements; one file.
CREATE TABLE IF NOT EXISTS a (x UInt64, text String DEFAULT 'semi;colon') ENGINE = MergeTree ORDER BY x;
CREATE VIEW IF NOT EXISTS a_view AS SELECT x FROM a;
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text(FIRST)
    (tmp_path / "0002_second.sql").write_text("ALTER TABLE a ADD COLUMN IF NOT EXISTS y String")
    return tmp_path


@pytest.fixture
def admin(store: EmbeddedClickHouse) -> Iterator[Client]:
    opened = connect(store.settings(""), database="")
    yield opened
    opened.close()


def test_migrations_make_the_database_and_run_once(admin: Client, database: str, directory: Path) -> None:
    fresh = f"{database}_fresh"
    expected = [Applied(1, "first", 2), Applied(2, "second", 1)]
    try:
        assert apply(admin, fresh, dry_run=True, directory=directory) == expected
        assert admin.command(f"EXISTS DATABASE {fresh}") == 0
        assert apply(admin, fresh, directory=directory) == expected
        assert apply(admin, fresh, directory=directory) == []
        assert (
            admin.command(f"SELECT groupArray(name) FROM system.columns WHERE database = '{fresh}' AND table = 'a'")
            == "['x','text','y']"
        )
        (directory / "0003_third.sql").write_text("DROP VIEW IF EXISTS a_view")
        assert apply(admin, fresh, dry_run=True, directory=directory) == [Applied(3, "third", 1)]
        assert apply(admin, fresh, directory=directory) == [Applied(3, "third", 1)]
        noted = f"SELECT number, name, statements FROM {fresh}.schema_migrations ORDER BY number"
        assert admin.query(noted).result_rows == [(1, "first", 2), (2, "second", 1), (3, "third", 1)]
    finally:
        admin.command(f"DROP DATABASE IF EXISTS {fresh}")


def test_a_changed_file_is_refused(admin: Client, database: str, directory: Path) -> None:
    apply(admin, database, directory=directory)
    (directory / "0003_third.sql").write_text("DROP VIEW IF EXISTS a_view")
    (directory / "0001_first.sql").write_text(FIRST + "-- changed\n")
    with pytest.raises(MigrationError, match=r"0001_first\.sql was changed") as refused:
        apply(admin, database, directory=directory)
    assert refused.value.code == "migration_changed"
    assert admin.command(f"EXISTS VIEW {database}.a_view") == 1, "nothing of a refused run is applied"
    (directory / "0001_first.sql").write_bytes(FIRST.replace("\n", "\r\n").encode())
    assert len(apply(admin, database, directory=directory)) == 1, "line ends are no change"


def test_migrations_of_a_newer_version_are_refused(admin: Client, database: str, directory: Path) -> None:
    apply(admin, database, directory=directory)
    (directory / "0002_second.sql").unlink()
    with pytest.raises(MigrationError, match=r"does not know \(0002\)") as refused:
        apply(admin, database, dry_run=True, directory=directory)
    assert refused.value.code == "migration_unknown"


def test_a_broken_migration_names_file_and_statement_and_can_be_mended(
    admin: Client, database: str, directory: Path
) -> None:
    third = directory / "0003_third.sql"
    third.write_text(
        "CREATE TABLE IF NOT EXISTS b (x Int8) ENGINE = Memory; CREATE TABLE IF NOT EXISTS c (x Nope) ENGINE = Memory"
    )
    with pytest.raises(StoreError, match=r"0003_third\.sql, statement 2: .*Nope"):
        apply(admin, database, directory=directory)
    third.write_text(third.read_text().replace("Nope", "Int8"))
    assert apply(admin, database, directory=directory) == [Applied(3, "third", 2)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("3_short.sql", "DROP VIEW IF EXISTS a", "not called like"),
        ("0003_Third.sql", "DROP VIEW IF EXISTS a", "not called like"),
        ("0002_twin.sql", "DROP VIEW IF EXISTS a", "without"),
        ("0004_gap.sql", "DROP VIEW IF EXISTS a", "expected migration 0003"),
        ("0003_third.sql", "-- nothing\n;", "no statement"),
        ("0003_third.sql", "CREATE TABLE b (x Int8) ENGINE = Memory", "cannot be repeated"),
        ("0003_third.sql", "DROP TABLE b", "cannot be repeated"),
        ("0003_third.sql", "INSERT INTO a (x) VALUES (1)", "cannot be repeated"),
        ("0003_third.sql", "ALTER TABLE a DELETE WHERE x = 1", "cannot be repeated"),
        ("0003_third.sql", "ALTER TABLE a ADD COLUMN z Int8", "cannot be repeated"),
    ],
)
def test_files_that_are_no_migrations_are_refused(directory: Path, name: str, text: str, message: str) -> None:
    (directory / name).write_text(text)
    with pytest.raises(MigrationError, match=message) as refused:
        load(directory)
    assert refused.value.code == "migration_file"


def test_two_at_once_apply_each_migration_once(store: EmbeddedClickHouse, database: str, directory: Path) -> None:
    for number in range(3, 9):
        text = f"CREATE TABLE IF NOT EXISTS t{number} (x Int8) ENGINE = MergeTree ORDER BY x"
        (directory / f"{number:04d}_t{number}.sql").write_text(text)
    barrier = threading.Barrier(3)
    failures: list[Exception] = []

    def run() -> None:
        own = connect(store.settings(""), database="")
        barrier.wait()
        try:
            apply(own, database, directory=directory)
        except StoreError as error:
            failures.append(error)
        own.close()

    _at_once(run, 3)
    assert not failures
    own = connect(store.settings(database))
    assert own.command("SELECT count(), uniqExact(number) FROM schema_migrations") == ["8", "8"]


def _at_once(run: Callable[[], None], times: int) -> None:
    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_database_name_is_no_sql(admin: Client, directory: Path) -> None:
    with pytest.raises(MigrationError, match="cannot name a database"):
        apply(admin, "x`; DROP DATABASE default; --", directory=directory)


def test_the_projects_own_migrations_apply(admin: Client, database: str) -> None:
    assert list(migrations.DIRECTORY.glob("*.sql"))
    assert apply(admin, database) == [Applied(m.number, m.name, len(m.statements)) for m in load()]
    assert apply(admin, database) == []
