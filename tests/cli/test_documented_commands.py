"""Every command line in the pages and in the examples of `--help` is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from infra.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CONTINUED = re.compile(r"\\\n\s*")
_SHELL = {"|", ">", ">>", "&&", "||", ";", "<", "&", "2>"}


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments of each `tokenmill` call in a piece of shell, comments and redirections left out."""
    for line in _CONTINUED.sub(" ", text).splitlines():
        words = _words(re.split(r"\s{2,}", line.strip())[0])  # a remark stands some blanks after the command
        while words and (re.fullmatch(r"[A-Z_]+=.*", words[0]) or words[0] in ("$", "sudo", "exec")):
            words = words[1:]
        if words and words[0] in ("tokenmill", ".venv/bin/tokenmill"):
            end = next((place for place, word in enumerate(words) if word in _SHELL), len(words))
            yield words[1:end]


def _words(line: str) -> list[str]:
    split = shlex.shlex(line.strip(), posix=True, punctuation_chars="|&;<>")
    split.whitespace_split = True
    try:
        return list(split)
    except ValueError:
        return []  # prose with an apostrophe


def check(arguments: list[str]) -> None:
    """Parse without running. Raises UsageError for what `tokenmill` would refuse."""
    command: click.Command = cli
    context = click.Context(cli, info_name="tokenmill", help_option_names=["-h", "--help"])
    rest = list(arguments)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        if found is None:
            raise click.UsageError(f"there is no command {rest[0]}")
        context = click.Context(found, info_name=rest.pop(0), parent=context)
        command = found
    if "--help" in rest or "-h" in rest or isinstance(command, click.Group):
        return
    with suppress(click.exceptions.Exit):  # --version and the like answer at once
        command.make_context(command.name, rest, parent=context.parent)


def test_there_are_commands_to_check_and_wrong_ones_are_noticed() -> None:
    assert list(command_lines("TOKENMILL_KAFKA=a:1 tokenmill emit --rate 5 | head  # paced")) == [
        ["emit", "--rate", "5"]
    ]
    for wrong in (["nonsense"], ["topics", "apply", "--nonsense"], ["emit", "--rate", "often"]):
        with pytest.raises(click.UsageError):
            check(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_pages_exist(page: Path) -> None:
    blocks = _BLOCK.findall(page.read_text(encoding="utf-8"))
    for arguments in (each for block in blocks for each in command_lines(block)):
        try:
            check(arguments)
        except click.UsageError as error:
            pytest.fail(f"{page.name}: tokenmill {shlex.join(arguments)}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [each for each in targets if "://" not in each and not (page.parent / each).exists()]
    assert not missing, f"{page.name} links to {missing}"


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")


@pytest.mark.parametrize(("path", "command"), list(_commands(cli, "tokenmill")), ids=lambda each: str(each)[:40])
def test_every_command_has_examples_that_it_takes(path: str, command: click.Command) -> None:
    examples = list(command_lines(command.epilog or ""))
    assert examples, f"{path} --help shows no example"
    for arguments in examples:
        try:
            check(arguments)
        except click.UsageError as error:
            pytest.fail(f"{path} --help: tokenmill {shlex.join(arguments)}: {error.format_message()}")
