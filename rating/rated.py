"""The rated record: what one line of one window, or of one period, comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from rating.skus import Kind

WindowKind = Literal["hour", "period"]


@dataclass(frozen=True, slots=True)
class RatedLine:
    """The absolute total of one line in one window: never an increment, so the last one of a key is the whole truth.

    The key is (tenant_id, sku, kind, window_kind, window_start, service_period). `window_start` and `window_end` are
    aware UTC instants, half-open. For `window_kind` period they are those of `billing_period`, where the record is
    invoiced; `service_period` is when the usage took place. `amount` has 12 decimals and is None only for usage
    without a price. `provisional` says that the service period is not closed yet.
    """

    tenant_id: str
    sku: str
    meter: str
    kind: Kind
    window_kind: WindowKind
    window_start: datetime
    window_end: datetime
    billing_period: str
    service_period: str
    quantity: Decimal
    unit: str
    amount: Decimal | None
    currency: str | None
    card_id: str | None
    card_version: int | None
    provisional: bool
    dimensions: Mapping[str, str] = field(default_factory=dict, hash=False)
    seller_id: str | None = None

    @property
    def key(self) -> tuple[str, str, str, str, datetime, str]:
        """What identifies the record: of two records with one key, the later one replaces the earlier one."""
        return self.tenant_id, self.sku, self.kind, self.window_kind, self.window_start, self.service_period
