"""What somebody sees who asks how the program is used."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import click
import pytest

from infra.cli.main import COMMANDS, cli
from tests.cli.conftest import Run


def _all_commands() -> dict[str, click.Command]:
    """Every command and subcommand, by what is typed after `tokenmill`."""
    found: dict[str, click.Command] = {}

    def walk(name: str, command: click.Command) -> None:
        found[name] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for sub in command.list_commands(context):
                below = command.get_command(context, sub)
                assert below is not None
                walk(f"{name} {sub}".strip(), below)

    walk("", cli)
    return found


@pytest.mark.parametrize("name", _all_commands())
def test_the_help_of_every_command_has_an_example(name: str, tokenmill: Run) -> None:
    for flag in ("--help", "-h"):
        ended = tokenmill(*name.split(), flag)
        assert ended.code == 0
        assert ended.err == ""
        assert "Example" in ended.out
        assert f"tokenmill {name}".strip() in ended.out.split("Example")[1]


@pytest.mark.parametrize("name", _all_commands())
def test_every_option_says_what_it_is_for(name: str) -> None:
    for parameter in _all_commands()[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name}"


@pytest.mark.parametrize("name", _all_commands())
def test_examples_fit_a_terminal(name: str, tokenmill: Run) -> None:
    examples = tokenmill(*name.split(), "--help").out.split("Example")[1]
    assert max(len(line) for line in examples.splitlines()) <= 80


def test_flags_that_a_command_would_ignore_are_refused(tokenmill: Run) -> None:
    assert tokenmill("demo", "--kafka", "broker:9092").code == 2
    assert tokenmill("migrate", "--kafka", "broker:9092").code == 2
    assert tokenmill("worker", "--clickhouse", "http://host:8123").code == 2


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = "import sys; from infra.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "reconcile" in out
    modules = set(out.splitlines()[-1].split())
    assert not modules & {entry.place.split(":")[0] for entry in COMMANDS.values()}
    assert not modules & {"pyarrow", "pydantic", "faust", "numba", "confluent_kafka", "clickhouse_connect"}


def test_every_command_is_where_the_list_says(tokenmill: Run) -> None:
    listed = tokenmill("--help").out
    for name, entry in COMMANDS.items():
        module, function = entry.place.split(":")
        assert isinstance(getattr(importlib.import_module(module), function), click.Command)
        assert f"{name} " in listed
        assert entry.summary in listed


def test_an_unknown_command_is_a_usage_error(tokenmill: Run) -> None:
    ended = tokenmill("nonsense")
    assert ended.code == 2
    assert "No such command 'nonsense'" in ended.err


def test_the_version_is_printed(tokenmill: Run) -> None:
    assert tokenmill("--version").out.startswith("tokenmill, version ")


def _complete(words: str, number: int) -> list[str]:
    environ = {**os.environ, "_TOKENMILL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    command = [sys.executable, "-c", "from infra.cli.main import main; main()"]
    out = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    return [line.partition(",")[2] for line in out.splitlines()]


def test_the_shell_completes_commands_and_options() -> None:
    assert _complete("tokenmill re", 1) == ["reconcile", "rerate"]
    assert _complete("tokenmill topics a", 2) == ["apply"]
    assert "--trace" in _complete("tokenmill demo --t", 2)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion_script(shell: str) -> None:
    command = [sys.executable, "-c", "from infra.cli.main import main; main()"]
    environ = {**os.environ, "_TOKENMILL_COMPLETE": f"{shell}_source"}
    script = subprocess.run(command, env=environ, capture_output=True, text=True).stdout
    assert f"_TOKENMILL_COMPLETE={shell}_complete" in script
