"""Schema, example and page: all from the model, all true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from infra.config import Settings, load_settings, setting_names
from infra.config.catalog import catalog
from infra.config.pages import PAGE, example, json_schema, markdown
from infra.errors import ConfigurationError


def _loads(text: str, directory: Path) -> bool:
    (directory / "t.toml").write_text(text)
    try:
        load_settings({"config": str(directory / "t.toml")}, {})
    except ConfigurationError:
        return False
    return True


def _conforms(text: str) -> bool:
    return Draft202012Validator(json_schema()).is_valid(tomllib.loads(text))


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json_schema())


def test_every_line_of_the_example_can_be_taken_and_gives_the_defaults(tmp_path: Path) -> None:
    assert tomllib.loads(example()).keys() == {"kafka", "clickhouse", "topics", "rating", "worker", "emitter", "sink"}
    taken = re.sub(r"^#(?! )", "", example(), flags=re.MULTILINE)
    assert taken != example()
    (tmp_path / "t.toml").write_text(taken)
    found = load_settings({"config": str(tmp_path / "t.toml"), "data_dir": ".tokenmill"}, {})
    assert found == Settings()
    assert _conforms(taken)
    document = tomllib.loads(taken)
    keys = sum(len(value) if isinstance(value, dict) else 1 for value in document.values())
    assert keys == len(setting_names())


@pytest.mark.parametrize(
    "text",
    [
        'deployment = "eu"\nkafka = "h:1"\npartitions = 3',
        '[kafka]\nbootstrap = ["a:1", "b:2"]\n[kafka.options]\nsocket.keepalive.enable = true',
        '[clickhouse]\nurl = "https://h"\nverify = false',
        "[rating]\ncontext_edges = [1, 2]\nwindow_minutes = 15",
        "[worker]\nflush_interval_s = 1\n[sink]\ninterval_s = 0.5",
        'metrics_address = "127.0.0.1:0"',
    ],
)
def test_what_loads_conforms(text: str, tmp_path: Path) -> None:
    assert _loads(text, tmp_path)
    assert _conforms(text)


@pytest.mark.parametrize(
    "text",
    [
        'deployment = "No Spaces"',
        "deployment = 5",
        'kafka = "h"',
        "[topics]\npartitions = 0",
        "[topics]\npartitions = 1.5",
        "[sink]\nsink_rows = 5",
        "[nothing]",
        "nothing = 1",
        "[rating]\nwindow_minutes = 20",
        'log_level = "loud"',
        '[clickhouse]\nurl = "ftp://h"',
        'metrics_address = "h"',
        "[kafka]\nverify = 1",
        "sink = 5",
    ],
)
def test_what_does_not_load_does_not_conform(text: str, tmp_path: Path) -> None:
    assert not _loads(text, tmp_path)
    assert not _conforms(text)


def test_the_page_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert markdown(page) == page, "run: python -m infra.config.pages"
    for setting in catalog().values():
        assert f"`{setting.variable}`" in page


def test_the_page_shows_settings_that_load(tmp_path: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        assert _conforms(block)
        for name in ("kafka-ca.pem",):
            block = block.replace(f'ca_file = "{name}"\n', "")
        (tmp_path / "pw").write_text("secret")
        assert _loads(re.sub(r'"/run/secrets/\w+"', '"pw"', block), tmp_path)


def test_the_page_shows_messages_as_they_are(tmp_path: Path) -> None:
    shown = re.search(r"```\nError: 3 problems\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    (tmp_path / "tokenmill.toml").write_text("#\n#\n[kafka]\nsecurty_protocol = 1\n#\n#\n#\n[sink]\nrows = 0\n")
    with pytest.raises(ConfigurationError) as raised:
        load_settings({"config": str(tmp_path / "tokenmill.toml")}, {"TOKENMILL_PARTITIONS": "many"})
    problems = raised.value.data["problems"]
    assert isinstance(problems, tuple)
    said = "".join(f"  - {problem}\n" for problem in problems).replace(f"{tmp_path}/", "")
    assert said == shown[1]


def test_a_page_without_its_marks_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="needs the two lines"):
        markdown("# A page\n")
