"""The errors of `infra`: each carries a stable `code`, the process exit code it stands for, and its facts as `data`.

A message is one line: what is wrong, where, and what to do about it. Code that reacts to an error looks at its type or
at `code`, never at the message.
"""

from __future__ import annotations


class TokenmillError(Exception):
    """An error that ends a command with one clear line instead of a traceback.

    `code` is stable (programs and alerts may match it), `exit_code` is what the command line exits with, `data` holds
    the facts of this occurrence.
    """

    def __init__(self, message: str, *, code: str, exit_code: int = 1, **data: object) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.exit_code = exit_code
        self.data: dict[str, object] = data

    def __str__(self) -> str:
        return self.message


class ConfigurationError(TokenmillError):
    """Settings, flags or environment variables that cannot work. Exit code 2, like a wrong command line."""

    def __init__(self, message: str, *, code: str = "configuration", exit_code: int = 2, **data: object) -> None:
        super().__init__(message, code=code, exit_code=exit_code, **data)


class BrokerError(TokenmillError):
    """The Kafka broker refused, did not answer in time, or holds something other than what was expected."""

    def __init__(self, message: str, *, code: str = "broker", exit_code: int = 1, **data: object) -> None:
        super().__init__(message, code=code, exit_code=exit_code, **data)


class LogChangedError(BrokerError):
    """A topic is not the log that state and tables follow: it was recreated, or this is another cluster.

    Going on by offset alone would lose or double money, so whoever meets this refuses to start.
    """

    def __init__(self, message: str, *, code: str = "log_changed", exit_code: int = 1, **data: object) -> None:
        super().__init__(message, code=code, exit_code=exit_code, **data)


class StoreError(TokenmillError):
    """ClickHouse refused, did not answer in time, or holds something other than what was expected."""

    def __init__(self, message: str, *, code: str = "store", exit_code: int = 1, **data: object) -> None:
        super().__init__(message, code=code, exit_code=exit_code, **data)


class EmbeddedError(TokenmillError):
    """An embedded part (broker or store started by us) could not be found, started or stopped."""

    def __init__(self, message: str, *, code: str = "embedded", exit_code: int = 1, **data: object) -> None:
        super().__init__(message, code=code, exit_code=exit_code, **data)
