"""The order to price a tenant's closed month again: a control record of usage.events.v1."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from schemas.decimals import find_float
from schemas.fields import Instant, Name

_PERIOD: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])", re.ASCII)
LARGEST_VERSION: Final = 2**31 - 1
"""The largest number of a card version."""


class OrderedPrice(BaseModel):
    """From an instant on, until the next one of the order or the end of the period, this card version prices the usage."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    effective_from: Instant
    """From when, included: the start of a window."""
    card_id: Name | None = None
    """The card; absent: none, the usage has no price."""
    card_version: int | None = Field(default=None, ge=1, le=LARGEST_VERSION)
    """Its version, which must be published already."""
    overrides: dict[str, dict[str, Any]] | None = None
    """Prices of the tenant's own: SKU id (a line or a template of the card) to the charge that replaces the card's."""

    @field_validator("overrides")
    @classmethod
    def _no_floats(cls, overrides: dict[str, dict[str, Any]] | None) -> dict[str, dict[str, Any]] | None:
        place = find_float(overrides, "overrides")
        if place:
            raise ValueError(f"{place} is a float: write amounts and quantities as text")
        return overrides

    @model_validator(mode="after")
    def _card_and_version(self) -> Self:
        if (self.card_id is None) != (self.card_version is None):
            raise ValueError("card_id and card_version belong together: give both or neither")
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class RerateOrdered(BaseModel):
    """What a tenant used in a closed month is priced again, by `prices`; the difference is booked as adjustments.

    The month's own records stay as they are. The adjustments stand in the billing period that is open when the order is
    read. A month that is still open needs no order: what is published holds there already. The same order again changes
    nothing, another one for the same month replaces it from its billing period on.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    tenant_id: Name
    """The tenant."""
    period: str
    """The service period that is priced again, YYYY-MM."""
    prices: tuple[OrderedPrice, ...] = Field(min_length=1)
    """Which card version prices which part of the period, in the order of time."""
    reason: Name
    """Why, for people."""
    ordered_at: Instant
    """When it was ordered."""
    ordered_by: Name
    """Who ordered it."""

    @field_validator("period")
    @classmethod
    def _is_a_period(cls, period: str) -> str:
        if not _PERIOD.fullmatch(period) or period.startswith("0000"):
            raise ValueError(f"{period!r} is not a month such as 2026-01")
        return period

    @model_validator(mode="after")
    def _prices_in_order(self) -> Self:
        starts: list[datetime] = [price.effective_from for price in self.prices]
        if any(later <= earlier for earlier, later in pairwise(starts)):
            raise ValueError("prices must begin one after the other")
        return self
