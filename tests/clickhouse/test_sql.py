"""Where statements end and data begin."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.clickhouse_lexer import split_statements
from infra.embedded.clickhouse.errors import ClickHouseError, from_engine, http_status
from infra.embedded.clickhouse.sql import Kind, parse


@pytest.mark.parametrize(
    ("source", "text", "data_format", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2", b"INSERT INTO t ", "CSV", b"1,2"),
        (b"insert into t format CSV 1,2", b"insert into t ", "CSV", b"1,2"),
        (b"INSERT INTO t FORMAT CSV;\r\n1,2", b"INSERT INTO t ", "CSV", b"1,2"),
        (b"INSERT INTO t (a, `format`) VALUES (1, 2)", b"INSERT INTO t (a, `format`) ", "Values", b" (1, 2)"),
        (b"INSERT INTO t (format, values) VALUES(1)", b"INSERT INTO t (format, values) ", "Values", b"(1)"),
        (b"INSERT INTO values FORMAT TSV\n\n1", b"INSERT INTO values ", "TSV", b"\n1"),
        (b"INSERT INTO db.format VALUES (1)", b"INSERT INTO db.format ", "Values", b" (1)"),
        (b"INSERT INTO t SETTINGS a = ';FORMAT y' FORMAT TSV\nN;", b"INSERT INTO t SETTINGS a = ';FORMAT y' ", "TSV", b"N;"),
        (b"/* FORMAT x */ INSERT INTO t -- VALUES\nFORMAT TSV\n1", b"/* FORMAT x */ INSERT INTO t -- VALUES\n", "TSV", b"1"),
        (b"INSERT INTO FUNCTION file('a', CSV) FORMAT TSV\n1", b"INSERT INTO FUNCTION file('a', CSV) ", "TSV", b"1"),
    ],
)  # fmt: skip
def test_data_of_inserts_begin_after_the_format(source: bytes, text: bytes, data_format: str, data: bytes) -> None:
    statement = parse(source)
    assert (statement.kind, statement.text, statement.format) == (Kind.INSERT_DATA, text, data_format)
    assert source[statement.data_at :] == data


@pytest.mark.parametrize(
    ("source", "kind", "output_format"),
    [
        (b"SELECT 1", Kind.SELECT, ""),
        (b"(SELECT 1) UNION ALL SELECT 2 FORMAT CSV", Kind.SELECT, "CSV"),
        (b"WITH 1 AS x SELECT x FORMAT JSON SETTINGS a = 1", Kind.SELECT, "JSON"),
        (b"SELECT 'FORMAT CSV'", Kind.SELECT, ""),
        (b"SELECT format FROM t", Kind.SELECT, ""),
        (b"SELECT format('{}', 1)", Kind.SELECT, ""),
        (b"SHOW TABLES FORMAT TSV", Kind.OTHER, "TSV"),
        (b"SET a = 1", Kind.SETTING, ""),
        (b"USE x", Kind.USE, ""),
        (b"INSERT INTO t SELECT 1", Kind.INSERT_SELECT, ""),
        (b"INSERT INTO t (SELECT 1)", Kind.INSERT_SELECT, ""),
        (b"INSERT INTO select FORMAT CSV\n1", Kind.INSERT_DATA, "CSV"),
        (b"INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV\n1", Kind.INSERT_INPUT, "CSV"),
    ],
)
def test_kinds_and_output_formats(source: bytes, kind: Kind, output_format: str) -> None:
    assert (parse(source).kind, parse(source).format) == (kind, output_format)


@pytest.mark.parametrize("source", [b"", b" ;", b"-- x", b"SELECT 1; SELECT 2", b"SELECT 1;; x"])
def test_nothing_and_several_statements_are_syntax_errors(source: bytes) -> None:
    with pytest.raises(ClickHouseError) as refused:
        parse(source)
    assert refused.value.code == 62


def test_semicolons_in_strings_comments_and_names_separate_nothing() -> None:
    source = b"""
    -- first; not a statement
    SELECT ';' ; /* a;b */ SELECT `x;y`, "z;" , 'it''s;', 'a\\';' ;
    SELECT $tag$;$tag$ # last; comment
    """
    assert split_statements(source) == [
        b"SELECT ';'",
        b"SELECT `x;y`, \"z;\" , 'it''s;', 'a\\';'",
        b"SELECT $tag$;$tag$",
    ]
    assert split_statements(b" ; -- nothing\n;") == []


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_can_be_data_and_none_break_the_lexer(data: bytes) -> None:
    head = b"INSERT INTO t FORMAT RowBinary\n"
    statement = parse(head + data)
    assert (head + data)[statement.data_at :] == data
    split_statements(data)


def test_engine_errors_keep_code_name_and_text() -> None:
    error = from_engine(RuntimeError("Code: 60. DB::Exception: No t. (UNKNOWN_TABLE) (version 26.9.2.1)"))
    assert (error.code, error.name, error.text, error.status) == (60, "UNKNOWN_TABLE", "No t.", 404)
    assert error.body("1.2") == b"Code: 60. DB::Exception: No t. (UNKNOWN_TABLE) (version 1.2)\n"
    assert from_engine(RuntimeError("no code")).code == 1001
    assert http_status(12345) == 500
