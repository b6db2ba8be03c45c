"""Inserts over HTTP: formats, errors, and the deduplication token that exactly-once delivery rests on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from infra.clickhouse import connect, insert_arrow, require_deduplication
from infra.embedded.clickhouse import EmbeddedClickHouse
from infra.errors import StoreError
from tests.clickhouse.conftest import Http
from tests.clickhouse.tables import arrow_stream, create, rows

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def test_data_come_from_the_body_the_url_or_the_statement(web: Http) -> None:
    web.ask("CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    assert web.ask('1,"x"\n2,"y;z"\n', query="INSERT INTO t FORMAT CSV").status == 200
    assert web.ask('INSERT INTO t (a) FORMAT JSONEachRow\n{"a":3}\n{"a":4}').status == 200
    assert web.ask("INSERT INTO t VALUES (5, 'it''s; 1'), (6, concat('a', {x:String}));", param_x="b").status == 200
    assert web.ask(query="INSERT INTO t VALUES (7, 'url')").status == 200
    assert web.ask("(8, 'both')", query="INSERT INTO t (a, b) VALUES").status == 200
    assert web.ask("INSERT INTO t SELECT a + 100, b FROM t WHERE a = 1").status == 200
    assert web.ask("INSERT INTO t SELECT a, 'input' FROM input('a UInt64') FORMAT CSV\n200\n").status == 200
    missing = web.ask("INSERT INTO t SELECT a, '' FROM input() FORMAT CSV\n200\n")
    assert (missing.status, missing.code) == (501, 48)
    assert web.value("SELECT groupArray(concat(toString(a), b)) FROM (SELECT * FROM t ORDER BY a)") == (
        "['1x','2y;z','3','4','5it\\'s; 1','6ab','7url','8both','101x','200input']"
    )


def test_summary_counts_written_rows(web: Http) -> None:
    web.ask("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    summary = json.loads(web.ask("1\n2\n", query="INSERT INTO t FORMAT TSV").headers["X-ClickHouse-Summary"])
    assert (summary["written_rows"], summary["result_rows"]) == ("2", "2")


def test_binary_data_that_look_like_sql_stay_data(web: Http) -> None:
    web.ask("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
    value = b"'; DROP TABLE t; -- \x00\xff\n FORMAT CSV"
    assert web.ask(b"INSERT INTO t FORMAT RowBinary\n" + bytes([len(value)]) + value).status == 200
    assert web.ask("SELECT a FROM t FORMAT RowBinary").body == bytes([len(value)]) + value


@pytest.mark.parametrize(
    ("query", "body", "status", "code"),
    [
        ("INSERT INTO nowhere FORMAT CSV", b"1\n", 404, 60),
        ("INSERT INTO t (missing) FORMAT CSV", b"1\n", 500, 16),
        ("INSERT INTO t FORMAT Nope", b"1\n", 404, 73),
        ("INSERT INTO t FORMAT JSONEachRow", b'{"a":"many"}', 400, 27),
        ("INSERT INTO t FORMAT ArrowStream", b"garbage", 400, 117),
        ("INSERT INTO t FORMAT ArrowStream", b"", 400, 117),
    ],
)
def test_failed_inserts_leave_nothing_and_say_why(web: Http, query: str, body: bytes, status: int, code: int) -> None:
    web.ask("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    answer = web.ask(body, query=query)
    assert (answer.status, answer.code) == (status, code), answer.text
    assert web.value("SELECT count() FROM t") == "0"


def test_truncated_arrow_leaves_nothing(web: Http) -> None:
    web.ask(create("t"))
    answer = web.ask(arrow_stream(rows(1000))[:-3000], query="INSERT INTO t FORMAT ArrowStream")
    assert answer.status >= 400
    assert web.value("SELECT count() FROM t") == "0"


def test_a_client_that_breaks_off_leaves_nothing(web: Http) -> None:
    web.ask(create("t"))

    def parts() -> Iterator[bytes]:
        data = arrow_stream(rows(5000))
        yield data[: len(data) // 2]
        raise InterruptedError

    breaking = Http(web.host, web.port, web.database)
    with pytest.raises(InterruptedError):
        breaking.ask(parts(), query="INSERT INTO t FORMAT ArrowStream")
    breaking.close()
    assert web.value("SELECT count() FROM t") == "0"


def test_unknown_columns_are_refused(client: Client) -> None:
    client.command(
        "CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 9"
    )
    with pytest.raises(StoreError, match="No such column"):
        insert_arrow(client, "t", rows(2), token="a")


def test_same_token_is_dropped_whatever_rows_come_with_it(client: Client) -> None:
    client.command(create("t"))
    insert_arrow(client, "t", rows(1000), token="log/0/0-999")
    insert_arrow(client, "t", rows(1000), token="log/0/0-999")
    insert_arrow(client, "t", rows(10, first=5000), token="log/0/0-999")
    assert client.command("SELECT count(), max(id) FROM t") == ["1000", "999"]
    insert_arrow(client, "t", rows(1000), token="log/0/1000-1999")
    assert client.command("SELECT count() FROM t") == 2000


def test_same_rows_in_other_chunks_are_the_same_insert(client: Client) -> None:
    client.command(create("t"))
    whole = rows(1000)
    pieces = pa.concat_tables([whole.slice(0, 300), whole.slice(300, 1), whole.slice(301)])
    insert_arrow(client, "t", whole, token="a")
    insert_arrow(client, "t", pieces, token="a")
    assert client.command("SELECT count() FROM t") == 1000


def test_clickhouse_counts_blocks_into_the_token(web: Http) -> None:
    """Why `insert_arrow` sends one record batch: the engine takes the same token over other blocks as another insert."""
    web.ask(create("t"))
    for rows_per_batch in (None, 100):
        body = arrow_stream(rows(1000), rows_per_batch=rows_per_batch)
        web.ask(body, query="INSERT INTO t FORMAT ArrowStream", insert_deduplication_token="a", async_insert=0)
    assert web.value("SELECT count() FROM t") == "2000"


def test_without_a_window_the_token_is_ignored_and_we_say_so(client: Client) -> None:
    client.command(create("t", window=0))
    insert_arrow(client, "t", rows(10), token="a")
    insert_arrow(client, "t", rows(10), token="a")
    assert client.command("SELECT count() FROM t") == 20
    with pytest.raises(StoreError, match="count twice") as refused:
        require_deduplication(client, "t")
    assert refused.value.code == "store_no_deduplication"
    client.command(create("kept"))
    require_deduplication(client, "kept")
    with pytest.raises(StoreError, match="no table nowhere"):
        require_deduplication(client, "nowhere")


def test_bytes_and_arrow_take_the_same_way_through_http(web: Http) -> None:
    """The token works for every format and way of sending, not only for our helper's."""
    web.ask("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 9")
    token = {"insert_deduplication_token": "one", "async_insert": 0}
    for data in (b'{"a":1}\n', b'{"a":2}\n'):
        assert web.ask(b"INSERT INTO t FORMAT JSONEachRow\n" + data, also=token).status == 200
    assert web.ask(query="INSERT INTO t SETTINGS insert_deduplication_token = 'one' VALUES (3)").status == 200
    assert web.value("SELECT groupArray(a) FROM t") == "[1]"


