"""What commands have in common: the flags for where things are, and the types of their values."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from infra.config import load_settings

P = ParamSpec("P")
R = TypeVar("R")

FLAGS = {
    "kafka": "Kafka bootstrap servers, host:port[,host:port]  [env: TOKENMILL_KAFKA]",
    "clickhouse": "ClickHouse, http://user:password@host:port/database  [env: TOKENMILL_CLICKHOUSE]",
    "deployment": "name of this installation  [env: TOKENMILL_DEPLOYMENT]",
    "data_dir": "where embedded parts keep their files  [env: TOKENMILL_DATA_DIR; default: .tokenmill]",
    "log_level": "debug, info, warning or error  [env: TOKENMILL_LOG_LEVEL]",
}
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

            overrides = {name: str(value) for name in names if (value := kwargs.pop(name, None)) is not None}
            settings = load_settings(overrides)
            asked = "log_level" in overrides or "TOKENMILL_LOG_LEVEL" in os.environ
            configure_logging(settings.log_level if asked else logs)
            return command(settings, *args, **kwargs)

        wrapped: Callable[..., R] = run
        for name in reversed(names):
            wrapped = click.option(f"--{name.replace('_', '-')}", name, default=None, help=FLAGS[name])(wrapped)
        return wrapped

    return decorate


def was_given(name: str) -> bool:
    """Whether a setting comes from a flag of the running command or from the environment, not from the defaults."""
    context = click.get_current_context()
    return context.params.get(name) is not None or f"TOKENMILL_{name.upper()}" in os.environ


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
