"""The errors of `sinks`: each is a `TokenmillError` with a stable `code`, so a command ends with one clear line."""

from __future__ import annotations

from infra.errors import BrokerError, LogChangedError, StoreError


class DataLostError(BrokerError):
    """Records that must be stored are no longer in the Kafka log. Going on would lose them silently, so nobody does."""

    def __init__(self, message: str, *, code: str = "log_data_lost", exit_code: int = 1, **data: object) -> None:
        super().__init__(message, code=code, exit_code=exit_code, **data)


class OwnershipLostError(BrokerError):
    """The consumer group gave the partitions to somebody else: what was planned must not be inserted."""

    def __init__(self, message: str, *, code: str = "ownership_lost", exit_code: int = 1, **data: object) -> None:
        super().__init__(message, code=code, exit_code=exit_code, **data)


class CommitUnknownError(BrokerError):
    """A commit was sent and its outcome is not known. The same commit may be sent again; nothing else may."""

    def __init__(self, message: str, *, code: str = "commit_unknown", exit_code: int = 1, **data: object) -> None:
        super().__init__(message, code=code, exit_code=exit_code, **data)


class StoreUnavailableError(StoreError):
    """ClickHouse did not take an insert now, and may later: it is down, overloaded, or full. The insert is repeated."""

    def __init__(self, message: str, *, code: str = "store_unavailable", exit_code: int = 1, **data: object) -> None:
        super().__init__(message, code=code, exit_code=exit_code, **data)


__all__ = ["CommitUnknownError", "DataLostError", "LogChangedError", "OwnershipLostError", "StoreUnavailableError"]
