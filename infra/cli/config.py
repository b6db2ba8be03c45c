"""`tokenmill config`: what holds, and where each value comes from."""

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from infra.cli.options import FLAGS, configuration, with_settings
from infra.cli.output import console, print_json
from infra.config import Configuration, Settings
from infra.config.catalog import TABLES, Setting, catalog
from infra.config.load import DEFAULT, value_of
from infra.config.pages import example, json_schema, of_table, plain, rendered


def _print_schema(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        print_json(json_schema())
        context.exit()


def _print_example(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(example(), nl=False)
        context.exit()


@click.command(
    epilog="""\b
Examples:
  tokenmill config                                  what holds, and why
  tokenmill config --config /etc/tokenmill.toml     check a file
  tokenmill config --example > tokenmill.toml       a file to begin with
  tokenmill config --schema > tokenmill.schema.json"""
)
@click.option("--given", "only_given", is_flag=True, help="only what is not at its default")
@click.option("--json", "as_json", is_flag=True, help="print JSON, one document")
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="print the JSON Schema of the TOML file, for editors",
)
@click.option(
    "--example",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_example,
    help="print a TOML file with every setting, its meaning and its default",
)
@with_settings(*FLAGS)
def config(settings: Settings, only_given: bool, as_json: bool) -> None:
    """Show each setting, its value and where the value comes from: a flag, a variable, FILE:LINE, or the default.

    Passwords are masked. Exit code 2, with every problem listed, when the configuration cannot work.
    """
    found = configuration()
    shown = [each for each in catalog().values() if found.given(each.name) or not only_given]
    if as_json:
        file = None if found.file is None else str(found.file)
        print_json({"file": file, "settings": [_as_json(found, each) for each in shown]})
        return
    console.print(_table(found, shown) if shown else "every setting is at its default")


def _as_json(found: Configuration, setting: Setting) -> dict[str, object]:
    return {
        "name": setting.name,
        "value": plain(setting.shown(value_of(found.settings, setting))),
        "from": found.place(setting.name),
        "variable": setting.variable,
        "toml": setting.toml,
        "secret": setting.hidden,
    }


def _table(found: Configuration, shown: list[Setting]) -> Table:
    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    made.add_column("setting", no_wrap=True)
    made.add_column("value", overflow="fold", ratio=3)
    made.add_column("from", overflow="fold", ratio=3)
    for table, title in TABLES.items():
        rows = [each for each in of_table(table) if each in shown]
        if rows:
            made.add_row(Text(title, style="bold"))
        for each in rows:
            value = rendered(each.shown(value_of(found.settings, each)))
            style = "dim" if found.place(each.name) == DEFAULT else ""
            # Text, not markup: a value may hold brackets.
            made.add_row(
                Text(f"  {each.name}", style=style), Text(value, style=style), Text(found.place(each.name), style)
            )
    return made
