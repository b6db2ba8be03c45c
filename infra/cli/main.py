"""The entry point: finds the command, runs it, and turns every error into one clear line and an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem

from infra.errors import TokenmillError


class Entry(NamedTuple):
    """Where a command is, and what it does in one line: known without importing it."""

    place: str
    summary: str


COMMANDS = {
    "account": Entry("infra.cli.account:account", "Say which rate card prices which tenant."),
    "config": Entry("infra.cli.config:config", "Show the settings and where each comes from."),
    "demo": Entry("infra.cli.demo:demo", "Run the whole path once on embedded parts."),
    "doctor": Entry("infra.cli.doctor:doctor", "Is everything there that is needed?"),
    "embedded": Entry("infra.cli.embedded:embedded", "Run one embedded part in the foreground."),
    "emit": Entry("infra.cli.emit:emit", "Send a trace or a synthetic workload."),
    "invoice": Entry("infra.cli.invoice:invoice", "Show invoices, line by line."),
    "kpi": Entry("infra.cli.kpi:kpi", "Usage, speed, failures, prices, economics."),
    "migrate": Entry("infra.cli.migrate:migrate", "Bring the ClickHouse tables up to date."),
    "query": Entry("infra.cli.query:query", "Ask ClickHouse."),
    "price": Entry("infra.cli.price:price", "Price usage from a file with a card from a file."),
    "ratecard": Entry("infra.cli.ratecard:ratecard", "Check, publish and show rate cards."),
    "reconcile": Entry("infra.cli.reconcile:reconcile", "Is anything missing, doubled or off?"),
    "rerate": Entry("infra.cli.rerate:rerate", "Price closed months again, book the difference."),
    "schema": Entry("infra.cli.schema:schema", "Show the contracts, check events."),
    "seller": Entry("infra.cli.seller:seller", "What is due to sellers of resold services."),
    "showback": Entry("infra.cli.showback:showback", "Share an invoice over projects and API keys."),
    "sink": Entry("infra.cli.sink:sink", "Store the topics in ClickHouse."),
    "sla": Entry("infra.cli.sla:sla", "Service levels: kept, or what is credited."),
    "status": Entry("infra.cli.status:status", "Lag, event time, balance: does it need a person?"),
    "tail": Entry("infra.cli.tail:tail", "Read rated records, signals or dead letters."),
    "topics": Entry("infra.cli.topics:topics", "Create and check the topics."),
    "up": Entry("infra.cli.up:up", "Run the whole stack, and keep it running."),
    "wallet": Entry("infra.cli.wallet:wallet", "Prepaid credits: grant, void, transfer, show."),
    "worker": Entry("infra.cli.worker:worker", "Meter and rate."),
}


class LazyGroup(click.Group):
    """Imports a command only when it is asked for: `--help` should not load a stream processor."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command by its name."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].place.split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in the help text."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands and options that begin like this."""
        found = [CompletionItem(name, help=COMMANDS[name].summary) for name in self.list_commands(ctx)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [item for item in found if item.value.startswith(incomplete)] + options


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

    Settings come from flags, TOKENMILL_* variables and tokenmill.toml; `tokenmill config` shows what holds.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; never returns. Exit codes: 0 fine, 1 something was found or failed, 2 usage or configuration."""
    try:
        code = cli.main(args=arguments, prog_name="tokenmill", standalone_mode=False)
        sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:
        # The reader of our output (`| head`) went away: there is nobody to tell, also not when Python flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        _say(f"{error.filename}: {error.strerror}" if error.filename else str(error), None)
        code = 1
    except Exception as error:
        told = _tell(error)
        if told is None:
            raise  # a defect of ours: show where
        code = told
    sys.exit(code if isinstance(code, int) else 0)


def _tell(error: Exception) -> int | None:
    """Print an error that is meant for people and give its exit code; None for any other."""
    from rating.errors import RatingError
    from schemas.errors import SchemaError

    if isinstance(error, TokenmillError):
        _say(error.message, error.data.get("problems"))
        return error.exit_code
    if isinstance(error, RatingError | SchemaError):
        _say(str(error), None)
        return 1
    return None


def _say(message: str, problems: object) -> None:
    if isinstance(problems, list | tuple) and len(problems) > 1:
        click.echo(f"Error: {len(problems)} problems", err=True)
        for problem in problems:
            click.echo(f"  - {problem}", err=True)
    else:
        click.echo(f"Error: {message}", err=True)
