from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from infra.config import ClickHouseSettings, KafkaSettings, Settings, environment, load_settings, setting_names
from infra.errors import ConfigurationError


def test_without_any_variable_the_defaults_of_the_design_hold() -> None:
    settings = load_settings(environ={})
    assert settings == Settings()
    assert (settings.partitions, settings.window_minutes, settings.grace_hours, settings.future_limit_s) == (
        12,
        60,
        24,
        300,
    )
    assert settings.topics.usage_events == "usage.events.v1"


def test_the_environment_is_read_and_a_flag_wins_over_it() -> None:
    environ = {
        "TOKENMILL_KAFKA": "a:9092, b:9093",
        "TOKENMILL_CLICKHOUSE": "https://bill%3Aing:p%40ss%2Fword@store.example/usage",
        "TOKENMILL_DEPLOYMENT": "west-1",
        "TOKENMILL_PARTITIONS": "24",
        "TOKENMILL_KAFKA_OPTIONS": '{"security.protocol": "SSL"}',
    }
    settings = load_settings({"partitions": "6"}, environ)
    assert settings.kafka == KafkaSettings("a:9092,b:9093", {"security.protocol": "SSL"})
    assert settings.clickhouse == ClickHouseSettings(
        "store.example", 8443, "bill:ing", "p@ss/word", "usage", secure=True
    )
    assert (settings.deployment, settings.partitions) == ("west-1", 6)


def test_every_problem_is_reported_at_once_and_a_password_never() -> None:
    environ = {
        "TOKENMILL_KAFKA": "localhost",
        "TOKENMILL_CLICKHOUSE": "mysql://u:secret@h/db",
        "TOKENMILL_WINDOW_MINUTES": "20",
        "TOKENMILL_PARTITIONS": "many",
        "TOKENMILL_PARTITON": "3",
        "TOKENMILL_CONTEXT_EDGES": "32000,16000",
        "TOKENMILL_FLUSH_INTERVAL_S": "nan",
        "TOKENMILL_KAFKA_OPTIONS": '{"sasl.password": 7}',
        "TOKENMILL_FAULTS": "worker.nowhere=1:kill",
    }
    with pytest.raises(ConfigurationError) as raised:
        load_settings({"colour": "blue"}, environ)
    text = str(raised.value)
    assert raised.value.exit_code == 2
    problems = raised.value.data["problems"]
    assert isinstance(problems, tuple)
    assert len(problems) == 10
    for name in ("KAFKA=", "CLICKHOUSE:", "WINDOW_MINUTES", "PARTITIONS=", "CONTEXT_EDGES", "FLUSH", "KAFKA_OPTIONS:"):
        assert f"TOKENMILL_{name}" in text
    assert "TOKENMILL_PARTITON is no setting, did you mean TOKENMILL_PARTITIONS?" in text
    assert "no setting is called 'colour'" in text
    assert "worker.nowhere" in text
    assert "secret" not in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("kafka", "h:0"),
        ("kafka", "h:70000"),
        ("kafka", "http://h:9092"),
        ("kafka", ""),
        ("kafka_options", '{"group.id": "mine"}'),
        ("kafka_options", "[]"),
        ("clickhouse", "http://h:99999/db"),
        ("clickhouse", "http:///db"),
        ("clickhouse", "http://h:1/a-b"),
        ("clickhouse", "http://u:p?w@h:1/db"),
        ("deployment", "Has Space"),
        ("deployment", ""),
        ("topic_prefix", "a/b"),
        ("partitions", "0"),
        ("window_minutes", "060"),
        ("grace_hours", "-1"),
        ("context_edges", "1,1"),
        ("context_edges", "0"),
        ("metrics_targets", "a:1,b"),
        ("metrics_targets", "a:0"),
        ("linger_s", "inf"),
        ("log_level", "loud"),
        ("data_dir", ""),
    ],
)
def test_what_cannot_work_is_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^--{name.replace('_', '-')}"):
        load_settings({name: text}, {})


def test_settings_survive_the_way_to_a_child_process() -> None:
    settings = replace(
        Settings(),
        kafka=KafkaSettings("h:1", {"sasl.password": 'quote" and = and ,'}),
        clickhouse=ClickHouseSettings("::1", 9, "ü@", "p:/?#[]@%", "db", secure=True),
        context_edges=(1, 2),
        metrics_targets=("a:1", "[::1]:2"),
        data_dir=Path("some where"),
        flush_interval_s=0.125,
        topic_prefix="a.",
    )
    assert load_settings(environ=environment(settings)) == settings
    assert load_settings(environ=environment(replace(settings, context_edges=()))).context_edges == ()


def test_every_setting_can_be_given_by_variable() -> None:
    own = {each.name for each in fields(Settings)}
    of_kafka = {f"kafka_{each.name}" for each in fields(KafkaSettings)} - {"kafka_bootstrap"}
    of_clickhouse = {f"clickhouse_{name}" for name in ("user", "password", "password_file", "ca_file", "verify")}
    assert set(setting_names()) == own | of_kafka | of_clickhouse


def test_secrets_are_not_shown() -> None:
    settings = load_settings(
        {"clickhouse": "http://u:hidden1@h:1/db", "kafka_options": '{"sasl.password": "hidden2"}'}, {}
    )
    assert "hidden" not in repr(settings)


def test_variables_that_others_set_are_left_alone() -> None:
    environ = {"TOKENMILL_SERVICE_HOST": "10.0.0.1", "TOKENMILL_PORT": "tcp://10.0.0.1:80", "PATH": "/bin"}
    assert load_settings(environ=environ) == Settings()


def test_a_prefix_is_before_every_topic() -> None:
    names = load_settings({"topic_prefix": "eu."}, {}).topics.all()
    assert len(set(names)) == 9
    assert all(name.startswith("eu.") for name in names)
