"""What a person sees of the configuration: every mistake at its place with its fix, values with their sources, no secret."""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from infra.config import setting_names
from infra.embedded.ports import free_port
from tests.cli.conftest import Ended, Run

SECRET = "hunter2-geheim"


@dataclass(frozen=True)
class Broken:
    """A configuration that cannot work, and for each of its problems the place and words of the fix."""

    said: tuple[tuple[str, str], ...]
    toml: str = ""
    environ: dict[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def broken(*said: tuple[str, str], toml: str = "", flags: tuple[str, ...] = (), **environ: str) -> Broken:
    return Broken(said, toml, {f"TOKENMILL_{name}": text for name, text in environ.items()}, flags)


BROKEN = {
    "syntax: no quotes": broken(
        ("tokenmill.toml:2:14", 'texts need quotes, as in name = "value"'), toml="\ndeployment = eu"
    ),
    "syntax: open text": broken(("tokenmill.toml:1:17", "a text ends on its line"), toml='deployment = "eu\n'),
    "syntax: no value": broken(("tokenmill.toml:1:11", 'a line is name = "value"'), toml="deployment\n"),
    "syntax: twice": broken(("tokenmill.toml:2:17", "keep one"), toml='deployment = "a"\ndeployment = "b"\n'),
    "syntax: table twice": broken(("tokenmill.toml:3:7", "keep one"), toml="[kafka]\n[sink]\n[kafka]\n"),
    "syntax: the end is missing": broken(
        ("tokenmill.toml:2:20", "the file ends before the value does"), toml="[rating]\ncontext_edges = [1,\n"
    ),
    "unknown key": broken(("tokenmill.toml:1", "did you mean deployment?"), toml='deploymnet = "eu"'),
    "unknown key in a table": broken(
        ("tokenmill.toml:3", "did you mean password?"), toml=f'\n[kafka]\npasword = "{SECRET}"'
    ),
    "key in a wrong table": broken(
        ("tokenmill.toml:2", "did you mean partitions in the table [topics]?"), toml="[worker]\npartitions = 3"
    ),
    "variable as a key": broken(
        ("tokenmill.toml:1", "did you mean url in the table [clickhouse]?"), toml='TOKENMILL_CLICKHOUSE="x"'
    ),
    "unknown table": broken(("tokenmill.toml:1", "did you mean [worker]?"), toml="[wroker]\nflush_interval_s = 1"),
    "no table": broken(("tokenmill.toml:1", "begun with a line [sink]"), toml="sink = 5"),
    "text for a number": broken(
        ("tokenmill.toml:2", "a whole number from 1 to 1024"), toml='[topics]\npartitions = "many"'
    ),
    "fraction for a whole number": broken(
        ("tokenmill.toml:2", "is a number with a fraction; must be a whole number"), toml="[topics]\npartitions = 1.5"
    ),
    "number for a text": broken(("tokenmill.toml:1", 'must be text in quotes: "5"'), toml="deployment = 5"),
    "boolean for a number": broken(("tokenmill.toml:2", "is a boolean; must be"), toml="[rating]\ngrace_hours = true"),
    "date for a number": broken(
        ("tokenmill.toml:2", "is a date or time; must be"), toml="[rating]\nstate_days = 2026-01-01"
    ),
    "number for a password": broken(
        ("tokenmill.toml:2", "must be text in quotes"), toml="[kafka]\npassword = 20262026"
    ),
    "table in an array": broken(("tokenmill.toml:1", "is an array; must be"), toml=f'[[kafka]]\npassword = "{SECRET}"'),
    "out of bounds": broken(("tokenmill.toml:2", "from 0.01 to 60"), toml="[worker]\nflush_interval_s = 0"),
    "not one of": broken(("tokenmill.toml:1", "must be one of debug, info, warning, error"), toml='log_level = "loud"'),
    "nearly one of": broken(
        ("tokenmill.toml:2", "did you mean SASL_SSL?"), toml='[kafka]\nsecurity_protocol = "sasl-ssl"'
    ),
    "falling edges": broken(("tokenmill.toml:2", "rising whole numbers"), toml="[rating]\ncontext_edges = [3, 2]"),
    "given twice": broken(
        ("tokenmill.toml:3", "also at tokenmill.toml:1: keep one"), toml="partitions = 3\n[topics]\npartitions = 4"
    ),
    "owned option": broken(("tokenmill.toml:1", "may not hold group.id"), toml='[kafka.options]\ngroup.id = "x"'),
    "not UTF-8": broken(("tokenmill.toml:2", "save it as UTF-8"), toml="# a\n# \udce4"),
    "misspelled variable": broken(("TOKENMILL_PARTITON", "did you mean TOKENMILL_PARTITIONS?"), PARTITON="3"),
    "variable named as in TOML": broken(
        ("TOKENMILL_KAFKA_BOOTSTRAP", "did you mean TOKENMILL_KAFKA?"), KAFKA_BOOTSTRAP="h:1"
    ),
    "no port": broken(("TOKENMILL_KAFKA='nohost'", "host:port"), KAFKA="nohost"),
    "password for Kafka in the address": broken(("TOKENMILL_KAFKA:", "set kafka_user"), KAFKA=f"me:{SECRET}@h:1"),
    "no address": broken(
        ("TOKENMILL_CLICKHOUSE:", "http://user:password@host:port/database"), CLICKHOUSE=f"x://u:{SECRET}@h"
    ),
    "slash in the password": broken(("TOKENMILL_CLICKHOUSE:", "quote / "), CLICKHOUSE=f"http://u:1/{SECRET}@h:1/db"),
    "options that are no JSON": broken(("TOKENMILL_KAFKA_OPTIONS:", "a JSON object"), KAFKA_OPTIONS=f"{{{SECRET}"),
    "file that is not there": broken(("TOKENMILL_CONFIG='no.toml'", "name one that can be read"), CONFIG="no.toml"),
    "flag out of bounds": broken(("--deployment 'No Spaces'", "1 to 63 of a-z"), flags=("--deployment", "No Spaces")),
    "set to nonsense": broken(
        ("--set partitions 'x'", "a whole number from 1 to 1024"), flags=("--set", "partitions=x")
    ),
    "set what is not there": broken(("--set colour", "`tokenmill config` lists them"), flags=("--set", "colour=blue")),
    "file of a password is not there": broken(
        ("TOKENMILL_KAFKA_PASSWORD_FILE:", "cannot be read"),
        KAFKA_PASSWORD_FILE=SECRET,
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_USER="me",
    ),
    "user without SASL": broken(
        ("TOKENMILL_KAFKA_USER='me'", "set TOKENMILL_KAFKA_SECURITY_PROTOCOL to SASL_SSL"), KAFKA_USER="me"
    ),
    "SASL without user and password": broken(
        ("tokenmill.toml:2", "needs a user: set [kafka] user"),
        ("tokenmill.toml:2", "needs a password: set [kafka] password_file"),
        toml='[kafka]\nsecurity_protocol = "SASL_SSL"',
    ),
    "CA without TLS": broken(
        ("tokenmill.toml:2", "set [kafka] security_protocol to SSL"), toml='[kafka]\nca_file = "ca.pem"'
    ),
    "certificate without key": broken(
        ("tokenmill.toml:3", "goes with [kafka] key_file"),
        toml='[kafka]\nsecurity_protocol = "SSL"\ncertificate_file = "tokenmill.toml"',
    ),
    "CA that is none": broken(
        ("tokenmill.toml:3", "must be PEM"), toml='[kafka]\nsecurity_protocol = "SSL"\nca_file = "tokenmill.toml"'
    ),
    "said by an option too": broken(
        ("tokenmill.toml:2", "keep one"),
        toml=f'[kafka]\npassword = "{SECRET}"\nuser = "u"\nsecurity_protocol = "SASL_SSL"\n'
        f'options = {{"sasl.password" = "{SECRET}"}}',
    ),
    "user twice": broken(
        ("TOKENMILL_CLICKHOUSE_USER='a'", "the address at TOKENMILL_CLICKHOUSE names a user too: keep one"),
        CLICKHOUSE=f"http://b:{SECRET}@h/db",
        CLICKHOUSE_USER="a",
    ),
    "password twice": broken(
        ("TOKENMILL_CLICKHOUSE_PASSWORD_FILE", "keep one"), CLICKHOUSE_PASSWORD=SECRET, CLICKHOUSE_PASSWORD_FILE="a/b"
    ),
    "ClickHouse's CA without TLS": broken(
        ("tokenmill.toml:2", "with https://"), toml='[clickhouse]\nca_file = "ca.pem"'
    ),
    "fault that is none": broken(
        ("TOKENMILL_FAULTS", "no fault point 'worker.nowhere'; there are"), FAULTS="worker.nowhere=1:kill"
    ),
}


def _configure(case: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.toml:
        Path("tokenmill.toml").write_bytes(case.toml.encode(errors="surrogateescape"))
    for name, text in case.environ.items():
        monkeypatch.setenv(name, text)


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_is_named_with_its_place_and_its_fix(
    name: str, tokenmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = BROKEN[name]
    _configure(case, monkeypatch)
    ended = tokenmill("config", *case.flags)
    assert ended.code == 2
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert SECRET not in ended.err
    assert "20262026" not in ended.err
    lines = ended.err.splitlines()
    assert len(lines) == (1 if len(case.said) == 1 else 1 + len(case.said)), (
        "as many problems as there are, and no more"
    )
    for place, fix in case.said:
        assert any(place in line and fix in line for line in lines), ended.err


def test_every_problem_of_every_source_is_listed_at_once_the_file_s_by_line(
    tokenmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENMILL_KAFKA", "nohost")
    Path("tokenmill.toml").write_text("[topics]\npartitions = 0\nprefixx = 'a'\n[sink]\nrows = 0\n")
    ended = tokenmill("topics", "apply", "--log-level", "loud")
    assert ended.code == 2
    assert [line.split(":")[0:2] for line in ended.err.splitlines()[1:]] == [
        ["  - --log-level 'loud'", " must be one of debug, info, warning, error"],
        ["  - TOKENMILL_KAFKA='nohost'", " 'nohost' is not host"],
        ["  - tokenmill.toml", "2"],
        ["  - tokenmill.toml", "3"],
        ["  - tokenmill.toml", "5"],
    ]
    assert ended.err.startswith("Error: 5 problems\n")


def _from(ended: Ended) -> dict[str, str]:
    assert ended.code == 0, ended.err
    return {each["name"]: each["from"] for each in json.loads(ended.out)["settings"]}


def test_each_value_is_shown_with_its_source(tokenmill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tokenmill.toml").write_text('deployment = "a"\n\n[topics]\npartitions = 3\nreplication_factor = 2\n')
    monkeypatch.setenv("TOKENMILL_PARTITIONS", "4")
    arguments = ("config", "--kafka", "h:1", "--set", "sink_rows=7")
    found = _from(tokenmill(*arguments, "--json"))
    assert set(found) == set(setting_names())
    assert {name: place for name, place in found.items() if place != "default"} == {
        "deployment": "tokenmill.toml:1",
        "kafka": "--kafka",
        "partitions": "TOKENMILL_PARTITIONS",
        "replication_factor": "tokenmill.toml:5",
        "sink_rows": "--set sink_rows",
    }
    table = tokenmill(*arguments)
    assert set(_from(tokenmill(*arguments, "--json", "--given"))) == {
        name for name in found if found[name] != "default"
    }
    for words in (
        ("deployment", "a", "tokenmill.toml:1"),
        ("partitions", "4", "TOKENMILL_PARTITIONS"),
        ("linger_s", "0.2", "default"),
    ):
        assert any(line.split() == list(words) for line in table.out.splitlines()), table.out
    assert tokenmill("config", "--given", "--config", "/dev/null").out.split()[-1] == "TOKENMILL_PARTITIONS"


def test_nothing_that_is_printed_holds_a_secret(tokenmill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pw").write_text(f"{SECRET}\n")
    Path("tokenmill.toml").write_text(
        f"""
        [kafka]
        security_protocol = "SASL_SSL"
        user = "me"
        password_file = "pw"
        [kafka.options]
        "client.rack" = "shown"
        "ssl.key.password" = "{SECRET}"
        "ssl.key.pem" = "{SECRET}"
        "sasl.oauthbearer.client.secret" = "{SECRET}"
        """
    )
    monkeypatch.setenv("TOKENMILL_CLICKHOUSE", f"http://u:{SECRET}@h/db")
    for arguments in ([], ["--json"], ["--given"], ["--schema"], ["--example"]):
        ended = tokenmill("config", *arguments)
        assert ended.code == 0
        assert SECRET not in ended.out + ended.err
    shown = tokenmill("config", "--given", "--json").out
    values = {each["name"]: each["value"] for each in json.loads(shown)["settings"]}
    assert values["kafka_options"]["client.rack"] == "shown"
    assert shown.count('"********"') == 5
    assert "pw, named by tokenmill.toml:5" in shown


def test_a_secret_is_refused_on_the_command_line(tokenmill: Run) -> None:
    for name in ("kafka_password", "clickhouse-password", "TOKENMILL_KAFKA_OPTIONS", "kafka_key_password"):
        ended = tokenmill("config", "--set", f"{name}={SECRET}")
        assert ended.code == 2
        assert "a command line is no place for secrets: use TOKENMILL_" in ended.err
        assert SECRET not in ended.err


def test_the_same_setting_by_two_flags_is_refused(tokenmill: Run) -> None:
    assert "keep one" in tokenmill("config", "--kafka", "h:1", "--set", "kafka=h:2").err
    assert "is not NAME=VALUE" in tokenmill("config", "--set", "partitions").err


def test_schema_and_example_are_printed_whatever_is_configured(tokenmill: Run) -> None:
    Path("tokenmill.toml").write_text("nonsense")
    assert json.loads(tokenmill("config", "--schema").out)["type"] == "object"
    assert set(tomllib.loads(tokenmill("config", "--example").out)) >= {"kafka", "clickhouse", "topics"}


def test_a_store_named_by_a_file_is_the_one_that_is_asked(tokenmill: Run) -> None:
    port = free_port()
    Path("tokenmill.toml").write_text(f'[clickhouse]\nurl = "http://127.0.0.1:{port}/db"\n')
    assert f"no ClickHouse answers at 127.0.0.1:{port}" in tokenmill("query", "SELECT 1").err


def test_an_option_that_librdkafka_refuses_is_named_with_its_place(tokenmill: Run) -> None:
    Path("tokenmill.toml").write_text("\n[kafka.options]\nnonsense = 1\n")
    ended = tokenmill("topics", "apply")
    assert ended.err == 'Error: tokenmill.toml:2: No such configuration property: "nonsense"\n'
    assert ended.code == 2


def test_every_command_takes_the_file_and_reports_its_mistakes(tokenmill: Run) -> None:
    Path("other.toml").write_text("partitions = 0\n")
    for arguments in (["topics", "apply"], ["worker"], ["sink"], ["migrate"], ["query", "SELECT 1"], ["reconcile"]):
        ended = tokenmill(*arguments, "--config", "other.toml")
        assert ended.code == 2
        assert ended.err == "Error: other.toml:1: partitions = 0: must be a whole number from 1 to 1024\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of POSIX")
def test_the_table_fits_a_terminal_of_80_columns(tokenmill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    monkeypatch.setattr("infra.cli.config.console", Console(width=80, highlight=False))
    lines = tokenmill("config").out.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert any(line.startswith("  clickhouse_password_file ") for line in lines)
