"""`tokenmill schema list` and `tokenmill schema show`: the published documents, as the package carries them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson
from click.shell_completion import CompletionItem

import schemas
from infra.cli.output import console, print_json, table
from infra.errors import ConfigurationError
from rating.errors import did_you_mean

_FOLDER = Path(schemas.__file__).parent / "json"
_WHOLE = "asyncapi"


class _Contract(click.ParamType):
    """The name of a contract."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin like this."""
        return [CompletionItem(name) for name in _names() if name.startswith(incomplete)]


@click.command(
    "list",
    epilog="""\b
Examples:
  tokenmill schema list
  tokenmill schema list --json""",
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def list_contracts(as_json: bool) -> None:
    """List the contracts: the topic each is on and what it says."""
    found = list(_contracts())
    if as_json:
        print_json({"contracts": found})
        return
    made = table("Contracts", "name", "topic", "CloudEvents type", text=("topic", "CloudEvents type"))
    for each in found:
        made.add_row(each["name"], each["topic"], each["type"])
    console.print(made)
    click.echo(
        "\n`tokenmill schema show NAME` prints one, `tokenmill schema show asyncapi` all topics as one document."
    )


@click.command(
    epilog="""\b
Examples:
  tokenmill schema show token_usage
  tokenmill schema show rated_usage --example
  tokenmill schema show asyncapi > asyncapi.json"""
)
@click.argument("name", type=_Contract())
@click.option("--example", is_flag=True, help="print its examples instead")
def show(name: str, example: bool) -> None:
    """Print the JSON Schema of the contract NAME, or with "asyncapi" the AsyncAPI document of all topics."""
    if name not in _names():
        raise ConfigurationError(
            f"there is no contract {name!r}{did_you_mean(name, _names()) or ': see `tokenmill schema list`'}",
            code="unknown_contract",
        )
    document = _document(name)
    if example and name == _WHOLE:
        raise click.UsageError("asyncapi is a document about all contracts: name one of them with --example")
    print_json(document["examples"] if example else document)


def _names() -> list[str]:
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def _document(name: str) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads((_FOLDER / f"{name}.json").read_bytes())
    return document


def _contracts() -> Iterator[dict[str, str]]:
    channels = _document(_WHOLE)["channels"].values()
    for name in _names():
        if name != _WHOLE:
            document = _document(name)
            topics = [channel["address"] for channel in channels if name in channel["messages"]]
            kind = document.get("x-cloudevents-type", "")
            yield {"name": name, "topic": ", ".join(topics), "type": kind, "description": document["description"]}
