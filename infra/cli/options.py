"""What commands have in common: the flags for where things are, and the types of their values."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import ParamSpec, TypeVar

import click
from click.shell_completion import CompletionItem

from infra.cli.running import running_settings
from infra.config import PREFIX, Configuration, read_configuration, setting_names
from infra.config.catalog import CONFIG, catalog

P = ParamSpec("P")
R = TypeVar("R")

FLAGS = {
    "kafka": "Kafka bootstrap servers, host:port[,host:port]  [env: TOKENMILL_KAFKA]",
    "clickhouse": "ClickHouse, http://user:password@host:port/database  [env: TOKENMILL_CLICKHOUSE]",
    "deployment": "name of this installation  [env: TOKENMILL_DEPLOYMENT]",
    "data_dir": "where embedded parts keep their files  [env: TOKENMILL_DATA_DIR; default: .tokenmill]",
    "metrics_address": "serve /metrics, /healthz, /readyz at host:port  [env: TOKENMILL_METRICS_ADDRESS]",
    "log_level": "debug, info, warning or error  [env: TOKENMILL_LOG_LEVEL]",
}
_CONFIGURATION = "infra.cli.options.configuration"
"""Where the context of the running command keeps its `Configuration`."""
_FIRST_YEAR, _LAST_YEAR = 1970, 2199
"""What events may say about their time."""
KAFKA = ("kafka", "deployment")
STORE = ("clickhouse", "data_dir", "deployment")
BOTH = ("kafka", "clickhouse", "deployment")


def with_settings(*flags: str, logs: str = "error") -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a command these flags and `--log-level`, and pass it the resulting `Settings` as its first argument.

    `logs`: the log level when none is set. Commands that print a result log errors only: what goes wrong on the way is
    in the error that they end with.
    """

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        names = [name for name in FLAGS if name in (*flags, "log_level")]

        @wraps(command)
        def run(*args: object, **kwargs: object) -> R:
            from infra.logs import configure_logging

            given = {name: str(value) for name in (CONFIG, *names) if (value := kwargs.pop(name, None)) is not None}
            pairs = kwargs.pop("pairs", ())
            assert isinstance(pairs, tuple)  # noqa: S101  # what click makes of a repeated option
            found = _read(given, dict(pairs))
            click.get_current_context().meta[_CONFIGURATION] = found
            configure_logging(found.settings.log_level if found.given("log_level") else logs)
            return command(found.settings, *args, **kwargs)

        wrapped: Callable[..., R] = run
        wrapped = click.option("--set", "pairs", type=Pair(), multiple=True, help=_SET_HELP)(wrapped)
        wrapped = click.option("--config", type=click.Path(), default=None, help=_CONFIG_HELP)(wrapped)
        for name in reversed(names):
            wrapped = click.option(f"--{name.replace('_', '-')}", name, default=None, help=FLAGS[name])(wrapped)
        return wrapped

    return decorate


_CONFIG_HELP = "TOML file with settings  [env: TOKENMILL_CONFIG; default: tokenmill.toml, if it is there]"
_SET_HELP = "any other setting, as often as needed; `tokenmill config` lists them"


def _read(given: Mapping[str, str], pairs: Mapping[str, str]) -> Configuration:
    for name in pairs:
        if name in given:
            raise click.UsageError(f"--set {name}: --{name.replace('_', '-')} gives it too: keep one")
        if name in catalog() and catalog()[name].hidden and name not in FLAGS:
            secret = f"{PREFIX}{name.upper()}"
            better = f"{secret} or {secret}_FILE" if f"{name}_file" in catalog() else f"{secret}, or a TOML file"
            raise click.UsageError(f"--set {name}: a command line is no place for secrets: use {better}")
    flags = {name: f"--set {name}" for name in pairs}
    found = read_configuration({**given, **pairs}, flags=flags)
    if found.given("kafka"):
        return found
    # Nobody says which Kafka: then it is that of the `tokenmill up` at work in the data directory, if there is one.
    running = {n: text for n, text in running_settings(found.settings.data_dir).items() if not found.given(n)}
    place = f"tokenmill up in {found.settings.data_dir}"
    return read_configuration({**running, **given, **pairs}, flags=flags | dict.fromkeys(running, place))


def configuration() -> Configuration:
    """The configuration of the running command, which `with_settings` has read."""
    found = click.get_current_context().meta[_CONFIGURATION]
    assert isinstance(found, Configuration)  # noqa: S101  # nothing else is kept there
    return found


def was_given(name: str) -> bool:
    """Whether a setting comes from a flag of the running command, the environment or a file, not from the defaults."""
    return configuration().given(name)


def place_of(name: str) -> str:
    """Where a setting of the running command comes from, for messages; its variable where nobody gave it."""
    context = click.get_current_context(silent=True)
    found = None if context is None else context.meta.get(_CONFIGURATION)
    given = isinstance(found, Configuration) and found.given(name)
    return configuration().place(name) if given else catalog()[name].variable


class Pair(click.ParamType):
    """A setting and its value: NAME=VALUE."""

    name = "name=value"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The name and the text."""
        if isinstance(value, tuple):
            return value
        name, sign, text = str(value).partition("=")
        if not sign:
            self.fail(f"{name!r} is not NAME=VALUE, such as partitions=24", param, ctx)
        return name.strip().lower().replace("-", "_").removeprefix(PREFIX.lower()), text

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The settings that begin like this."""
        return [CompletionItem(f"{name}=") for name in setting_names() if name.startswith(incomplete)]


class Instant(click.ParamType):
    """An RFC 3339 instant; a date alone is its midnight in UTC."""

    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The aware datetime of a text."""
        if isinstance(value, datetime):
            return value
        try:
            instant = datetime.fromisoformat(str(value))
            instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not an instant such as 2026-01-01T00:00:00Z", param, ctx)
        if not _FIRST_YEAR <= instant.year <= _LAST_YEAR:
            self.fail(f"{value!r} is outside the years {_FIRST_YEAR} to {_LAST_YEAR}", param, ctx)
        return instant


class Month(click.ParamType):
    """A billing period, YYYY-MM."""

    name = "month"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it stands, when it is a month."""
        text = str(value)
        if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text):
            self.fail(f"{text!r} is not a month such as 2026-01", param, ctx)
        return text
