"""What every command takes: where Kafka and ClickHouse are, and the name of the deployment."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from infra.config import Settings, load_settings
from infra.logs import configure_logging

P = ParamSpec("P")
R = TypeVar("R")

OPTIONS = {
    "kafka": "Kafka bootstrap servers, host:port[,host:port]  [env: TOKENMILL_KAFKA]",
    "clickhouse": "ClickHouse, http://user:password@host:port/database  [env: TOKENMILL_CLICKHOUSE]",
    "deployment": "name of this installation  [env: TOKENMILL_DEPLOYMENT]",
    "data_dir": "where embedded parts keep their files  [env: TOKENMILL_DATA_DIR]",
    "log_level": "debug, info, warning or error  [env: TOKENMILL_LOG_LEVEL]",
}


def with_settings(*, logs: str | None = None) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a command the common flags and pass it the resulting `Settings` as its first argument.

    `logs`: the log level when none is set; commands that print a result keep their logs to warnings.
    """

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @wraps(command)
        def run(*args: object, **kwargs: object) -> R:
            overrides = {name: str(value) for name in OPTIONS if (value := kwargs.pop(name, None)) is not None}
            settings = load_settings(overrides)
            chosen = overrides.get("log_level") or click.get_current_context().obj or None
            configure_logging(str(chosen or _default_level(settings, logs)))
            return command(settings, *args, **kwargs)

        wrapped: Callable[..., R] = run
        for name, text in reversed(OPTIONS.items()):
            wrapped = click.option(f"--{name.replace('_', '-')}", name, default=None, help=text)(wrapped)
        return wrapped

    return decorate


def _default_level(settings: Settings, logs: str | None) -> str:
    return settings.log_level if settings.log_level != "info" or logs is None else logs
