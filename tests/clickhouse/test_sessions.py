"""Sessions over plain HTTP."""

from __future__ import annotations

import threading

from infra.embedded.clickhouse import EmbeddedClickHouse
from tests.clickhouse.conftest import Http
from tests.support import eventually

SETTING = "SELECT value FROM system.settings WHERE name = 'max_block_size'"


def test_a_session_keeps_what_set_and_use_changed(web: Http, database: str) -> None:
    plain = Http(web.host, web.port)
    plain.ask("SET max_block_size = 1111", session_id="a")
    plain.ask(f"USE {database}", session_id="a")
    plain.ask("CREATE TEMPORARY TABLE mine AS SELECT 5 AS five", session_id="a")
    assert plain.value(SETTING, session_id="a", max_block_size=2222) == "2222"
    assert plain.value(SETTING, session_id="a") == "1111"
    assert plain.value("SELECT currentDatabase(), five FROM mine", session_id="a") == f"{database}\t5"
    assert plain.value("SELECT currentDatabase()", session_id="a", database="system") == "system"
    assert plain.value("SELECT currentDatabase()", session_id="a") == database
    assert plain.value("SELECT currentDatabase()") == "default"
    assert plain.ask("SELECT * FROM mine", session_id="b").code == 60
    plain.close()


def test_set_with_a_setting_in_the_url_changes_the_session(web: Http) -> None:
    web.ask(SETTING, session_id="c", max_block_size=3333)
    web.ask("SET max_block_size = 1111", session_id="c", max_block_size=2222)
    assert web.value(SETTING, session_id="c") == "1111"


def test_reading_only_holds_for_one_request_of_a_session(web: Http) -> None:
    web.ask("SELECT 1", session_id="d")
    assert web.ask(method="GET", query="CREATE TABLE t (a UInt8) ENGINE = Memory", session_id="d").code == 164
    assert web.ask("1\n", query="INSERT INTO t FORMAT TSV", session_id="d", readonly=1).code == 164
    assert web.ask("CREATE TABLE t (a UInt8) ENGINE = Memory", session_id="d").status == 200
    assert web.ask("1\n", query="INSERT INTO t FORMAT TSV", session_id="d").status == 200


def test_sessions_are_checked_closed_and_limited(web: Http) -> None:
    missing = web.ask("SELECT 1", session_id="never", session_check=1)
    assert (missing.status, missing.code) == (500, 372)
    web.ask("SET max_block_size = 1111", session_id="e")
    assert web.value(SETTING, session_id="e", session_check=1, close_session=1) == "1111"
    assert web.ask("SELECT 1", session_id="e", session_check=1).code == 372
    for timeout in ("3601", "x", "-1"):
        assert web.ask("SELECT 1", session_id="f", session_timeout=timeout).code == 374
    web.ask("SELECT 1", session_id="g", session_timeout=0)
    assert web.ask("SELECT 1", session_id="g", session_check=1).code == 372


def test_one_request_at_a_time_in_a_session(store: EmbeddedClickHouse, web: Http) -> None:
    web.ask("SELECT 1", session_id="busy")
    other = Http(store.host, store.port)
    running = threading.Thread(target=other.ask, args=("SELECT sleep(1)",), kwargs={"session_id": "busy"})
    running.start()
    asleep = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep(1)%'"
    eventually(lambda: web.value(asleep) != "0")
    locked = web.ask("SELECT 1", session_id="busy")
    assert (locked.status, locked.code) == (500, 373)
    running.join()
    assert web.ask("SELECT 1", session_id="busy").status == 200


def test_a_failed_request_leaves_the_session_usable(web: Http) -> None:
    assert web.ask("SELECT 1", session_id="h", no_such_setting=1).code == 115
    assert web.ask("SELECT 1", session_id="h", max_block_size=1234, no_such_setting=1).code == 115
    assert web.value(SETTING, session_id="h") != "1234"
    assert web.ask("SELECT nothing", session_id="h", max_block_size=1234).code == 47
    assert web.ask("SELECT 1", session_id="h", database="nowhere").code == 81
    assert web.value(SETTING, session_id="h") != "1234"


def test_a_session_is_free_as_soon_as_its_answer_is_there(web: Http) -> None:
    query = "SELECT number FROM numbers(300000) FORMAT TSV"
    for parameters in ({}, {"wait_end_of_query": 1}):
        for _ in range(30):
            assert web.ask(query, session_id="i", also=parameters).status == 200
