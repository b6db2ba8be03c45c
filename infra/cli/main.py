"""The entry point: finds the command, runs it, and turns every error into one clear line and an exit code."""

import importlib
import sys
from collections.abc import Sequence

import click
import orjson

from infra.cli.options import OPTIONS
from infra.errors import TokenmillError
from rating.errors import RatingError
from schemas.errors import SchemaError

COMMANDS = {
    "demo": "infra.cli.demo:demo",
    "emit": "infra.cli.emit:emit",
    "embedded": "infra.cli.embedded:embedded",
    "invoice": "infra.cli.invoice:invoice",
    "migrate": "infra.cli.migrate:migrate",
    "query": "infra.cli.query:query",
    "ratecard": "infra.cli.ratecard:ratecard",
    "account": "infra.cli.account:account",
    "reconcile": "infra.cli.reconcile:reconcile",
    "sink": "infra.cli.sink:sink",
    "topics": "infra.cli.topics:topics",
    "worker": "infra.cli.worker:worker",
}


class LazyGroup(click.Group):
    """Imports a command only when it is asked for: `--help` should not load a stream processor."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command by its name."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, name = place.split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  tokenmill demo                          the whole path on embedded parts
  tokenmill topics apply                  create the topics
  tokenmill worker                        meter and rate
  tokenmill reconcile --json              is anything missing, doubled or off?""",
)
@click.version_option(package_name="tokenmill", prog_name="tokenmill")
def cli() -> None:
    """Usage metering and rating for AI factories that sell tokens.

    Where Kafka and ClickHouse are comes from TOKENMILL_KAFKA, TOKENMILL_CLICKHOUSE and TOKENMILL_DEPLOYMENT, or from the
    flags of the same names.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; never returns. Exit codes: 0 fine, 1 something was found or failed, 2 usage or configuration."""
    try:
        code = cli.main(args=arguments, prog_name="tokenmill", standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader of our output went away; there is nobody to tell.
        sys.stderr.close()
        code = 0
    except TokenmillError as error:
        _say(error.message, error.data.get("problems"))
        code = error.exit_code
    except (RatingError, SchemaError) as error:
        _say(str(error), None)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _say(message: str, problems: object) -> None:
    if isinstance(problems, (list, tuple)) and len(problems) > 1:
        click.echo(f"Error: {len(problems)} problems", err=True)
        for problem in problems:
            click.echo(f"  - {problem}", err=True)
    else:
        click.echo(f"Error: {message}", err=True)


def print_json(value: object) -> None:
    """Print a value as one JSON document."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str))


__all__ = ["OPTIONS", "cli", "main", "print_json"]
