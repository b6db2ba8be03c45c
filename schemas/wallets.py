"""Orders about prepaid credits: control records of usage.events.v1 (docs/prepaid.md)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.fields import Instant, Name, Tenant
from schemas.rated import DecimalText

LARGEST_COVERS: Final = 100
OrderId = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
"""The id of a grant or a transfer: unique per tenant."""
Unit = Annotated[str, Field(strict=True, pattern=r"^([A-Z]{3}|[a-z][a-z0-9_]{0,31})$")]
"""A currency of ISO 4217, or the name of compute credits in small letters."""


class Covered(BaseModel):
    """What a grant pays, and for compute credits how many of them so many units cost."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    skus: Name
    """A SKU, or a pattern with `*` and `?`."""
    credits: DecimalText = Decimal(1)
    """Credits for `per` units of a record's quantity."""
    per: DecimalText = Decimal(1)
    """Units of a record's quantity that cost `credits`."""


class WalletGranted(BaseModel):
    """A tenant gets prepaid credits. The same again changes nothing; other content under a known `grant_id` is refused."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    tenant_id: Tenant
    """Who may use them."""
    grant_id: OrderId
    """Names the grant, once per tenant."""
    unit: Unit
    """A currency (ISO 4217), `tokens`, `gpu_hours`, or compute credits of another name, whose `covers` says what they pay."""
    amount: DecimalText
    """How many, above 0: money with at most 12 decimals, compute credits with at most 9."""
    effective_from: Instant
    """It pays usage from the window on in which this lies; a window of a closed period becomes the first open one."""
    expires_at: Instant | None = None
    """It pays usage before this instant, and the window in which it lies; absent: without end."""
    priority: int = Field(default=100, strict=True, ge=0, le=1_000_000)
    """Lower ones pay first; then the one that expires first, then the one ordered first, then by id."""
    every: Literal["day", "month"] | None = None
    """It is filled up anew at the beginning of each day or month (UTC); absent: once."""
    rollover: DecimalText | None = None
    """How much of what is unused is carried over when it is filled up; absent: nothing."""
    covers: tuple[Covered, ...] = Field(default=(), max_length=LARGEST_COVERS)
    """What it pays, the first that matches; absent: everything in its currency, or what its unit says by itself."""
    overage: bool = Field(default=True, strict=True)
    """Whether usage beyond the credits may go on and is invoiced. If not, the signal tells gateways to stop, and the grant
    first pays what its billing period owes already."""
    low_balance: DecimalText | None = None
    """At this balance or below, the signal `low_balance` is raised."""
    moved_from: Tenant | None = None
    """The tenant whose transfer made this grant; only workers write it."""
    ordered_at: Instant
    """When it was ordered."""
    ordered_by: Name
    """Who ordered it."""
    reason: Name | None = None
    """Why, for people: a contract, an invoice."""


class WalletVoided(BaseModel):
    """A grant pays no more from an instant on, and what is unused then is taken back."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    tenant_id: Tenant
    """Whose grant."""
    grant_id: OrderId
    """Which one."""
    effective_from: Instant
    """The first window that it does not pay is that in which this lies; never one of a closed period."""
    ordered_at: Instant
    """When it was ordered."""
    ordered_by: Name
    """Who ordered it."""
    reason: Name | None = None
    """Why, for people."""


class WalletTransferred(BaseModel):
    """Unused credits of a tenant go to another one, all of `amount` or nothing, with their expiry, priority and covers.

    It lies in the log of the giving tenant. Its worker decides, by what is left at this place of the log, and writes the
    receiver's grants. Grants that are filled up again cannot be transferred.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    tenant_id: Tenant
    """Who gives."""
    transfer_id: OrderId
    """Names the transfer, once per giving tenant."""
    to_tenant_id: Tenant
    """Who receives."""
    unit: Unit
    """Credits of which unit."""
    amount: DecimalText
    """How many, above 0."""
    grant_id: OrderId | None = None
    """From this grant only; absent: from all in force, in burn order."""
    effective_from: Instant
    """From the grants in force at this time, or at that of the latest usage; the receiver's pay from then on."""
    ordered_at: Instant
    """When it was ordered."""
    ordered_by: Name
    """Who ordered it."""
    reason: Name | None = None
    """Why, for people."""

    @model_validator(mode="after")
    def _two_tenants(self) -> Self:
        if self.tenant_id == self.to_tenant_id:
            raise ValueError("a transfer goes to another tenant")
        return self
