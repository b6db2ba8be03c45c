"""What goes wrong with data on the wire: one small tree of errors with stable codes."""

from __future__ import annotations

UNDECODABLE = "undecodable"


class SchemaError(ValueError):
    """Data that break a contract of this package.

    `code` is stable and machine readable (`invalid_<what>` or `undecodable`), the message is one line for a person,
    `data` holds the values that the message speaks of.
    """

    def __init__(self, code: str, message: str, data: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data: dict[str, object] = data or {}


class DecodeError(SchemaError):
    """Bytes that cannot be read at all; its code is always `undecodable`."""

    def __init__(self, message: str, data: dict[str, object] | None = None) -> None:
        super().__init__(UNDECODABLE, message, data)