def test_materialized_views_follow_the_token(client: Client) -> None:
    client.command(create("t"))
    client.command(
        "CREATE TABLE sums (model LowCardinality(String), amount Decimal(38, 12)) ENGINE = SummingMergeTree "
        "ORDER BY model SETTINGS non_replicated_deduplication_window = 1000"
    )
    client.command(
        "CREATE MATERIALIZED VIEW to_sums TO sums AS SELECT model, sum(amount) AS amount FROM t GROUP BY model"
    )
    for _ in range(2):
        insert_arrow(client, "t", rows(1000), token="a")
    assert client.command("SELECT (SELECT sum(amount) FROM t) = (SELECT sum(amount) FROM sums)") == 1


def test_inserts_need_a_token_and_stay_below_the_block_size(client: Client) -> None:
    with pytest.raises(ValueError, match="needs a token"):
        insert_arrow(client, "t", rows(1), token="")
    insert_arrow(client, "t", rows(0), token="nothing to do, not even a table is needed")
    huge = pa.table({"id": pa.nulls(1_000_001, pa.int64())})
    with pytest.raises(ValueError, match="at most"):
        insert_arrow(client, "t", huge, token="a")


def test_a_hundred_thousand_rows_are_one_part(client: Client) -> None:
    client.command(create("t"))
    insert_arrow(client, "t", rows(100_000), token="a")
    assert client.command("SELECT count(), sum(id), uniqExact(_part) FROM t") == ["100000", "4999950000", "1"]


