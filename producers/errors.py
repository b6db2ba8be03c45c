"""What can go wrong when events are sent. Each error has a stable `code` (see `infra.errors`)."""

from __future__ import annotations

from infra.errors import TokenmillError


class EmitterClosedError(TokenmillError):
    """An event was given to an emitter that is closed; nothing was accepted."""

    def __init__(self) -> None:
        super().__init__("the emitter is closed: it takes no more events", code="emitter_closed")


class BufferFullError(TokenmillError):
    """The emitter holds as much as it may and the broker does not take it; nothing of this call was accepted."""

    def __init__(self, buffer_bytes: int) -> None:
        super().__init__(
            f"the emitter holds {buffer_bytes} bytes that the broker has not confirmed: try again later",
            code="buffer_full",
            buffer_bytes=buffer_bytes,
        )


class DeliveryError(TokenmillError):
    """Events that were accepted did not reach the log, or nobody knows whether they did."""


class ControlError(TokenmillError):
    """A control record that may not be written: it contradicts what is published already."""
