"""Where settings come from: the strongest source wins, files are read as meant, children get exactly the same."""

from __future__ import annotations

import os
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from infra.config import (
    ClickHouseSettings,
    KafkaSettings,
    Settings,
    environment,
    load_settings,
    read_configuration,
    setting_names,
)
from infra.config.toml_lines import key_lines
from infra.errors import ConfigurationError


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and no variables of ours."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("TOKENMILL_"):
            monkeypatch.delenv(name)
    return tmp_path


def test_a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [load_settings().partitions]
    (plain / "tokenmill.toml").write_text("partitions = 1")
    seen.append(load_settings().partitions)
    monkeypatch.setenv("TOKENMILL_PARTITIONS", "2")
    seen.append(load_settings().partitions)
    seen.append(load_settings({"partitions": "3"}).partitions)
    assert seen == [12, 1, 2, 3]


def test_a_mistake_in_a_weaker_source_does_not_matter(plain: Path) -> None:
    (plain / "tokenmill.toml").write_text("partitions = 0")
    assert load_settings({"partitions": "3"}).partitions == 3


def test_the_file_is_named_by_flag_then_by_variable_then_found(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, partitions in (("tokenmill", 1), ("variable", 2), ("flag", 3)):
        (plain / f"{name}.toml").write_text(f"partitions = {partitions}")
    assert load_settings().partitions == 1
    monkeypatch.setenv("TOKENMILL_CONFIG", "variable.toml")
    assert load_settings().partitions == 2
    assert load_settings({"config": "flag.toml"}).partitions == 3
    monkeypatch.setenv("TOKENMILL_CONFIG", "")
    assert load_settings().partitions == 12


def test_an_explicit_environment_reads_no_file_unasked(plain: Path) -> None:
    (plain / "tokenmill.toml").write_text("nonsense")
    assert load_settings(environ={}) == Settings()
    with pytest.raises(ConfigurationError, match=r"^tokenmill.toml:1:9: not valid TOML"):
        load_settings(environ={"TOKENMILL_CONFIG": "tokenmill.toml"})


def test_a_link_that_leads_nowhere_is_no_silent_default(plain: Path) -> None:
    (plain / "tokenmill.toml").symlink_to("gone.toml")
    with pytest.raises(ConfigurationError, match="cannot read the configuration file"):
        load_settings()


def test_tables_and_flat_names_mean_the_same(plain: Path) -> None:
    (plain / "tables.toml").write_text(
        """
        log_level = "WARNING"
        [kafka]
        bootstrap = ["a:1", "b:2"]
        session_timeout_s = 10
        [kafka.options]
        socket.keepalive.enable = true
        "client.rack" = 7
        [clickhouse]
        url = "https://u@h/db"
        password = "p"
        [topics]
        prefix = "eu."
        partitions = 1_000
        [rating]
        context_edges = [1, 2]
        [sink]
        rows = 5
        interval_s = 0.25
        """
    )
    (plain / "flat.toml").write_text(
        """
        log_level = "warning"
        kafka = "a:1,b:2"
        session_timeout_s = "10"
        kafka_options = {"socket.keepalive.enable" = "true", "client.rack" = "7"}
        clickhouse = "https://u:p@h/db"
        topic_prefix = "eu."
        partitions = "1000"
        context_edges = "1,2"
        sink_rows = 5
        sink_interval_s = "0.25"
        """
    )
    found = load_settings({"config": "tables.toml"}, {})
    assert found == load_settings({"config": "flat.toml"}, {})
    assert found.kafka == KafkaSettings("a:1,b:2", {"socket.keepalive.enable": "true", "client.rack": "7"})
    assert found.clickhouse == ClickHouseSettings("h", 8443, "u", "p", "db", secure=True)
    assert (found.log_level, found.session_timeout_s, found.context_edges) == ("warning", 10.0, (1, 2))


def test_a_relative_path_counts_from_the_file_that_holds_it(plain: Path) -> None:
    (plain / "etc").mkdir()
    (plain / "etc" / "pw").write_text("secret")
    (plain / "etc" / "t.toml").write_text('data_dir = "data"\n[clickhouse]\npassword_file = "pw"')
    found = load_settings({"config": "etc/t.toml"}, {})
    assert found.data_dir == Path("etc/data")
    assert found.clickhouse.password_file == plain / "etc" / "pw"
    assert found.clickhouse.password == "secret"
    assert load_settings({"data_dir": "data"}, {}).data_dir == Path("data")


def test_a_part_of_the_address_is_replaced_by_a_stronger_source_only(plain: Path) -> None:
    (plain / "t.toml").write_text('[clickhouse]\nurl = "http://a:1@h/db"')
    environ = {"TOKENMILL_CONFIG": "t.toml", "TOKENMILL_CLICKHOUSE_USER": "b", "TOKENMILL_CLICKHOUSE_PASSWORD": "2"}
    found = load_settings(environ=environ).clickhouse
    assert (found.user, found.password, found.host) == ("b", "2", "h")
    found = load_settings({"clickhouse": "http://c:3@h/db"}, environ).clickhouse
    assert (found.user, found.password) == ("c", "3")
    found = load_settings({"clickhouse": "http://h/db"}, environ).clickhouse
    assert (found.user, found.password) == ("b", "2")


def test_protection_that_a_stronger_source_takes_away_is_no_mistake(plain: Path) -> None:
    (plain / "t.toml").write_text(
        '[clickhouse]\nurl = "https://h/db"\nca_file = "ca.pem"\n[kafka]\nca_file = "ca.pem"\nsecurity_protocol = "SSL"'
    )
    flags = {"config": "t.toml", "clickhouse": "http://127.0.0.1:1/db", "kafka_security_protocol": "PLAINTEXT"}
    assert not load_settings(flags, {}).clickhouse.secure


_FULL = replace(
    Settings(),
    kafka=KafkaSettings(
        "h:1", {"client.rack": 'quote" and = and ,'}, "SASL_SSL", "PLAIN", "ü@", "p w\t'\"$", verify=False, ca_file=None
    ),
    clickhouse=ClickHouseSettings("::1", 9, "ü@", "p:/?#[]@%", "db", secure=True, verify=False),
    context_edges=(1, 2),
    data_dir=Path("some where"),
    flush_interval_s=0.125,
    topic_prefix="a.",
    metrics_address="[::1]:0",
)


def test_a_child_gets_exactly_these_settings_whatever_it_finds(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"TOKENMILL_{name.upper()}" for name in (*setting_names(), "config")}
    assert set(environment(_FULL)) == names, "an own variable of the parent that is left would shine through"
    monkeypatch.setenv("TOKENMILL_KAFKA_PASSWORD_FILE", "/nowhere/of/the/parent")
    monkeypatch.setenv("TOKENMILL_CLICKHOUSE_CA_FILE", "/nowhere/of/the/parent")
    (plain / "tokenmill.toml").write_text('partitions = 5\n[kafka]\nuser = "other"\nnonsense = 1')
    for settings_ in (_FULL, Settings()):
        for name, text in environment(settings_).items():
            monkeypatch.setenv(name, text)
        assert load_settings() == settings_


def test_a_child_gets_the_file_of_a_secret_and_not_the_secret(plain: Path) -> None:
    (plain / "pw").write_text("first\n")
    environ = {
        "TOKENMILL_CLICKHOUSE_PASSWORD_FILE": "pw",
        "TOKENMILL_KAFKA_PASSWORD_FILE": str(plain / "pw"),
        "TOKENMILL_KAFKA_USER": "me",
        "TOKENMILL_KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
    }
    settings_ = load_settings(environ=environ)
    handed = environment(settings_)
    assert "first" not in "".join(handed.values())
    assert handed["TOKENMILL_CLICKHOUSE_PASSWORD_FILE"] == str(plain / "pw"), "the child may run elsewhere"
    assert load_settings(environ=handed) == settings_
    (plain / "pw").write_text("second\n")
    assert load_settings(environ=handed).clickhouse.password == "second"


def test_a_secret_from_a_pipe_is_handed_on_itself(plain: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"piped\n")
    os.close(writer)
    settings_ = load_settings({"clickhouse_password_file": f"/dev/fd/{reader}"}, {})
    os.close(reader)
    assert settings_.clickhouse.password == "piped"
    assert load_settings(environ=environment(settings_)) == settings_


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"a\nb\n", "more than one line"),
        (b"\xff", "not UTF-8"),
        (b"x" * 70_000, "more than one line"),
        (None, "No such file"),
    ],
)
def test_a_file_that_holds_no_password_is_a_problem(content: bytes | None, said: str, plain: Path) -> None:
    if content is not None:
        (plain / "pw").write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"^--clickhouse-password-file './pw': .*{said}"):
        load_settings({"clickhouse_password_file": "./pw"}, {})


