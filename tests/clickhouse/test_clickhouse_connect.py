"""clickhouse-connect against the embedded ClickHouse, as applications use it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

import clickhouse_connect
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.clickhouse import connect
from infra.config import ClickHouseSettings
from infra.embedded.clickhouse import EmbeddedClickHouse
from infra.errors import StoreError
from tests.clickhouse.tables import create, rows

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@pytest.fixture(params=[True, False, "lz4", "zstd", "gzip"], ids=str)
def any_client(request: pytest.FixtureRequest, store: EmbeddedClickHouse, database: str) -> Iterator[Client]:
    """A client as it comes, with its own session, for each way of compression."""
    made = clickhouse_connect.get_client(host=store.host, port=store.port, database=database, compress=request.param)
    yield made
    made.close()


def test_a_client_as_it_comes_inserts_and_queries(any_client: Client) -> None:
    any_client.command(create("t"))
    any_client.insert_arrow("t", rows(1000))
    extra = [2000, "x", dt.datetime(2026, 2, 1), Decimal("-0.000000000001"), {"a": "b'c"}, ["d\n"], None]
    any_client.insert("t", [extra], column_names=["id", "model", "at", "amount", "dimensions", "tags", "note"])
    assert any_client.command("SELECT count() FROM t") == 1001
    assert any_client.query("SELECT * FROM t WHERE id = 2000").result_rows == [tuple(extra)]
    assert any_client.query_arrow("SELECT * FROM t ORDER BY id").num_rows == 1001
    assert any_client.query("SELECT * FROM t WHERE id > 5000").result_rows == []
    assert any_client.query("SELECT id, amount FROM t LIMIT 0").column_names == ("id", "amount")
    assert any_client.raw_query("SELECT 1 AS a", fmt="JSONEachRow") == b'{"a":1}\n'


def test_arrow_in_and_arrow_out_are_the_same_values(client: Client) -> None:
    client.command(create("t"))
    sent = rows(5000)
    client.insert_arrow("t", sent)
    got = client.query_arrow("SELECT * FROM t ORDER BY id")
    for name in sent.column_names:
        assert got[name].to_pylist() == sent[name].to_pylist(), name
    assert got.schema.field("amount").type == pa.decimal128(38, 12)
    assert got.schema.field("at").type == pa.timestamp("us", "UTC")


def test_a_session_keeps_settings_database_and_temporary_tables(store: EmbeddedClickHouse, database: str) -> None:
    client = clickhouse_connect.get_client(host=store.host, port=store.port)
    other = clickhouse_connect.get_client(host=store.host, port=store.port)
    setting = "SELECT value FROM system.settings WHERE name = 'max_block_size'"
    client.command("SET max_block_size = 1111")
    client.command("CREATE TEMPORARY TABLE mine (a UInt8)")
    client.insert("mine", [[7]], column_names=["a"])
    client.command(f"USE {database}")
    assert client.query(setting, settings={"max_block_size": 2222}).result_rows == [("2222",)]
    assert client.query(setting).result_rows == [("1111",)], "a setting of one query is not one of the session"
    assert client.query("SELECT a, currentDatabase() FROM mine").result_rows == [(7, database)]
    assert other.query(setting).result_rows != [("1111",)]
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        other.query("SELECT * FROM mine")
    client.close()
    other.close()


def test_errors_carry_clickhouses_code_and_name(client: Client) -> None:
    with pytest.raises(DatabaseError) as failed:
        client.query("SELECT * FROM nowhere")
    assert (failed.value.code, failed.value.name) == (60, "UNKNOWN_TABLE")
    with pytest.raises(DatabaseError) as failed:
        client.query("SELECT number, throwIf(number = 2900000) FROM numbers(3000000)")
    assert failed.value.code == 395


def test_streams_are_complete_or_fail(any_client: Client) -> None:
    with any_client.query_row_block_stream("SELECT number, toString(number) FROM numbers(700000)") as stream:
        assert sum(len(block) for block in stream) == 700_000
    failing = "SELECT number, throwIf(number = 2900000) FROM numbers(3000000) SETTINGS max_threads = 1"
    with pytest.raises(StreamFailureError, match="395"), any_client.query_row_block_stream(failing) as stream:
        for _ in stream:
            pass
    assert any_client.command("SELECT 1") == 1


_DECIMALS = st.decimals(
    min_value=Decimal("-9" * 1 + "9" * 25),
    max_value=Decimal("9" * 26),
    allow_nan=False,
    allow_infinity=False,
    places=12,
)


@given(values=st.lists(_DECIMALS, min_size=1, max_size=20))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_money_comes_back_to_the_last_digit(client: Client, values: list[Decimal]) -> None:
    client.command("CREATE OR REPLACE TABLE money (n UInt32, amount Decimal(38, 12)) ENGINE = MergeTree ORDER BY n")
    table = pa.table(
        {"n": pa.array(range(len(values)), pa.uint32()), "amount": pa.array(values, pa.decimal128(38, 12))}
    )
    client.insert_arrow("money", table)
    assert [row[0] for row in client.query("SELECT amount FROM money ORDER BY n").result_rows] == values
    assert client.query_arrow("SELECT amount FROM money ORDER BY n")["amount"].to_pylist() == values
    texts = client.raw_query("SELECT toString(amount) FROM money ORDER BY n", fmt="TSV").decode().split()
    assert [Decimal(text) for text in texts] == values
    asked = client.query("SELECT {d:Decimal(38, 12)}", parameters={"d": str(values[0])}).result_rows[0][0]
    assert asked == values[0]


@given(text=st.text(max_size=50))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_parameter(client: Client, text: str) -> None:
    result = client.query("SELECT {x:String}, {y:Array(String)}", parameters={"x": text, "y": [text]}).result_rows
    assert result == [(text, [text])]


def test_instants_are_utc(client: Client) -> None:
    instant = dt.datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=dt.UTC)
    rows_ = client.query("SELECT {t:DateTime64(6, 'UTC')} AS t, toString(t), toTypeName(t)", parameters={"t": instant})
    assert rows_.result_rows == [
        (instant.replace(tzinfo=None), "2026-03-29 01:30:00.123456", "DateTime64(6, 'UTC')"),
    ]


def test_external_tables_are_refused_in_words(client: Client) -> None:
    data = clickhouse_connect.driver.external.ExternalData(file_name="x", fmt="CSV", structure="a UInt8", data=b"1\n")
    with pytest.raises(DatabaseError, match="External tables are not supported"):
        client.query("SELECT * FROM x", external_data=data)


def test_connect_says_what_is_wrong_and_what_to_do(store: EmbeddedClickHouse) -> None:
    def refused(settings: ClickHouseSettings) -> StoreError:
        with pytest.raises(StoreError) as failed:
            connect(settings)
        return failed.value

    denied = refused(ClickHouseSettings(store.host, store.port, "default", "wrong-secret", "default"))
    assert denied.code == "store_denied"
    assert "wrong-secret" not in str(denied)
    missing = refused(store.settings("nowhere"))
    assert (missing.code, "tokenmill migrate" in str(missing)) == ("store_no_database", True)
    nobody = refused(ClickHouseSettings("127.0.0.1", 1, database="default"))
    assert nobody.code == "store_unreachable"
    assert str(nobody).startswith("no ClickHouse answers at 127.0.0.1:1 (")
    assert len(str(nobody)) < 200
