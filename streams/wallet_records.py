"""Rated records and grants as plain data: what wallets keep in the state, publish, and write to another tenant's log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from infra.config import Settings
from rating.money import from_scaled
from rating.rated import RatedLine
from rating.wallets import Grant, Moved
from rating.windows import WindowSize
from schemas.control import encode_control
from schemas.decimals import format_decimal
from schemas.instants import format_instant, parse_instant
from schemas.partitioning import partition_for
from schemas.wallets import Covered, WalletGranted, WalletTransferred
from streams.transactions import OutgoingRecord

_ID_CHARACTERS = 96


def line_document(line: RatedLine) -> dict[str, object]:
    """A rated record's content but for its revision: decimals and instants as text, None where there is nothing."""
    return {
        "tenant_id": line.tenant_id,
        "sku": line.sku,
        "meter": line.meter,
        "kind": line.kind,
        "window_kind": line.window_kind,
        "window_start": format_instant(line.window_start),
        "window_end": format_instant(line.window_end),
        "billing_period": line.billing_period,
        "service_period": line.service_period,
        "quantity": format_decimal(line.quantity),
        "unit": line.unit,
        "amount": None if line.amount is None else format_decimal(line.amount),
        "currency": line.currency,
        "card_id": line.card_id,
        "card_version": line.card_version,
        "provisional": line.provisional,
        "dimensions": dict(line.dimensions),
        "seller_id": line.seller_id,
    }


def line_of(document: Mapping[str, Any]) -> RatedLine:
    """The rated record of `line_document`."""
    return RatedLine(
        **{
            **document,
            "window_start": parse_instant(document["window_start"]),
            "window_end": parse_instant(document["window_end"]),
            "quantity": Decimal(document["quantity"]),
            "amount": None if document["amount"] is None else Decimal(document["amount"]),
        }
    )


def receivers_grants(
    settings: Settings,
    event_source: str,
    transfer: WalletTransferred,
    pieces: Sequence[Moved],
    window: WindowSize,
    hour: int,
) -> Iterator[OutgoingRecord]:
    """What the receiver of a transfer gets: one grant for each that gave, as control records for the receiver's log.

    Their ids follow from the transfer's, so that a repeated one is recognised.
    """
    digest = hashlib.sha256(f"{transfer.tenant_id}|{transfer.transfer_id}".encode()).hexdigest()[:12]
    partition = partition_for(transfer.to_tenant_id, settings.partitions)
    for number, piece in enumerate(pieces):
        grant_id = f"{transfer.transfer_id[:_ID_CHARACTERS]}/{digest}.{number}"
        record = _receivers_grant(transfer, piece, grant_id, window, hour)
        name = f"grant|{transfer.to_tenant_id}|{grant_id}"
        value, headers = encode_control(record, name, event_source, transfer.ordered_at)
        yield OutgoingRecord(settings.topics.usage_events, partition, None, value, headers)


def _receivers_grant(
    transfer: WalletTransferred, piece: Moved, grant_id: str, window: WindowSize, hour: int
) -> WalletGranted:
    grant: Grant = piece.grant
    return WalletGranted(
        tenant_id=transfer.to_tenant_id,
        grant_id=grant_id,
        unit=grant.unit,
        amount=from_scaled(piece.amount, grant.decimals),
        effective_from=window.start(hour),
        expires_at=None if grant.end is None else window.start(grant.end),
        priority=grant.priority,
        covers=tuple(Covered(skus=each.skus, credits=each.credits, per=each.per) for each in grant.covers),
        overage=grant.overage,
        moved_from=transfer.tenant_id,
        ordered_at=transfer.ordered_at,
        ordered_by=transfer.ordered_by,
        reason=transfer.reason,
    )
