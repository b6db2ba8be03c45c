"""Queries over plain HTTP: what `curl` and a BI tool do."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import threading
import time

import pytest

from infra.embedded.clickhouse import EmbeddedClickHouse
from tests.clickhouse.conftest import Http


def test_ping_and_bare_root_answer_ok(web: Http) -> None:
    plain = Http(web.host, web.port)
    for path in ("/ping", "/replicas_status", "/"):
        assert (plain.ask(path=path, method="GET").status, plain.ask(path=path, method="GET").body) == (200, b"Ok.\n")
    assert plain.ask(path="/ping", method="HEAD").body == b""
    assert plain.ask(path="/nowhere", method="GET").status == 404
    plain.close()


def test_query_comes_from_the_url_the_body_or_both(web: Http) -> None:
    assert web.ask(method="GET", query="SELECT 1").body == b"1\n"
    assert web.ask("SELECT 2").body == b"2\n"
    assert web.ask("+ 1 AS three", query="SELECT 2").body == b"3\n"


def test_format_of_the_query_wins_over_default_format(web: Http) -> None:
    assert web.ask("SELECT 1 AS a, 'x' AS b", default_format="CSVWithNames").text == '"a","b"\n1,"x"\n'
    assert web.ask("SELECT 1 AS a FORMAT JSONEachRow", default_format="CSV").text == '{"a":1}\n'
    assert web.ask("SELECT 1 AS a", headers={"X-ClickHouse-Format": "JSONEachRow"}).text == '{"a":1}\n'
    assert (
        web.ask("SELECT 1 FORMAT JSONEachRow SETTINGS max_threads = 1").headers["X-ClickHouse-Format"] == "JSONEachRow"
    )


@pytest.mark.parametrize(
    ("output_format", "content_type"),
    [
        ("TabSeparated", "text/tab-separated-values; charset=UTF-8"),
        ("CSVWithNames", "text/csv; charset=UTF-8; header=present"),
        ("JSON", "application/json; charset=UTF-8"),
        ("Native", "application/octet-stream"),
    ],
)
def test_answer_names_its_format_and_type(web: Http, output_format: str, content_type: str) -> None:
    answer = web.ask(f"SELECT 1 AS a FORMAT {output_format}")
    assert answer.headers["X-ClickHouse-Format"] == output_format
    assert answer.headers["Content-Type"] == content_type


def test_answer_carries_query_id_time_zone_and_summary(web: Http) -> None:
    answer = web.ask("SELECT sum(number) FROM numbers(1000)", query_id="mine")
    summary = json.loads(answer.headers["X-ClickHouse-Summary"])
    assert answer.headers["X-ClickHouse-Query-Id"] == "mine"
    assert answer.headers["X-ClickHouse-Timezone"] == "UTC"
    assert (summary["read_rows"], summary["result_rows"]) == ("1000", "1")
    assert len(web.ask("SELECT 1").headers["X-ClickHouse-Query-Id"]) == 36


def test_server_time_zone_is_utc(web: Http) -> None:
    assert web.value("SELECT timezone(), toString(toDateTime(0))") == "UTC\t1970-01-01 00:00:00"


@pytest.mark.parametrize(
    "value", ["it's", "a\\b", "line\none", "tab\there", "'; DROP TABLE x --", "", "ünï", "{x:String}"]
)
def test_parameters_keep_quotes_and_control_characters(web: Http, value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    answer = web.ask("SELECT {x:String} AS x FORMAT JSONEachRow", param_x=escaped)
    assert json.loads(answer.body) == {"x": value}


def test_typed_parameters_and_missing_ones(web: Http) -> None:
    query = "SELECT {n:UInt64} + 1, {d:Decimal(38, 12)}, {a:Array(String)}[2], {i:Identifier} FROM (SELECT 7 AS seven)"
    answer = web.ask(query, param_n="18446744073709551614", param_d="0.1", param_a="['a','b\\'c']", param_i="seven")
    assert answer.text == "18446744073709551615\t0.1\tb\\'c\t7\n"
    missing = web.ask("SELECT {x:String}")
    assert (missing.status, missing.code) == (500, 456)
    assert web.ask("SELECT {n:UInt8}", param_n="many").code == 457


def test_settings_in_the_url_hold_for_that_request_alone(web: Http) -> None:
    query = "SELECT value FROM system.settings WHERE name = 'max_block_size'"
    assert web.value(query, max_block_size="1234") == "1234"
    assert web.value(query) != "1234"


def test_result_limits_are_enforced(web: Http) -> None:
    answer = web.ask("SELECT number FROM numbers(100)", max_result_rows=10)
    assert (answer.code, answer.status) == (396, 500)


@pytest.mark.parametrize(
    ("query", "status", "code", "name"),
    [
        ("SELECT * FROM nowhere", 404, 60, "UNKNOWN_TABLE"),
        ("SELECT nothing", 404, 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT nofunction(1)", 404, 46, "UNKNOWN_FUNCTION"),
        ("SELECT * FROM nowhere.t", 404, 81, "UNKNOWN_DATABASE"),
        ("SELEC 1 FROM", 400, 62, "SYNTAX_ERROR"),
        ("", 400, 62, "SYNTAX_ERROR"),
        ("-- nothing", 400, 62, "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 400, 62, "SYNTAX_ERROR"),
        ("SELECT toUInt8('x')", 400, 6, "CANNOT_PARSE_TEXT"),
        ("SELECT throwIf(1)", 500, 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT 1 FORMAT Nope", 404, 73, "UNKNOWN_FORMAT"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 500, 358, "INTO_OUTFILE_NOT_ALLOWED"),
        ("INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 404, 78, "UNKNOWN_TYPE_OF_QUERY"),
        ("CREATE TABLE t (a Nope) ENGINE = Memory", 404, 50, "UNKNOWN_TYPE"),
        ("SELECT * FROM file('/etc/passwd', LineAsString)", 403, 497, "ACCESS_DENIED"),
        ("CREATE TABLE t (a String) ENGINE = File(LineAsString, '/etc/passwd')", 403, 497, "ACCESS_DENIED"),
        ("SELECT `file`('/etc/passwd')", 403, 497, "ACCESS_DENIED"),
        ("SELECT * FROM Python /* */ (x)", 403, 497, "ACCESS_DENIED"),
    ],
)
def test_errors_have_the_code_name_and_status_of_a_server(
    web: Http, query: str, status: int, code: int, name: str
) -> None:
    answer = web.ask(query)
    assert (answer.status, answer.code) == (status, code)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert f"({name}) (version " in answer.text
    assert web.value("SELECT 1") == "1"  # the connection goes on


def test_unknown_settings_and_databases_are_errors(web: Http) -> None:
    assert (web.ask("SELECT 1", no_such_setting=1).status, web.ask("SELECT 1", no_such_setting=1).code) == (404, 115)
    assert web.ask("SELECT 1", also={"a'b": 1}).code == 115
    answer = web.ask("SELECT 1", database="nowhere")
    assert (answer.status, answer.code) == (404, 81)


def test_get_only_reads(web: Http) -> None:
    for query in ("CREATE TABLE t (a Int8) ENGINE = Memory", "DROP DATABASE default", "SET readonly = 0"):
        assert web.ask(method="GET", query=query).code == 164
    assert web.ask(method="GET", query="SHOW TABLES").status == 200
    assert web.ask("CREATE TABLE t (a Int8) ENGINE = Memory", readonly=1).code == 164


def test_a_trailing_semicolon_and_comments_are_fine(web: Http) -> None:
    assert web.value("/* one; two */ SELECT 'a;b' -- ; c\n ;  ") == "a;b"


def test_empty_results_have_their_header(web: Http) -> None:
    assert web.ask("SELECT 1 AS a WHERE 0 FORMAT CSVWithNames").text == '"a"\n'
    assert web.ask("SELECT 1 AS a WHERE 0 FORMAT TSV").body == b""
    assert web.ask("SELECT 1 AS a WHERE 0 FORMAT JSON").text.count('"rows": 0') == 1


def test_totals_are_kept_in_streamable_formats(web: Http) -> None:
    answer = web.ask("SELECT number % 2 AS n, count() FROM numbers(4) GROUP BY n WITH TOTALS ORDER BY n FORMAT TSV")
    assert answer.text == "0\t2\n1\t2\n\n0\t4\n"


@pytest.mark.parametrize("output_format", ["TSV", "CSVWithNames", "Native", "RowBinary", "JSONEachRow"])
def test_a_large_result_is_complete_and_in_order(web: Http, output_format: str) -> None:
    answer = web.ask(
        f"SELECT number, toString(number) AS s FROM numbers(700000) ORDER BY number FORMAT {output_format}"
    )
    assert answer.status == 200
    path = {"table": output_format}
    checked = web.ask(
        answer.body,
        query="INSERT INTO FUNCTION null('number UInt64, s String') FORMAT " + output_format,
    )
    assert checked.status == 200, (checked.text, path)
    assert json.loads(checked.headers["X-ClickHouse-Summary"])["written_rows"] == "700000"
    if output_format == "TSV":
        assert answer.body == b"".join(b"%d\t%d\n" % (n, n) for n in range(700000))


def test_a_failure_inside_a_streamed_result_is_marked_and_breaks_it_off(store: EmbeddedClickHouse) -> None:
    query = "SELECT number, throwIf(number = 2900000) FROM numbers(3000000) FORMAT TSV"
    connection = http.client.HTTPConnection(store.host, store.port)
    connection.request("POST", "/?max_threads=1", query)
    response = connection.getresponse()
    tag = response.headers["X-ClickHouse-Exception-Tag"]
    with pytest.raises(http.client.IncompleteRead) as broken:
        response.read()
    marked = broken.value.partial[broken.value.partial.index(b"__exception__") :].decode()
    assert marked.startswith(f"__exception__\r\n{tag}\r\nCode: 395. ")
    assert marked.endswith(f" {tag}\r\n__exception__\r\n")


def test_wait_end_of_query_gives_every_error_its_status(web: Http) -> None:
    query = "SELECT number, throwIf(number = 2900000) FROM numbers(3000000) FORMAT TSV"
    answer = web.ask(query, max_threads=1, wait_end_of_query=1)
    assert (answer.status, answer.code) == (500, 395)


def test_queries_run_side_by_side(store: EmbeddedClickHouse) -> None:
    started = time.monotonic()
    threads = []
    for _ in range(4):
        web = Http(store.host, store.port)
        threads.append(threading.Thread(target=web.ask, args=("SELECT sleep(1)",)))
        threads[-1].start()
    plain = Http(store.host, store.port)
    assert plain.value("SELECT 1") == "1"
    assert any(thread.is_alive() for thread in threads), "the quick query waited for the slow ones"
    for thread in threads:
        thread.join()
    assert started > 0


def test_forms_carry_query_and_parameters(web: Http) -> None:
    fields = {"query": "SELECT {x:String}", "param_x": "it's"}
    boundary = "frontier"
    body = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert web.ask(f"{body}--{boundary}--\r\n", headers=headers).text == "it\\'s\n"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert web.ask("query=SELECT+%7Bx%3AString%7D&param_x=y", headers=headers).text == "y\n"
    # curl calls every --data so, also when it is a statement.
    assert web.ask("SELECT '=&%41'", headers=headers).text == "=&%41\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_works_as_with_a_server(store: EmbeddedClickHouse) -> None:
    def curl(*arguments: str, data: bytes = b"") -> str:
        done = subprocess.run(
            ["curl", "-sS", "--fail-with-body", *arguments], input=data, capture_output=True, check=True
        )
        return done.stdout.decode()

    assert curl(store.url, "-d", "SELECT 1") == "1\n"
    assert curl(f"{store.url}/?query=SELECT+2") == "2\n"
    assert curl(store.url, "--data-binary", "@-", data=b"SELECT 3") == "3\n"
    assert curl("-u", "default:", "--compressed", f"{store.url}/?enable_http_compression=1", "-d", "SELECT 4") == "4\n"


def test_nothing_of_a_request_becomes_a_header_of_the_answer(web: Http) -> None:
    answer = web.ask("SELECT 1", query_id="a\r\nX-Injected: 1")
    assert (answer.status, answer.code, "X-Injected" in answer.headers) == (400, 36, False)
    assert web.ask("SELECT 1", default_format="TSV\r\nX-Injected: 1").code == 73
    assert web.ask("SELECT 1", query_id="ünï").code == 36


@pytest.mark.parametrize("path", ["/?query=SELECT+%FF", "/?param_x=%FF&query=SELECT+1", "/?user=%FF&query=SELECT+1"])
def test_parameters_that_are_no_text_are_refused(web: Http, path: str) -> None:
    plain = Http(web.host, web.port)
    answer = plain.ask(path=path, method="GET")
    assert (answer.status, answer.code) == (400, 36)
    plain.close()


@pytest.mark.parametrize("header", [{"Content-Length": "-1"}, {"Content-Length": "1x"}, {"Transfer-Encoding": "gzip"}])
def test_a_body_without_a_clear_length_ends_the_connection(store: EmbeddedClickHouse, header: dict[str, str]) -> None:
    connection = http.client.HTTPConnection(store.host, store.port)
    connection.putrequest("POST", "/")
    for name, value in header.items():
        connection.putheader(name, value)
    connection.endheaders(b"GET /?query=SELECT+1 HTTP/1.1\r\n\r\n")
    response = connection.getresponse()
    assert (response.status, response.read()) == (400, b"Bad Request\n")
    connection.close()
