"""Checks of ClickHouse: reachable, a version we know, tables up to date, tokens kept, the logs it follows, disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from infra import migrations
from infra.cli.doctor.check import Check, ok, problem, warning
from infra.cli.doctor.machine import size
from infra.clickhouse import connect, store_errors
from infra.config import Settings
from infra.errors import BrokerError, LogChangedError, StoreError
from sinks.logs import LogRegistry
from sinks.runner import topic_sinks
from sinks.store import ClickHouseStore

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_OLDEST: Final = (24, 8)
"""The oldest version that knows every setting of an insert (docs/unverified.md: tried is the embedded 26.9)."""
_LITTLE_DISK: Final = 0.1
_CLOCK_S: Final = 5.0


def store_checks(settings: Settings, with_kafka: bool) -> Iterator[Check]:
    """Every check of ClickHouse; the first one alone when it does not answer."""
    try:
        client = connect(settings.clickhouse)
    except StoreError as error:
        mend = (
            "run `tokenmill migrate`" if error.code == "store_no_database" else "start it, or set TOKENMILL_CLICKHOUSE"
        )
        yield problem("ClickHouse", error.message, mend)
        return
    try:
        yield _version(client, settings)
        yield _migrations(client, settings)
        yield from _tables(client)
        yield from _disks(client)
        if with_kafka:
            yield _logs(client, settings)
    except StoreError as error:
        yield problem("ClickHouse", error.message, "see the log of ClickHouse, and the rights of its user")
    finally:
        client.close()


def _version(client: Client, settings: Settings) -> Check:
    before = time.time()
    version, now = _ask(client, "SELECT version(), toUnixTimestamp64Milli(now64(3)) / 1000")[0]
    where = f"{settings.clickhouse.host}:{settings.clickhouse.port}, version {version}"
    apart = max(before - float(now), float(now) - time.time(), 0.0)
    if tuple(int(part) for part in str(version).split(".")[:2]) < _OLDEST:
        return problem("ClickHouse", f"{where}: too old", f"use {_OLDEST[0]}.{_OLDEST[1]} or newer")
    if apart > _CLOCK_S:
        return warning(
            "ClickHouse", f"{where}: its clock is {apart:.0f} s away", "synchronise the clocks (chrony, NTP)"
        )
    return ok("ClickHouse", where)


def _migrations(client: Client, settings: Settings) -> Check:
    missing = migrations.apply(client, settings.clickhouse.database, dry_run=True)
    if missing:
        named = ", ".join(f"{each.number:04d} {each.name}" for each in missing)
        return problem("tables", f"not yet applied: {named}", "run `tokenmill migrate`")
    return ok("tables", f"database {settings.clickhouse.database} is up to date")


def _tables(client: Client) -> Iterator[Check]:
    """Every table must keep the tokens of inserts: without them a repeated insert counts twice."""
    try:
        ClickHouseStore(client).check()
    except StoreError as error:
        if error.code != "store_no_table":  # those are among the missing migrations
            yield problem(
                "insert tokens", error.message, "ALTER TABLE ... MODIFY SETTING non_replicated_deduplication_window"
            )
    else:
        yield ok("insert tokens", "every table keeps them: a repeated insert adds nothing")


def _disks(client: Client) -> Iterator[Check]:
    for name, free, total in _ask(
        client, "SELECT name, free_space, total_space FROM system.disks WHERE total_space > 0"
    ):
        found = f"{size(int(free))} of {size(int(total))} free on disk {name!r}"
        if int(free) < _LITTLE_DISK * int(total):
            yield warning(
                "ClickHouse's disk", found, "add room before it is full: inserts then fail and the sinks wait"
            )
        else:
            yield ok("ClickHouse's disk", found)


def _logs(client: Client, settings: Settings) -> Check:
    try:
        LogRegistry(settings, client).look(sorted(topic_sinks(settings)))
    except LogChangedError as error:
        return problem("logs in ClickHouse", error.message, "docs/operations.md, recreated topics")
    except BrokerError as error:
        return warning("logs in ClickHouse", f"not compared: {error.message}", "run `tokenmill topics apply`")
    return ok("logs in ClickHouse", "the database follows the topics that are there")


def _ask(client: Client, sql: str) -> list[tuple[Any, ...]]:
    with store_errors("asking ClickHouse"):
        return [tuple(row) for row in client.query(sql).result_rows]
