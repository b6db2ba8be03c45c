"""Names of the record types on the wire: CloudEvents `type` values and the header `tokenmill-type`."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Every type of record. A breaking change is a new type (`.v2`), never a new meaning of an old one."""

    TOKEN_USAGE = "io.tokenmill.usage.token.v1"  # noqa: S105  (tokens of a model, not a password)
    GPU_USAGE = "io.tokenmill.usage.gpu.v1"
    GPU_UTILIZATION = "io.tokenmill.gpu.utilization.v1"
    RATE_CARD = "io.tokenmill.control.rate-card.v1"
    ASSIGNMENT = "io.tokenmill.control.assignment.v1"
    TICK = "io.tokenmill.control.tick.v1"
    RERATE = "io.tokenmill.control.rerate.v1"
    WALLET_GRANT = "io.tokenmill.control.wallet-grant.v1"
    WALLET_VOID = "io.tokenmill.control.wallet-void.v1"
    WALLET_TRANSFER = "io.tokenmill.control.wallet-transfer.v1"
    RATED_USAGE = "io.tokenmill.usage.rated.v1"
    SIGNAL = "io.tokenmill.signal.v1"
    EXCLUSION = "io.tokenmill.usage.excluded.v1"
    DEAD_LETTER = "io.tokenmill.dead-letter.v1"