def test_of_a_secret_only_the_newline_at_its_end_is_left_out(plain: Path) -> None:
    for content in (" p w ", " p w \n", " p w \r\n"):
        (plain / "pw").write_text(content, newline="")
        assert load_settings({"clickhouse_password_file": "pw"}, {}).clickhouse.password == " p w "


def test_an_empty_variable_of_an_optional_setting_is_none(plain: Path) -> None:
    names = ("KAFKA_USER", "KAFKA_PASSWORD_FILE", "KAFKA_CA_FILE", "CLICKHOUSE_PASSWORD", "KAFKA_SECURITY_PROTOCOL")
    assert load_settings(environ={f"TOKENMILL_{name}": "" for name in names}) == Settings()


def test_kubernetes_variables_are_left_alone() -> None:
    environ = {
        "TOKENMILL_KAFKA_PORT": "tcp://10.0.0.1:9092",
        "TOKENMILL_CLICKHOUSE_SERVICE_PORT": "8123",
        "TOKENMILL_CLICKHOUSE_PORT_8123_TCP_ADDR": "10.0.0.2",
        "TOKENMILL_SINK_SERVICE_PORT_METRICS": "1",
    }
    assert read_configuration(environ=environ).places == {}


_KEYS = strategies.sampled_from(["a", "b-1", '"x.y"', "'#'", '"="', "_"])
_VALUES = strategies.sampled_from(
    [
        "1",
        '"a # [b] = \\" c"',
        "'\\'",
        '"""\nk = 1\n[t]\n"""',
        "'''\n'''",
        "[1, # ]\n 2\n]",
        '{ z = 1, y.x = "}" }',
        "2026-01-01",
    ]
)


@given(
    strategies.lists(
        strategies.tuples(
            _KEYS, _KEYS, _VALUES, strategies.sampled_from(["", " # [c] = 1", "\n\n"]), strategies.booleans()
        ),
        max_size=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_the_line_of_every_key_is_found(parts: list[tuple[str, str, str, str, bool]]) -> None:
    text, expected = "", {}
    for number, (first, second, value, after, in_table) in enumerate(parts):
        header = f"[t{number} . {second}]\n" if in_table else ""
        text += header
        table = tomllib.loads(header) if header else {}
        path = tuple(table) + tuple(key for inner in table.values() for key in inner)
        if not in_table and any(before[4] for before in parts[:number]):
            continue  # it would stand in the table before
        key = f"k{number} . {first}"
        names = tuple(tomllib.loads(f"k{number} = 0")) + tuple(tomllib.loads(f"{first} = 0"))
        expected[path + names] = text.count("\n") + 1
        text += f"{key} = {value}{after}\n"
    tomllib.loads(text)
    lines = key_lines(text)
    assert {path: lines[path] for path in expected} == expected