def test_two_clients_insert_at_once(store: EmbeddedClickHouse, client: Client, database: str) -> None:
    client.command(create("t"))
    failures: list[Exception] = []

    def insert(first: int) -> None:
        try:
            own = connect(store.settings(database))
            for n in range(10):
                insert_arrow(own, "t", rows(500, first=first + 500 * n), token=f"{first}-{n}")
            own.close()
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=insert, args=(first,)) for first in (0, 1_000_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert client.command("SELECT count(), uniqExact(id) FROM t") == ["10000", "10000"]


def test_one_client_serves_several_threads(client: Client) -> None:
    client.command(create("t"))
    threads = [
        threading.Thread(target=insert_arrow, args=(client, "t", rows(100, first=100 * n)), kwargs={"token": f"{n}"})
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.command("SELECT uniqExact(id) FROM t") == 800


def test_tokens_outlive_a_restart_and_a_crash(own_store: EmbeddedClickHouse) -> None:
    own_store.start()
    client = connect(own_store.settings("default"))
    client.command(create("t"))
    insert_arrow(client, "t", rows(1000), token="before")
    assert own_store.stop() == 0
    own_store.start()
    insert_arrow(client, "t", rows(1000), token="before")
    insert_arrow(client, "t", rows(1000, first=1000), token="after")
    assert own_store.kill() == -9
    own_store.start()
    insert_arrow(client, "t", rows(1000), token="before")
    insert_arrow(client, "t", rows(1000, first=1000), token="after")
    assert client.command("SELECT count(), uniqExact(id) FROM t") == ["2000", "2000"]


def test_the_same_insert_after_a_kill_in_its_middle_gives_every_row_once(own_store: EmbeddedClickHouse) -> None:
    """Over twelve partitions an insert is not atomic: a kill leaves some of them. The repetition completes it."""
    data = rows(200_000, seconds_apart=150)
    partial = False
    for attempt in range(6):
        own_store.start()
        client = connect(own_store.settings("default"))
        client.command(f"DROP TABLE IF EXISTS t{attempt}")
        client.command(create(f"t{attempt}"))

        def insert(client: Client = client, table: str = f"t{attempt}") -> None:
            with pytest.raises(StoreError) as failed:
                insert_arrow(client, table, data, token="whole")
            assert failed.value.data["retryable"]

        inserting = threading.Thread(target=insert)
        inserting.start()
        _wait_for_a_part(own_store, f"t{attempt}")
        own_store.kill()
        inserting.join()
        own_store.start()
        left = int(client.command(f"SELECT count() FROM t{attempt}"))
        partial = 0 < left < 200_000
        insert_arrow(client, f"t{attempt}", data, token="whole")
        assert client.command(f"SELECT count(), uniqExact(id) FROM t{attempt}") == ["200000", "200000"]
        if partial:
            break
    assert partial, "no kill hit the middle of an insert: the test proved nothing"


def _wait_for_a_part(store: EmbeddedClickHouse, table: str) -> None:
    web = Http(store.host, store.port)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if web.value(f"SELECT count() FROM {table}") != "0":
            break
    web.close()
