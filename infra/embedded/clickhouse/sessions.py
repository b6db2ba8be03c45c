"""Sessions (`session_id`): a handle that lives on between requests, with its settings, database and temporary tables.

A server applies the settings and the database in a request's URL to that request alone, while `SET` and `USE` change
the session. A handle has one set of settings, so what a URL asked for is laid over the session's own and taken off
again before the next request that asks for something else.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from infra.embedded.clickhouse.engine import Engine, Handle, quote, quote_name, setting_name
from infra.embedded.clickhouse.errors import ClickHouseError
from infra.embedded.clickhouse.request import SessionRequest


class Session:
    """One session. Use it only while holding it (`Sessions.hold`)."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.busy = False
        self.expires = 0.0
        self._own_database = "default"
        self._database = "default"
        self._laid_over: dict[str, str] = {}
        self._own_values: dict[str, str | None] = {}

    def prepare(self, database: str, settings: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        """Make the handle ready for a request with this database and these settings in its URL."""
        self._use(database or self._own_database)
        self._take_off([name for name in self._laid_over if name not in settings])
        changed = {name: value for name, value in settings.items() if self._laid_over.get(name) != value}
        fresh = [setting_name(name) for name in changed if name not in self._laid_over]
        if fresh:
            self._own_values.update(self._read_own(fresh))
        self._laid_over.update(changed)
        try:
            self.handle.apply(changed, parameters)
        except ClickHouseError:
            # Some of them may have been set before the one that is wrong.
            for name in changed:
                with suppress(ClickHouseError):
                    self._take_off([name])
                self._laid_over.pop(name, None)
            raise

    def strip(self) -> None:
        """Take every setting of a URL off, so that a SET statement changes the session's own settings."""
        self._take_off(list(self._laid_over))

    def used(self) -> None:
        """After a USE statement: the database that it chose is now the session's own."""
        self._own_database = self._database = self.handle.command("SELECT currentDatabase()").decode().strip()

    def _use(self, database: str) -> None:
        if database != self._database:
            self.handle.command(f"USE {quote_name(database)}")
            self._database = database

    def _take_off(self, names: list[str]) -> None:
        for name in names:
            value = self._own_values.get(name)
            self.handle.command(f"SET {name} = {'DEFAULT' if value is None else quote(value)}")
            self._laid_over.pop(name, None)
            self._own_values.pop(name, None)

    def _read_own(self, names: list[str]) -> dict[str, str | None]:
        listed = ", ".join(quote(name) for name in names)
        rows = self.handle.command(
            f"SELECT name, value FROM system.settings WHERE changed AND name IN ({listed}) FORMAT JSONCompactEachRow"
        )
        own: dict[str, str | None] = dict.fromkeys(names)
        own.update(json.loads(line) for line in rows.splitlines())
        return own


class Sessions:
    """The sessions of one engine, by user and id; one request at a time in each, as on a server."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, str], Session] = {}

    @contextmanager
    def hold(self, user: str, asked: SessionRequest) -> Iterator[Session]:
        """The session for one request. Raises SESSION_NOT_FOUND and SESSION_IS_LOCKED as a server does."""
        key = (user, asked.id)
        with self._lock:
            self._expire(time.monotonic())
            session = self._sessions.get(key)
            if session is None and asked.must_exist:
                raise ClickHouseError("SESSION_NOT_FOUND", f"Session {asked.id} not found")
            if session is None:
                session = self._sessions[key] = Session(self._engine.handle())
            if session.busy:
                raise ClickHouseError("SESSION_IS_LOCKED", f"Session {asked.id} is locked by a concurrent client")
            session.busy = True
        try:
            yield session
        finally:
            with self._lock:
                session.busy = False
                session.expires = time.monotonic() + asked.timeout_s
                if asked.close:
                    self._sessions.pop(key).handle.close()

    def close(self) -> None:
        """Close every session that no request is using."""
        with self._lock:
            self._expire(float("inf"))

    def _expire(self, now: float) -> None:
        for key, session in list(self._sessions.items()):
            if not session.busy and session.expires <= now:
                self._sessions.pop(key).handle.close()
